// Brush, eraser, polygon and fill: from the pointer to the label map, and what follows
// the pointer on the canvas.

import * as raster from "./raster.js";

const BACKGROUND = 0;

/**
 * Events: "edit" {what, before, labels} when an action is done; "pick" {id}; "say"
 * {message}; "change" when a tool or an option of one has changed.
 */
export class Tools extends EventTarget {
  /** `object()` is a promise of the id to draw with, or null; `ready()` whether to draw. */
  constructor(view, { object, ready, start }) {
    super();
    Object.assign(this, { view, object, ready, start });
    this.tool = "brush";
    this.size = 20;
    this.lock = false;
    this.space = false;
    this.stroke = null;
    this.points = []; // of the polygon
    this.pan = null;
    this.at = null; // of the pointer
    this.shift = false;
    view.onMarks = () => this.#mark();
    this.#listen(view.marks);
  }

  get busy() {
    return this.stroke !== null || this.points.length > 0;
  }

  choose(tool) {
    this.cancel();
    this.tool = tool;
    this.#emit("change");
    this.#mark();
  }

  setSize(size) {
    this.size = Math.min(400, Math.max(1, Math.round(size)));
    this.#emit("change");
    this.#mark();
  }

  setLock(lock) {
    this.lock = lock;
    this.#emit("change");
  }

  /** While space is held the pointer moves the picture. */
  setSpace(space) {
    this.space = space;
    this.spaceUsed = false;
    this.#mark();
  }

  setShift(shift) {
    this.shift = shift;
    this.#mark();
  }

  // Pointer.

  #listen(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => {
      this.at = null;
      this.#mark();
    });
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = canvas.getBoundingClientRect();
        const pixels = event.deltaMode === 1 ? 33 * event.deltaY : event.deltaY;
        const at = { x: event.clientX - box.left, y: event.clientY - box.top };
        // Two fingers on a touchpad come as a wheel with Ctrl, in small steps.
        const speed = event.ctrlKey ? 100 : 500;
        this.view.zoom(Math.exp(-Math.max(-300, Math.min(300, pixels)) / speed), at);
      },
      { passive: false },
    );
  }

  #down(event) {
    if (this.stroke || this.pan) return;
    event.preventDefault();
    document.activeElement?.blur?.();
    const { marks } = this.view;
    marks.setPointerCapture(event.pointerId);
    this.at = this.view.toFrame(event);
    this.shift = event.shiftKey;
    if (this.space || event.button === 1) {
      this.spaceUsed = true;
      this.pan = { x: event.clientX, y: event.clientY };
      return this.#mark();
    }
    if (event.altKey) {
      const id = this.view.labelAt(this.at);
      if (id) this.#emit("pick", { id });
      return;
    }
    if (!this.ready()) return;
    this.start();
    // The other end of a pen, and the right button, erase.
    const erase = event.button === 2 || event.button === 5;
    if (this.tool === "polygon" && !erase) this.#addPoint();
    else if (this.tool === "fill" && !erase) this.#fill(event.shiftKey);
    else this.#begin(erase || this.tool === "eraser", event.shiftKey);
  }

  #move(event) {
    if (this.pan) {
      this.view.pan(event.clientX - this.pan.x, event.clientY - this.pan.y);
      this.pan = { x: event.clientX, y: event.clientY };
      return;
    }
    this.shift = event.shiftKey;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) {
      this.at = this.view.toFrame(one);
      this.stroke?.points.push(this.at);
    }
    this.#draw();
    this.#mark();
  }

  #up(event) {
    if (this.pan) {
      this.pan = null;
      return this.#mark();
    }
    if (!this.stroke) return;
    if (event.type === "pointerup") this.stroke.points.push(this.view.toFrame(event));
    this.finish();
  }

  // Brush and eraser.

  #begin(erase, any) {
    const stroke = {
      what: erase ? "eraser" : "brush",
      points: [this.at],
      drawn: 0,
      may: null,
    };
    stroke.before = this.view.map.labels.slice();
    stroke.size = this.size;
    this.stroke = stroke;
    const go = (id) => {
      if (this.stroke !== stroke) return;
      if (id === null && !(erase && any)) return this.cancel();
      stroke.label = erase ? BACKGROUND : id;
      stroke.may = this.#may(id, erase, any);
      this.#draw();
      if (stroke.finished) this.#end();
    };
    // Objects are known at once; only the first one is made by its first stroke.
    const id = this.object(erase);
    if (id instanceof Promise) id.then(go, () => this.cancel());
    else go(id);
  }

  #may(id, erase, any) {
    if (erase) return raster.changeable((label) => any || label === id);
    return raster.changeable(
      (label) => !this.lock || label === BACKGROUND || label === id,
    );
  }

  #draw() {
    const { stroke } = this;
    if (!stroke?.may) return;
    const { points } = stroke;
    let box = null;
    for (; stroke.drawn < points.length; stroke.drawn++) {
      const b = points[stroke.drawn];
      const a = points[Math.max(0, stroke.drawn - 1)];
      const part = raster.paintLine(
        this.view.map,
        a,
        b,
        stroke.size,
        stroke.label,
        stroke.may,
      );
      box = raster.union(box, part);
    }
    this.view.labelsChanged(box);
  }

  /** Ends the stroke that is being drawn, as letting go of the pointer does. */
  finish() {
    if (!this.stroke) return;
    this.#draw();
    this.stroke.finished = true;
    if (this.stroke.may) this.#end();
  }

  #end() {
    const { what, before } = this.stroke;
    this.stroke = null;
    this.#done(what, before);
  }

  #done(what, before) {
    this.#emit("edit", { what, before, labels: this.view.map.labels });
    this.#mark();
  }

  /** Takes back what is being drawn; whether there was something. */
  cancel() {
    const { stroke } = this;
    const busy = this.busy;
    this.stroke = null;
    this.points = [];
    if (stroke) {
      this.view.map.labels.set(stroke.before);
      const { width, height } = this.view;
      this.view.labelsChanged({ left: 0, top: 0, right: width, bottom: height });
    }
    if (busy) this.#emit("cancel");
    this.#mark();
    return busy;
  }

  // Polygon.

  #addPoint() {
    const first = this.points[0];
    if (first && this.points.length > 2 && this.#near(first)) return this.close();
    this.points.push(this.at);
    this.#mark();
  }

  #near(point) {
    const distance = Math.hypot(point.x - this.at.x, point.y - this.at.y);
    return distance * this.view.scale < 8;
  }

  /** Takes the last point of the polygon back; whether there was one. */
  back() {
    if (!this.points.length) return false;
    this.points.pop();
    if (!this.points.length) this.#emit("cancel");
    this.#mark();
    return true;
  }

  /** Closes the polygon and fills it; whether there was one. */
  close() {
    if (!this.points.length) return false;
    // A double click has set its point twice.
    const points = this.points.filter(
      (point, k, all) =>
        !k || Math.hypot(point.x - all[k - 1].x, point.y - all[k - 1].y) > 0.01,
    );
    if (points.length < 3) {
      this.#emit("say", { message: "A polygon needs three points or more." });
      return true;
    }
    const before = this.view.map.labels.slice();
    this.#with((id) => {
      const may = this.#may(id, false, false);
      this.points = [];
      this.view.labelsChanged(raster.paintPolygon(this.view.map, points, id, may));
      this.#done("polygon", before);
    });
    return true;
  }

  /** Calls with the object to draw with, once there is one. */
  async #with(draw) {
    let id = null;
    try {
      id = await this.object(false);
    } catch {
      // Said by whoever could not make one.
    }
    if (id === null) this.cancel();
    else draw(id);
  }

  // Fill.

  #fill(erase) {
    const { map } = this.view;
    const [x, y] = [Math.floor(this.at.x), Math.floor(this.at.y)];
    if (x < 0 || y < 0 || x >= map.width || y >= map.height) return;
    const say = (message) => this.#emit("say", { message });
    const found = raster.region(map, x, y);
    if (erase && found.label === BACKGROUND)
      return say("There is no mask to take away here.");
    if (!erase && found.label === BACKGROUND && found.area > map.labels.length / 2) {
      return say("This is not enclosed: draw a closed line first, then fill it.");
    }
    if (!erase && found.label !== BACKGROUND && this.lock) {
      return say("This is another object, and only background is painted on (L).");
    }
    const before = map.labels.slice();
    const paint = (id) => {
      this.view.labelsChanged(raster.paintRegion(map, found, id));
      this.#done("fill", before);
    };
    if (erase) paint(BACKGROUND);
    else this.#with(paint);
  }

  // What follows the pointer.

  #mark() {
    const { view } = this;
    const { marks, ratio, scale } = view;
    const context = marks.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, marks.width, marks.height);
    const moving = this.space || this.pan;
    const round = !moving && (this.tool === "brush" || this.tool === "eraser");
    marks.dataset.cursor = moving
      ? this.pan
        ? "moving"
        : "move"
      : round
        ? "round"
        : this.tool;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const toScreen = (point) => [view.x + point.x * scale, view.y + point.y * scale];
    const twice = (draw) => {
      for (const [colour, width] of [
        ["rgb(0 0 0 / 80%)", 3],
        ["#ffffff", 1.25],
      ]) {
        context.strokeStyle = colour;
        context.lineWidth = width;
        draw();
      }
    };
    if (round && this.at) {
      const [x, y] = toScreen(this.at);
      const radius = Math.max(1.5, ((this.stroke?.size ?? this.size) / 2) * scale);
      if (this.tool === "eraser" && this.shift) context.setLineDash([4, 3]);
      twice(() => {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.stroke();
      });
      context.setLineDash([]);
    }
    if (this.points.length) {
      twice(() => {
        context.beginPath();
        for (const point of this.points) context.lineTo(...toScreen(point));
        if (this.at) context.lineTo(...toScreen(this.at));
        context.stroke();
      });
      this.points.forEach((point, k) => {
        const [x, y] = toScreen(point);
        context.beginPath();
        context.arc(x, y, k ? 3 : 5, 0, 2 * Math.PI);
        context.fillStyle = "#ffffff";
        context.fill();
        context.strokeStyle = "#000000";
        context.lineWidth = 1;
        context.stroke();
      });
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
