// What stands around the canvas: buttons, fields, texts and dialogs, as the state of the
// page wants them.

import { describe } from "./keys.js";

const byId = (id) => document.getElementById(id);
const LARGEST = 400;
const HINTS = {
  brush: "Paint the selected object",
  eraser: "Erase the selected object; with Shift any",
  polygon: "Click points; Enter closes, Backspace takes the last one back",
  fill: "Click into an enclosed region; with Shift a region is taken away",
};

const count = (number, word) =>
  `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

export class Panels {
  constructor(app) {
    this.app = app;
  }

  start() {
    const { app } = this;
    const { project, tools } = app;
    document.title = `${project.video} – annotate`;
    byId("video").textContent = project.video;
    byId("video").title =
      `${project.width} × ${project.height}, ${count(project.frames, "frame")}`;
    byId("model").textContent = project.model;
    byId("model").title = project.model;
    byId("of").textContent = `/ ${project.frames - 1}`;
    byId("timeline").setAttribute("aria-valuemax", project.frames - 1);
    byId("size").addEventListener("input", (event) => {
      tools.setSize(LARGEST ** (event.target.value / 100));
    });
    byId("opacity").addEventListener("input", (event) =>
      app.setOpacity(event.target.value / 100),
    );
    byId("follow").addEventListener("change", (event) => {
      app.follow(event.target.checked);
    });
    const frame = byId("frame");
    frame.addEventListener("change", () => {
      const index = Number.parseInt(frame.value, 10);
      if (Number.isFinite(index)) app.go(index);
      this.position();
    });
    frame.addEventListener("keydown", (event) => {
      if (event.key === "Escape") frame.value = app.player.target;
      if (event.key === "Escape" || event.key === "Enter") frame.blur();
    });
    byId("export-cancel").addEventListener("click", () =>
      byId("export-dialog").close(),
    );
    byId("export-form").addEventListener("submit", () => {
      const overlay = byId("export-overlay").checked;
      app.command("export", { overlay, coco: byId("export-coco").checked });
    });
    this.view();
    this.zoom();
    this.position();
  }

  /** ready, saving, tracking or away. */
  state() {
    const { app } = this;
    const unsent = app.edits.size;
    let state = "ready";
    let text = "All changes saved";
    if (!app.present) {
      state = "away";
      text = unsent ? `Server away: ${count(unsent, "edit")} kept here` : "Server away";
    } else if (app.project.track) {
      state = "tracking";
      const { phase, frame } = app.project.track;
      text =
        phase === "compiling"
          ? "Getting the tracker ready…"
          : `Tracking, frame ${frame}`;
    } else if (unsent || app.commands) {
      state = "saving";
      text = "Saving…";
    }
    if (document.body.dataset.state !== state) this.here();
    document.body.dataset.state = state;
    document.body.dataset.revision = app.project.revision;
    byId("saved").textContent = text;
    byId("saved").title = `Saved in ${app.project.out}, as it happens`;
  }

  project() {
    const { project, following, present } = this.app;
    const { track } = project;
    for (const name of ["undo", "redo"]) {
      const button = byId(name);
      const word = name === "undo" ? "Undo" : "Redo";
      button.disabled = !project[name] || !present;
      describe(
        button,
        project[name] ? `${word}: ${project[name]}` : word,
        this.app.actions.get(name),
      );
    }
    byId("stop").disabled = !track;
    for (const id of ["track-forward", "track-backward"]) {
      byId(id).disabled = Boolean(track) || !present;
    }
    byId("follow").checked = following;
    byId("track-text").textContent = track ? describeTrack(track) : "";
    byId("track-text").title = byId("track-text").textContent;
    const { export: writing } = project;
    byId("export").disabled = Boolean(writing) || !present;
    byId("export-label").textContent = writing
      ? `${writing.done} of ${writing.of}`
      : "Export";
    byId("no-objects").hidden = project.objects.length > 0;
    this.state();
    this.here();
  }

  position() {
    const { player, project } = this.app;
    const frame = byId("frame");
    if (document.activeElement !== frame) frame.value = player.target;
    const seconds = player.target / (project.fps || 24);
    const text = `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
    byId("time").textContent = project.fps ? text : "";
    const name = project.names?.[player.target];
    byId("timeline").setAttribute(
      "aria-valuetext",
      `frame ${player.target}, ${name ?? ""}`,
    );
    this.here();
  }

  playing(playing) {
    byId("play")
      .querySelector("use")
      .setAttribute("href", playing ? "#i-pause" : "#i-play");
    byId("play").setAttribute("aria-pressed", playing);
  }

  /** What is to say about the frame and the selected object in it. */
  here() {
    const { player, project, view, selected } = this.app;
    const index = player.target;
    const drawn = project.drawn.includes(index);
    const letter = project.status[index];
    let text = "No mask.";
    if (this.app.edits.latest(index)) text = "Drawn by hand, not saved yet.";
    else if (drawn) text = "Drawn by hand.";
    else if (letter === "s")
      text = "Tracked, but older than a change: track on from that.";
    else if (letter !== ".") text = "Tracked.";
    const object = project.objects.find((one) => one.id === selected);
    const found = view.extents.get(selected);
    let about = "";
    if (object && player.shown === index) {
      about = found
        ? `${object.name}: ${count(found.area, "pixel")}`
        : `${object.name} is not here.`;
    }
    const name = project.names?.[index];
    write("here-title", Number(name) === index ? "This frame" : `This frame: ${name}`);
    write("here-text", text);
    write("here-object", about);
    byId("clear").disabled = !found;
    byId("copy").disabled = !found;
    byId("forget").disabled = !drawn;
    byId("paste").disabled = !this.app.drawing.clipboard;
    const untouched = !project.drawn.length && !/[^.]/.test(project.status);
    byId("empty").hidden = !untouched;
    byId("empty").textContent = untouched
      ? "Paint an object in this frame, then press T to track it. Press ? for all keys."
      : "";
  }

  tools() {
    const { tool, size, lock } = this.app.tools;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", button.dataset.tool === tool);
    }
    byId("lock").setAttribute("aria-pressed", lock);
    byId("size").value = (100 * Math.log(size)) / Math.log(LARGEST);
    byId("size-value").textContent = `${size} px`;
    byId("hint").textContent =
      HINTS[tool] + (lock ? ". Only background is painted on." : "");
    byId("size-option").hidden = tool === "polygon" || tool === "fill";
  }

  view() {
    const { settings, view } = this.app;
    const { opacity, masks, names } = settings;
    view.setOptions({ opacity, masks, names });
    byId("opacity").value = Math.round(100 * opacity);
    byId("opacity-value").textContent = `${Math.round(100 * opacity)} %`;
    byId("masks").setAttribute("aria-pressed", masks);
    byId("names").setAttribute("aria-pressed", names);
  }

  zoom() {
    const { scale, ratio, x, y } = this.app.view;
    byId("zoom").textContent = `${Math.round(100 * scale * ratio)} %`;
    byId("marks").dataset.view = `${scale} ${x} ${y}`;
  }

  openExport() {
    const { project } = this.app;
    if (byId("export").disabled) return;
    byId("export-out").textContent = project.out;
    const missing = [...project.status].filter((letter) => letter === ".").length;
    const stale = [...project.status].filter((letter) => letter === "s").length;
    const notes = [];
    if (missing) notes.push(`${count(missing, "frame")} without a mask`);
    if (stale) notes.push(`${count(stale, "frame")} older than a change`);
    byId("export-note").textContent = notes.length
      ? `There are ${notes.join(" and ")}.`
      : "";
    byId("export-dialog").showModal();
  }
}

/** Writes only what is new: it may be read aloud. */
function write(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function describeTrack({ direction, frame, last, rate, phase }) {
  if (phase === "compiling") return "Getting the tracker ready…";
  const left = Math.abs(last - frame);
  let text = `${direction === "forward" ? "→" : "←"} ${frame} of ${last}`;
  if (rate) {
    const seconds = Math.round(left / rate);
    text += `, ${rate.toFixed(1)} frames/s, ${seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} left`;
  }
  return text;
}
