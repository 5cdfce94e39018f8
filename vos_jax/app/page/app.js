// What the parts of the page have to do with one another.

import { actions, POINTER } from "./actions.js";
import { Edits } from "./edits.js";
import { Frames } from "./frames.js";
import { bind, list } from "./keys.js";
import { Labels } from "./labels.js";
import { Notices } from "./notices.js";
import { ObjectList } from "./objects.js";
import { Panels } from "./panels.js";
import { Player } from "./player.js";
import { rebase } from "./raster.js";
import { decode, encode, extents, sameRuns } from "./runs.js";
import * as server from "./server.js";
import { settings } from "./settings.js";
import { Timeline } from "./timeline.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);

export class App {
  constructor(project, place) {
    const { width, height, frames } = project;
    this.project = project;
    this.size = width * height;
    this.present = true;
    this.commands = 0;
    this.clipboard = null;
    this.settings = settings(`vos-jax-view:${location.pathname}`);
    this.selected = this.settings.object;
    this.hidden = new Set(this.settings.hidden);
    this.notices = new Notices(byId("message"), byId("notices"));
    this.edits = new Edits(place);
    this.labels = new Labels(this.edits);
    this.view = new View(byId("picture"), byId("marks"), width, height);
    this.player = new Player(new Frames(width, height), this.labels, frames, project.fps);
    this.player.displayWidth = () => width * this.view.scale * this.view.ratio;
    this.tools = new Tools(this.view, {
      object: (erase) => this.objectToDraw(erase),
      ready: () => this.readyToDraw(),
      start: () => this.startDrawing(),
    });
    this.player.held = () => this.tools.busy;
    this.timeline = new Timeline(byId("timeline"), frames);
    this.objects = new ObjectList(byId("objects"));
    this.panels = new Panels(this);
  }

  start(orphans) {
    this.#connect();
    const table = actions(this);
    this.actions = bind(table, (down) => this.#space(down));
    list(byId("keys"), table.filter(({ text }) => text), POINTER);
    this.panels.start();
    this.tools.choose(this.settings.tool);
    this.tools.setLock(this.settings.lock);
    this.tools.setSize(this.settings.size ?? Math.max(4, Math.round(this.project.width / 40)));
    this.setProject(this.project);
    this.player.seek(this.settings.frame);
    for (const place of orphans) {
      this.edits.adopt(localStorage.getItem(place));
      if (place !== this.edits.place) localStorage.removeItem(place);
    }
    server.listen((message) => this.#heard(message), () => this.#away());
  }

  // The parts.

  #connect() {
    const { player, tools, timeline, objects, edits, view } = this;
    const on = (part, type, run) => part.addEventListener(type, ({ detail }) => run(detail));
    on(player, "seek", () => {
      timeline.setCurrent(player.target);
      this.panels.position();
    });
    on(player, "show", (shown) => this.#show(shown));
    on(player, "play", () => this.panels.playing(player.playing));
    on(player, "fail", ({ index, error }) => {
      if (error instanceof server.Away) this.#away();
      else this.notices.raise(`Frame ${index}: ${error.message}`, { seconds: 8 });
    });
    on(timeline, "scrub", ({ index }) => this.go(index, true));
    on(timeline, "rest", () => player.rest());
    on(tools, "edit", (edit) => this.#edited(edit));
    on(tools, "cancel", () => player.release());
    on(tools, "pick", ({ id }) => this.select(id));
    on(tools, "say", ({ message }) => this.notices.raise(message, { plain: true, seconds: 6 }));
    on(tools, "change", () => {
      const { tool, size, lock } = tools;
      Object.assign(this.settings, { tool, size, lock });
      this.panels.tools();
    });
    on(objects, "select", ({ id }) => this.select(id));
    on(objects, "hide", ({ id }) => this.hide(id));
    on(objects, "end", ({ id }) => this.end(id));
    on(objects, "back", ({ id, frame }) => this.command("end_object", { id, frame, undo_end: true }));
    on(objects, "delete", ({ id }) => this.deleteObject(id));
    on(objects, "change", (change) => this.command("change_object", change));
    on(edits, "change", () => this.panels.state());
    on(edits, "saved", (saved) => this.#saved(saved));
    on(edits, "conflict", (conflict) => this.#conflict(conflict));
    on(edits, "refused", ({ index, message }) => {
      this.notices.raise(`The last edit of frame ${index} was refused: ${message}`);
      this.labels.drop(index);
      if (index === player.shown) player.refresh();
    });
    on(edits, "unkept", () => {
      this.notices.raise("This browser has no room to keep edits until the server has them.");
    });
    view.onZoom = () => this.panels.zoom();
    window.addEventListener("beforeunload", (event) => {
      if (edits.size) event.preventDefault();
    });
    window.addEventListener("pagehide", () => tools.finish());
    window.addEventListener("blur", () => tools.setSpace(false));
    for (const type of ["keydown", "keyup"]) {
      window.addEventListener(type, (event) => {
        if (event.key === "Shift") tools.setShift(type === "keydown");
      });
    }
  }

  #space(down) {
    if (down) this.tools.setSpace(true);
    else if (this.tools.space) {
      const { spaceUsed } = this.tools;
      this.tools.setSpace(false);
      if (!spaceUsed) this.togglePlay();
    }
  }

  #show({ index, bitmap, mask, moved, same }) {
    this.view.setFrame(bitmap);
    if (!same) this.view.setLabels(decode(mask.runs, this.size), extents(mask.runs, this.project.width));
    if (moved) {
      this.settings.frame = index;
      document.body.dataset.frame = index;
    }
    this.panels.here();
  }

  // The server.

  setProject(news) {
    const grown = news.revision !== this.project.revision;
    this.project = { ...this.project, ...news };
    const ids = this.project.objects.map((one) => one.id);
    if (!ids.includes(this.selected)) this.selected = ids.at(-1) ?? null;
    for (const id of this.hidden) if (!ids.includes(id)) this.hidden.delete(id);
    this.timeline.setProject(this.project);
    this.#objectsChanged();
    this.panels.project();
    if (!grown) return;
    this.labels.grow();
    this.player.refresh();
  }

  #objectsChanged() {
    const { objects, ended } = this.project;
    this.settings.object = this.selected;
    this.settings.hidden = [...this.hidden];
    this.objects.show(objects, ended, this.selected, this.hidden);
    this.view.setObjects(objects, this.hidden, this.selected);
    this.panels.here();
  }

  #heard({ type, ...news }) {
    if (!this.present) {
      this.present = true;
      this.edits.setPresent(true);
      this.notices.drop("away");
      this.notices.tell("The server is back.");
      this.labels.grow();
      this.player.refresh();
    }
    if (type === "project") this.setProject(news);
    else if (type === "frame") this.#tracked(news);
    else if (type === "track" || type === "export") {
      this.project = { ...this.project, [type]: news[type] };
      this.timeline.setProject(this.project);
      this.panels.project();
    }
    if (news.told) this.notices.tell(news.told);
  }

  #tracked({ index, version, status }) {
    const { project, player } = this;
    this.labels.told(index, version);
    project.status = project.status.slice(0, index) + status + project.status.slice(index + 1);
    this.timeline.repaint();
    if (index === player.shown) player.refresh();
    if (project.track && this.settings.follow && !player.playing && !this.tools.busy) {
      player.seek(index);
    }
  }

  #away() {
    if (!this.present) return;
    this.present = false;
    this.edits.setPresent(false);
    this.project = { ...this.project, track: null, export: null };
    this.notices.raise(
      "The server does not answer. What you draw is kept in this browser and is sent when it is back.",
      { key: "away" },
    );
    this.timeline.setProject(this.project);
    this.panels.project();
  }

  /** Sends a command after all edits; its answer, or null if it was not done. */
  async command(name, body = {}, wait = true) {
    if (!this.present) {
      this.notices.raise("That has to wait until the server is back.", { seconds: 5 });
      return null;
    }
    this.commands += 1;
    this.panels.state();
    try {
      if (wait) await this.edits.sent();
      return await server.command(name, body);
    } catch (error) {
      if (error instanceof server.Away) this.#away();
      else this.notices.raise(error.message, { seconds: 12 });
      return null;
    } finally {
      this.commands -= 1;
      this.panels.state();
    }
  }

  // Drawing.

  readyToDraw() {
    this.player.pause();
    return this.player.shown === this.player.target;
  }

  startDrawing() {
    // What is drawn wins, so the tracker makes room for it at once.
    if (this.project.track) this.stop();
    if (!this.settings.masks) this.toggle("masks");
    if (this.hidden.has(this.selected)) this.hide(this.selected);
  }

  objectToDraw(erase) {
    if (this.selected !== null) return this.selected;
    if (!erase) return this.addObject();
    this.notices.raise("There is no object to erase yet.", { plain: true, seconds: 5 });
    return null;
  }

  #edited({ what, before, labels }) {
    const { player, edits, view } = this;
    const runs = encode(labels);
    const old = encode(before);
    view.extents = extents(runs, this.project.width);
    if (!sameRuns(runs, old)) {
      const { version } = player.mask;
      player.mask = { runs, version: null };
      edits.push({ index: player.shown, what, runs, before: old, version });
      view.repaint();
      this.panels.here();
    }
    player.release();
  }

  #saved({ index, runs, version }) {
    const entry = this.labels.put(index, runs, version);
    const { player } = this;
    if (index === player.shown && sameRuns(player.mask.runs, runs)) player.mask = entry;
    this.notices.tell(`Frame ${index} is saved.`);
  }

  #conflict({ index, what, before, after, now }) {
    const entry = this.labels.put(index, now.runs, now.version);
    if (index === this.player.shown) this.player.replaceMask(entry);
    this.notices.raise(
      `Frame ${index} was changed in another window, and is shown as it is now. ` +
        "Your last edit of it was not saved.",
      {
        key: `conflict ${index} ${now.version}`,
        action: { label: "Put it on top", run: () => this.#onTop(index, what, before, after) },
      },
    );
  }

  /** Draws once more what a conflict has kept out, on the mask as it is now. */
  async #onTop(index, what, before, after) {
    try {
      const now = await server.labels(index);
      const labels = decode(now.runs, this.size);
      rebase(decode(before, this.size), decode(after, this.size), labels);
      const runs = encode(labels);
      this.edits.push({ index, what, runs, before: now.runs, version: now.version });
      this.go(index);
      this.player.refresh();
    } catch (error) {
      this.notices.raise(`Could not be put on top: ${error.message}.`, {
        action: { label: "Try again", run: () => this.#onTop(index, what, before, after) },
      });
    }
  }

  /** Changes the mask of the shown frame by a function of its label map. */
  #change(what, change) {
    if (this.tools.busy || !this.readyToDraw()) return;
    this.startDrawing();
    const { map } = this.view;
    const before = map.labels.slice();
    change(map.labels);
    this.view.labelsChanged({ left: 0, top: 0, right: map.width, bottom: map.height });
    this.#edited({ what, before, labels: map.labels });
  }

  clear() {
    this.#change("clear", (labels) => {
      for (let at = 0; at < labels.length; at++) if (labels[at] === this.selected) labels[at] = 0;
    });
  }

  copy() {
    const { selected } = this;
    if (!this.view.extents.has(selected)) return this.tell("The selected object is not in this frame.");
    this.clipboard = { id: selected, from: this.player.shown, runs: encode(this.view.map.labels) };
    this.panels.here();
    this.tell(`The mask of ${this.nameOf(selected)} in frame ${this.player.shown} is copied.`);
  }

  paste() {
    if (!this.clipboard) return this.tell("No mask is copied yet (Ctrl+C).");
    const { id, runs } = this.clipboard;
    if (!this.nameOf(id)) return this.tell("The object that was copied is deleted.");
    const copied = decode(runs, this.size);
    this.select(id);
    this.#change("paste", (labels) => {
      for (let at = 0; at < labels.length; at++) {
        if (copied[at] !== id) continue;
        if (!this.tools.lock || labels[at] === 0) labels[at] = id;
      }
    });
  }

  // What the user does; see actions.js.

  tell(text) {
    this.notices.tell(text);
  }

  tellSaved() {
    const { size } = this.edits;
    this.tell(size ? `${size} edits are being saved.` : `All is saved in ${this.project.out}, as it happens.`);
  }

  go(index, scrubbing = false) {
    if (this.tools.points.length) {
      this.notices.raise("Close the polygon (Enter) or drop it (Escape) first.", { plain: true, seconds: 5 });
    } else if (!this.tools.busy) {
      this.player.pause();
      this.player.seek(index, scrubbing);
    }
  }

  togglePlay() {
    if (this.tools.busy) return;
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  focusFrame() {
    byId("frame").focus();
    byId("frame").select();
  }

  track(direction) {
    if (this.tools.busy || this.project.track) return;
    this.player.pause();
    this.command("track", { direction, frame: this.player.target });
  }

  stop() {
    if (this.project.track) this.command("stop", {}, false);
  }

  toggleFollow() {
    this.settings.follow = !this.settings.follow;
    this.panels.project();
  }

  async undo(name) {
    if (this.tools.stroke || (name === "undo" && this.tools.back())) return;
    const answer = await this.command(name);
    if (!answer) return;
    this.labels.grow();
    if (answer.frame !== null) this.go(answer.frame);
    this.player.refresh();
  }

  forget() {
    this.command("forget", { frame: this.player.target });
  }

  escape() {
    if (!this.tools.cancel()) this.notices.close();
  }

  async addObject() {
    const answer = await this.command("add_object", {}, false);
    if (!answer) return null;
    this.select(answer.id);
    return answer.id;
  }

  select(id) {
    this.selected = id;
    this.#objectsChanged();
  }

  selectPlace(place) {
    const object = this.project.objects[place];
    if (object) this.select(object.id);
  }

  selectNext(by) {
    const place = this.project.objects.findIndex((one) => one.id === this.selected);
    this.selectPlace(place + by);
  }

  nameOf(id) {
    return this.project.objects.find((one) => one.id === id)?.name ?? null;
  }

  rename() {
    this.objects.focusName(this.selected);
  }

  hide(id) {
    if (!this.hidden.delete(id) && id !== null) this.hidden.add(id);
    this.#objectsChanged();
  }

  end(id) {
    if (id === null) return;
    const frame = this.player.target;
    const already = this.project.ended.some((one) => one[0] === frame && one[1] === id);
    this.command("end_object", already ? { id, frame, undo_end: true } : { id, frame });
  }

  deleteObject(id) {
    if (id !== null) this.command("delete_object", { id });
  }

  toggle(name) {
    this.settings[name] = !this.settings[name];
    this.panels.view();
  }

  setOpacity(opacity) {
    this.settings.opacity = Math.min(1, Math.max(0, Math.round(opacity * 20) / 20));
    this.panels.view();
  }

  help() {
    byId("help").showModal();
  }

  openExport() {
    this.panels.openExport();
  }
}
