// What the parts of the page have to do with one another.

import { actions, POINTER } from "./actions.js";
import { Drawing } from "./drawing.js";
import { Frames } from "./frames.js";
import { bind, list } from "./keys.js";
import { Labels } from "./labels.js";
import { Notices } from "./notices.js";
import { ObjectList } from "./objects.js";
import { Panels } from "./panels.js";
import { Player } from "./player.js";
import { decode, extents } from "./runs.js";
import * as server from "./server.js";
import { settings } from "./settings.js";
import { Timeline } from "./timeline.js";
import { Tools } from "./tools.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);

export class App {
  constructor(project, edits) {
    const { width, height, frames } = project;
    this.project = project;
    this.size = width * height;
    this.present = true;
    this.stopping = false; // the tracker has been asked to
    this.commands = 0;
    this.settings = settings(`vos-jax-view:${location.pathname}`);
    this.following = this.settings.follow;
    this.selected = this.settings.object;
    this.hidden = new Set(this.settings.hidden);
    this.notices = new Notices(byId("message"), byId("notices"));
    this.edits = edits;
    this.labels = new Labels(this.edits);
    this.view = new View(byId("picture"), byId("marks"), width, height);
    this.player = new Player(new Frames(width), this.labels, frames, project.fps);
    this.player.displayWidth = () => width * this.view.scale * this.view.ratio;
    this.tools = new Tools(this.view, {
      object: (erase) => this.drawing.objectToDraw(erase),
      ready: () => this.drawing.isReady(),
      start: () => this.drawing.start(),
    });
    this.drawing = new Drawing(this);
    this.player.held = () => this.tools.busy;
    this.timeline = new Timeline(byId("timeline"), frames);
    this.objects = new ObjectList(byId("objects"));
    this.panels = new Panels(this);
  }

  start() {
    this.#connect();
    const table = actions(this);
    this.actions = bind(table, (down) => this.#space(down));
    list(
      byId("keys"),
      table.filter(({ text }) => text),
      POINTER,
    );
    this.panels.start();
    const { tool, lock, size } = this.settings;
    this.tools.setSize(size ?? Math.max(4, this.project.width / 40));
    this.tools.setLock(lock);
    this.tools.choose(tool);
    this.setProject(this.project);
    this.player.seek(this.settings.frame);
    this.edits.adopt();
    // A window that was just closed may hold on to what it left for a moment.
    setTimeout(() => this.edits.adopt(), 2000);
    server.listen(
      (message) => this.#heard(message),
      () => this.#away(),
    );
  }

  // The parts.

  #connect() {
    const { player, tools, timeline, objects, edits, view } = this;
    const on = (part, type, run) =>
      part.addEventListener(type, ({ detail }) => run(detail));
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
    on(tools, "edit", (edit) => this.drawing.edited(edit));
    on(tools, "cancel", () => player.release());
    on(tools, "pick", ({ id }) => this.select(id));
    on(tools, "say", ({ message }) =>
      this.notices.raise(message, { plain: true, seconds: 6 }),
    );
    on(tools, "change", () => {
      const { tool, size, lock } = tools;
      Object.assign(this.settings, { tool, size, lock });
      this.panels.tools();
    });
    on(objects, "select", ({ id }) => this.select(id));
    on(objects, "hide", ({ id }) => this.hide(id));
    on(objects, "end", ({ id }) => this.end(id));
    on(objects, "back", ({ id, frame }) =>
      this.command("end_object", { id, frame, undo_end: true }),
    );
    on(objects, "delete", ({ id }) => this.deleteObject(id));
    on(objects, "change", (change) => this.command("change_object", change));
    on(edits, "change", () => this.panels.state());
    view.onZoom = () => this.panels.zoom();
    window.addEventListener("beforeunload", (event) => {
      if (edits.size) event.preventDefault();
    });
    window.addEventListener("pagehide", () => {
      edits.leaving = true;
      tools.finish();
    });
    window.addEventListener("pageshow", () => {
      edits.leaving = false;
    });
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
    if (!same)
      this.view.setLabels(
        decode(mask.runs, this.size),
        extents(mask.runs, this.project.width),
      );
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
      this.edits.adopt();
      this.notices.drop("away");
      this.notices.tell("The server is back.");
      this.labels.grow();
      this.player.refresh();
    }
    if (type === "project") this.setProject(news);
    else if (type === "frame") this.#tracked(news);
    else if (type === "track" || type === "export") {
      if (type === "track" && !(this.project.track && news.track)) {
        // A pass begins or ends.
        this.stopping = false;
        this.following = this.settings.follow;
      }
      this.project = { ...this.project, [type]: news[type] };
      this.timeline.setProject(this.project);
      this.panels.project();
    }
    if (!news.told) return;
    this.notices.tell(news.told);
    if (!/^(tracked|stopped|wrote)\b/.test(news.told)) this.notices.raise(news.told);
  }

  #tracked({ index, version, status }) {
    const { project, player } = this;
    this.labels.told(index, version);
    project.status =
      project.status.slice(0, index) + status + project.status.slice(index + 1);
    this.timeline.repaint();
    if (index === player.shown) player.refresh();
    const free = !this.stopping && !player.playing && !this.tools.busy;
    if (project.track && this.following && free) player.seek(index);
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

  // What the user does; see actions.js.

  tell(text) {
    this.notices.tell(text);
  }

  tellSaved() {
    const { size } = this.edits;
    this.tell(
      size
        ? `${size} edits are being saved.`
        : `All is saved in ${this.project.out}, as it happens.`,
    );
  }

  go(index, scrubbing = false) {
    if (this.tools.points.length) {
      this.notices.raise("Close the polygon (Enter) or drop it (Escape) first.", {
        plain: true,
        seconds: 5,
      });
    } else if (!this.tools.busy) {
      // Who looks elsewhere is not taken back before the next pass.
      if (this.project.track && this.following) {
        this.following = false;
        this.panels.project();
      }
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
    if (!this.project.track) return;
    this.stopping = true;
    this.command("stop", {}, false);
  }

  follow(following) {
    this.settings.follow = this.following = following;
    this.panels.project();
    if (following && this.project.track) this.player.seek(this.project.track.frame);
  }

  toggleFollow() {
    this.follow(!this.following);
  }

  async undo(name) {
    if (this.tools.stroke || (name === "undo" && this.tools.back())) return;
    if (!this.project[name] && !this.edits.size)
      return this.tell(`There is nothing to ${name}.`);
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
