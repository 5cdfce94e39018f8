// The bar over all frames: what each one has, where the tracker is, where the user is.

const COLOURS = {
  ground: "#0f1216",
  none: "#2b313a",
  mask: "#3f9d8f",
  stale: "#8a6d2a",
  staleLine: "#e5b84b",
  text: "#9aa5b4",
  line: "#ffffff",
  track: "#6cb2ff",
};
const BAR = { top: 18, height: 18 };
const SIDE = 10;

/** Events: "scrub" {index} while the pointer drags, "rest" when it lets go. */
export class Timeline extends EventTarget {
  constructor(canvas, frames) {
    super();
    Object.assign(this, { canvas, frames });
    this.project = null;
    this.current = 0;
    this.hover = null;
    this.waiting = false;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.#scrub(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.hover = this.#index(event);
      if (this.dragging) this.#scrub(event);
      this.repaint();
    });
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, () => {
        if (this.dragging) this.#emit("rest");
        this.dragging = false;
      });
    }
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      this.repaint();
    });
    new ResizeObserver(() => this.repaint()).observe(canvas);
  }

  setProject(project) {
    this.project = project;
    this.repaint();
  }

  setCurrent(index) {
    this.current = index;
    this.canvas.setAttribute("aria-valuenow", index);
    this.repaint();
  }

  repaint() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#paint();
    });
  }

  #scrub(event) {
    this.#emit("scrub", { index: this.#index(event) });
  }

  #index(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - SIDE) / (box.width - 2 * SIDE);
    return Math.min(this.frames - 1, Math.max(0, Math.floor(part * this.frames)));
  }

  #paint() {
    if (!this.project) return;
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    if (canvas.width !== Math.round(width * ratio))
      canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio))
      canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    this.context = context;
    this.step = (width - 2 * SIDE) / this.frames;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = COLOURS.ground;
    context.fillRect(0, 0, width, height);
    this.#paintBar(width);
    this.#paintTicks(width);
    this.#paintTrack();
    this.#paintMarks();
    this.#paintCurrent(width);
  }

  #x(index) {
    return SIDE + index * this.step;
  }

  #paintBar(width) {
    const { context, project } = this;
    context.fillStyle = COLOURS.none;
    context.fillRect(SIDE, BAR.top, width - 2 * SIDE, BAR.height);
    // One rectangle for each run of frames, and never less than a pixel wide, so that a
    // single frame among thousands is seen.
    for (const [letter, colour] of [
      ["m", COLOURS.mask],
      ["d", COLOURS.mask],
      ["s", COLOURS.stale],
    ]) {
      for (const [from, to] of spans(project.status, letter)) {
        const [x, wide] = [this.#x(from), Math.max(1, (to - from) * this.step)];
        context.fillStyle = colour;
        context.fillRect(x, BAR.top, wide, BAR.height);
        if (letter === "s") this.#hatch(x, wide);
      }
    }
    if (this.step > 5) {
      context.fillStyle = COLOURS.ground;
      for (let index = 1; index < this.frames; index++) {
        context.fillRect(Math.round(this.#x(index)), BAR.top, 1, BAR.height);
      }
    }
  }

  #hatch(x, wide) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(x, BAR.top, wide, BAR.height);
    context.clip();
    context.strokeStyle = COLOURS.staleLine;
    context.lineWidth = 1.5;
    context.beginPath();
    const first = Math.floor((x - BAR.height) / 7) * 7;
    for (let at = first; at < x + wide; at += 7) {
      context.moveTo(at, BAR.top + BAR.height);
      context.lineTo(at + BAR.height, BAR.top);
    }
    context.stroke();
    context.restore();
  }

  #paintTicks(width) {
    const { context } = this;
    context.fillStyle = COLOURS.text;
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "top";
    const least = 64 / this.step;
    const scale = 10 ** Math.floor(Math.log10(least));
    const every = Math.max(
      1,
      [1, 2, 5, 10].map((k) => k * scale).find((k) => k >= least),
    );
    for (let index = 0; index < this.frames; index += every) {
      const x = this.#x(index + 0.5);
      context.textAlign = x < 20 ? "left" : "center";
      if (x > width - 20) break;
      context.fillRect(Math.round(x), BAR.top + BAR.height, 1, 4);
      context.fillText(index, x < 20 ? SIDE : x, BAR.top + BAR.height + 6);
    }
  }

  #paintTrack() {
    const { context, project } = this;
    if (!project.track) return;
    const { first, last, frame, phase } = project.track;
    const y = BAR.top + BAR.height - 4;
    const line = (from, to, colour) => {
      const [low, high] = [Math.min(from, to), Math.max(from, to) + 1];
      context.fillStyle = colour;
      context.fillRect(this.#x(low), y, Math.max(2, (high - low) * this.step), 4);
    };
    line(first, last, "rgb(108 178 255 / 35%)");
    if (phase !== "compiling") line(first, frame, COLOURS.track);
    context.fillStyle = COLOURS.track;
    context.beginPath();
    context.arc(this.#x(frame + 0.5), y + 2, 5, 0, 2 * Math.PI);
    context.fill();
  }

  #paintMarks() {
    const { context, project } = this;
    const y = BAR.top - 8;
    for (const [index, id] of project.ended) {
      const object = project.objects.find((one) => one.id === id);
      if (!object) continue;
      const x = this.#x(index);
      context.fillStyle = object.colour;
      context.fillRect(x - 1, y - 5, 2, 10 + BAR.height + 3);
      context.beginPath();
      context.moveTo(x - 1, y - 5);
      context.lineTo(x - 8, y);
      context.lineTo(x - 1, y + 5);
      context.fill();
    }
    for (const index of project.drawn) {
      const x = this.#x(index + 0.5);
      context.fillStyle = COLOURS.line;
      context.strokeStyle = COLOURS.ground;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, y - 5);
      context.lineTo(x + 5, y);
      context.lineTo(x, y + 5);
      context.lineTo(x - 5, y);
      context.closePath();
      context.fill();
      context.stroke();
    }
  }

  #paintCurrent(width) {
    const { context } = this;
    if (this.hover !== null && !this.dragging) {
      context.fillStyle = "rgb(255 255 255 / 45%)";
      context.fillRect(Math.round(this.#x(this.hover + 0.5)), BAR.top, 1, BAR.height);
      this.#label(this.hover, "#2b313a", "#e8ebf0", width);
    }
    const left = this.#x(this.current);
    const wide = Math.max(2, this.step);
    context.strokeStyle = "#000000";
    context.lineWidth = 4;
    context.strokeRect(left, BAR.top - 2, wide, BAR.height + 4);
    context.strokeStyle = COLOURS.line;
    context.lineWidth = 2;
    context.strokeRect(left, BAR.top - 2, wide, BAR.height + 4);
    this.#label(this.current, COLOURS.line, "#101317", width);
  }

  /** The number of a frame below the bar. */
  #label(index, ground, ink, width) {
    const { context } = this;
    context.font = "600 11px system-ui, sans-serif";
    const wide = context.measureText(index).width + 10;
    const x = Math.min(width - wide, Math.max(0, this.#x(index + 0.5) - wide / 2));
    const y = BAR.top + BAR.height + 4;
    context.fillStyle = ground;
    context.beginPath();
    context.roundRect(x, y, wide, 15, 3);
    context.fill();
    context.fillStyle = ink;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(index, x + wide / 2, y + 8);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** [from, to) of each run of one letter. */
function* spans(text, letter) {
  for (let from = text.indexOf(letter); from >= 0;) {
    let to = from;
    while (text[to] === letter) to++;
    yield [from, to];
    from = text.indexOf(letter, to);
  }
}
