// What becomes of what the tools draw: edits, conflicts, and edits of whole objects.

import { rebase } from "./raster.js";
import { decode, encode, extents, sameRuns } from "./runs.js";
import * as server from "./server.js";

export class Drawing {
  constructor(app) {
    this.app = app;
    this.clipboard = null; // {id, from, runs}
    const { edits, player, notices, labels } = app;
    const on = (type, run) => edits.addEventListener(type, ({ detail }) => run(detail));
    on("adopted", () => player.refresh());
    on("saved", (saved) => this.#saved(saved));
    on("conflict", (conflict) => this.#conflict(conflict));
    on("refused", ({ index, message }) => {
      notices.raise(`The last edit of frame ${index} was refused: ${message}`);
      labels.drop(index);
      if (index === player.shown) player.refresh();
    });
    on("unkept", () => {
      notices.raise(
        "This browser has no room to keep edits until the server has them.",
      );
    });
  }

  isReady() {
    const { player, project, notices } = this.app;
    // What is seen is what is drawn on: the tracker does not take it away.
    if (player.playing || project.track) player.stay();
    if (player.shown === player.target) return true;
    notices.raise("This frame is still on its way.", { plain: true, seconds: 4 });
    return false;
  }

  start() {
    // What is drawn wins, so the tracker makes room for it at once.
    if (this.app.project.track) this.app.stop();
    if (!this.app.settings.masks) this.app.toggle("masks");
    if (this.app.hidden.has(this.app.selected)) this.app.hide(this.app.selected);
  }

  objectToDraw(erase) {
    if (this.app.selected !== null) return this.app.selected;
    if (!erase) return this.app.addObject();
    this.app.notices.raise("There is no object to erase yet.", {
      plain: true,
      seconds: 5,
    });
    return null;
  }

  edited({ what, before, labels }) {
    const { player, edits, view } = this.app;
    const runs = encode(labels);
    const old = encode(before);
    view.extents = extents(runs, this.app.project.width);
    if (!sameRuns(runs, old)) {
      const { version } = player.mask;
      player.mask = { runs, version: null };
      edits.push({ index: player.shown, what, runs, before: old, version });
      view.repaint();
      this.app.panels.here();
    }
    player.release();
  }

  #saved({ index, runs, version }) {
    const entry = this.app.labels.put(index, runs, version);
    const { player } = this.app;
    if (index === player.shown && sameRuns(player.mask.runs, runs)) player.mask = entry;
    this.app.notices.tell(`Frame ${index} is saved.`);
  }

  #conflict({ index, what, before, after, now }) {
    const entry = this.app.labels.put(index, now.runs, now.version);
    if (index === this.app.player.shown) this.app.player.replaceMask(entry);
    this.app.notices.raise(
      `Frame ${index} was changed in another window, and is shown as it is now. ` +
        "Your last edit of it was not saved.",
      {
        key: `conflict ${index} ${now.version}`,
        action: {
          label: "Put it on top (Enter)",
          run: () => this.#onTop(index, what, before, after),
        },
      },
    );
  }

  /** Draws once more what a conflict has kept out, on the mask as it is now. */
  async #onTop(index, what, before, after) {
    try {
      const now = await server.labels(index);
      const labels = decode(now.runs, this.app.size);
      rebase(decode(before, this.app.size), decode(after, this.app.size), labels);
      const runs = encode(labels);
      this.app.edits.push({
        index,
        what,
        runs,
        before: now.runs,
        version: now.version,
      });
      this.app.go(index);
      this.app.player.refresh();
    } catch (error) {
      this.app.notices.raise(`Could not be put on top: ${error.message}.`, {
        action: {
          label: "Try again",
          run: () => this.#onTop(index, what, before, after),
        },
      });
    }
  }

  /** Changes the mask of the shown frame by a function of its label map. */
  #change(what, change) {
    if (this.app.tools.busy || !this.isReady()) return;
    this.start();
    const { map } = this.app.view;
    const before = map.labels.slice();
    change(map.labels);
    this.app.view.labelsChanged({
      left: 0,
      top: 0,
      right: map.width,
      bottom: map.height,
    });
    this.edited({ what, before, labels: map.labels });
  }

  clear() {
    this.#change("clear", (labels) => {
      for (let at = 0; at < labels.length; at++)
        if (labels[at] === this.app.selected) labels[at] = 0;
    });
  }

  copy() {
    const { selected } = this.app;
    if (!this.app.view.extents.has(selected))
      return this.app.tell("The selected object is not in this frame.");
    this.clipboard = {
      id: selected,
      from: this.app.player.shown,
      runs: encode(this.app.view.map.labels),
    };
    this.app.panels.here();
    this.app.tell(
      `The mask of ${this.app.nameOf(selected)} in frame ${this.app.player.shown} is copied.`,
    );
  }

  paste() {
    if (!this.clipboard) return this.app.tell("No mask is copied yet (Ctrl+C).");
    const { id, runs } = this.clipboard;
    if (!this.app.nameOf(id))
      return this.app.tell("The object that was copied is deleted.");
    const copied = decode(runs, this.app.size);
    this.app.select(id);
    this.#change("paste", (labels) => {
      for (let at = 0; at < labels.length; at++) {
        if (copied[at] !== id) continue;
        if (!this.app.tools.lock || labels[at] === 0) labels[at] = id;
      }
    });
  }
}
