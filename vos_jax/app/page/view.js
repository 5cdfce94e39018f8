// The canvas: a frame, the masks on it, zoom and pan. Two canvases lie on one another:
// the picture, and what follows the pointer (drawn by the tools).

import { Outlines } from "./outlines.js";
import { union } from "./raster.js";

const LARGEST = 40;

export class View {
  constructor(picture, marks, width, height) {
    Object.assign(this, { picture, marks, width, height });
    this.context = picture.getContext("2d", { alpha: false });
    this.bitmap = null;
    this.map = { labels: new Uint8Array(width * height), width, height };
    this.extents = new Map();
    this.outlines = new Outlines(width, height);
    this.mask = new OffscreenCanvas(width, height);
    this.maskContext = this.mask.getContext("2d");
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.colours = new Uint32Array(256);
    this.objects = new Map();
    this.filled = null;
    this.options = { opacity: 0.5, masks: true, names: false };
    this.selected = null;
    this.fitted = true;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.dirty = null;
    this.waiting = false;
    this.onMarks = () => {};
    this.onZoom = () => {};
    new ResizeObserver(() => this.#resize()).observe(picture.parentElement);
    this.#resize();
  }

  #resize() {
    const box = this.picture.parentElement.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.screen = { width: box.width, height: box.height };
    for (const canvas of [this.picture, this.marks]) {
      canvas.width = Math.max(1, Math.round(box.width * this.ratio));
      canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    }
    if (this.fitted) this.fit();
    else this.#moved();
    // A resized canvas is empty: to wait for the next picture would let it flicker.
    this.#paint();
  }

  // Zoom and pan.

  fit() {
    const margin = 12;
    const { width, height } = this.screen;
    this.scale = Math.max(
      0.01,
      Math.min((width - 2 * margin) / this.width, (height - 2 * margin) / this.height),
    );
    this.x = (width - this.scale * this.width) / 2;
    this.y = (height - this.scale * this.height) / 2;
    this.fitted = true;
    this.#moved();
  }

  /** Zooms by a factor around a point of the screen, by default its middle. */
  zoom(factor, at = { x: this.screen.width / 2, y: this.screen.height / 2 }) {
    const smallest = Math.min(0.1, this.scale);
    const scale = Math.min(LARGEST, Math.max(smallest, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#moved();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#moved();
  }

  #moved() {
    // Some of the frame stays in sight.
    const edge = 40;
    const { width, height } = this.screen;
    this.x = Math.min(width - edge, Math.max(edge - this.scale * this.width, this.x));
    this.y = Math.min(height - edge, Math.max(edge - this.scale * this.height, this.y));
    this.onZoom();
    this.repaint();
  }

  /** Where a pointer event is, in pixels of the frame (with fractions). */
  toFrame(event) {
    const box = this.picture.getBoundingClientRect();
    return {
      x: (event.clientX - box.left - this.x) / this.scale,
      y: (event.clientY - box.top - this.y) / this.scale,
    };
  }

  labelAt({ x, y }) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return 0;
    return this.map.labels[row * this.width + column];
  }

  // What is shown.

  setFrame(bitmap) {
    this.bitmap = bitmap;
    this.repaint();
  }

  /** Shows another label map; `extents` (of runs.js) says where there is something. */
  setLabels(labels, extents) {
    this.map.labels = labels;
    this.extents = extents;
    let box = null;
    for (const one of extents.values()) box = union(box, one);
    const changed = union(this.filled, box);
    this.filled = box;
    if (changed) this.#fill(changed);
    this.outlines.reset(labels, box);
    this.repaint();
  }

  /** A tool has changed the label map inside of a box. */
  labelsChanged(box) {
    if (!box) return;
    this.filled = union(this.filled, box);
    this.#fill(box);
    this.outlines.renew(this.map.labels, box);
    this.repaint(box);
  }

  setObjects(objects, hidden, selected) {
    this.objects = new Map(objects.map((one) => [one.id, one]));
    this.hidden = hidden;
    this.selected = selected;
    this.colours.fill(0);
    for (const { id, colour } of objects) {
      if (hidden.has(id)) continue;
      const [red, green, blue] = [1, 3, 5].map((at) =>
        parseInt(colour.slice(at, at + 2), 16),
      );
      // ImageData is little-endian wherever there are browsers.
      this.colours[id] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
    if (this.filled) this.#fill(this.filled);
    this.repaint();
  }

  setOptions(options) {
    Object.assign(this.options, options);
    this.repaint();
  }

  #fill({ left, top, right, bottom }) {
    const { width, colours, words } = this;
    const { labels } = this.map;
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left; at < y * width + right; at++) {
        words[at] = colours[labels[at]];
      }
    }
    this.maskContext.putImageData(
      this.pixels,
      0,
      0,
      left,
      top,
      right - left,
      bottom - top,
    );
  }

  // Painting, once for each picture of the screen.

  /** Asks for painting: of a box in pixels of the frame, or of everything. */
  repaint(box = null) {
    if (!this.waiting) this.dirty = box;
    else if (this.dirty) this.dirty = box && union(this.dirty, box);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const { context, ratio, dirty } = this;
    this.waiting = false;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.save();
    if (dirty) this.#clip(dirty);
    context.fillStyle = "#0d0f12";
    context.fillRect(0, 0, this.picture.width, this.picture.height);
    const scale = this.scale * ratio;
    context.setTransform(scale, 0, 0, scale, this.x * ratio, this.y * ratio);
    if (this.bitmap) {
      context.imageSmoothingEnabled = this.scale < 4;
      context.drawImage(this.bitmap, 0, 0, this.width, this.height);
    }
    if (this.options.masks) this.#paintMasks();
    context.restore();
    if (!dirty) this.onMarks();
  }

  #clip(box) {
    const { context, ratio } = this;
    const around = 6;
    const x = (this.x + box.left * this.scale - around) * ratio;
    const y = (this.y + box.top * this.scale - around) * ratio;
    const right = (this.x + box.right * this.scale + around) * ratio;
    const bottom = (this.y + box.bottom * this.scale + around) * ratio;
    context.beginPath();
    context.rect(
      Math.floor(x),
      Math.floor(y),
      Math.ceil(right - x),
      Math.ceil(bottom - y),
    );
    context.clip();
  }

  #paintMasks() {
    const { context } = this;
    context.globalAlpha = this.options.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.mask, 0, 0);
    context.globalAlpha = 1;
    // Two lines, dark and light, are seen on any ground and by eyes that do not tell
    // the colours apart; that of the selected object is edged in white.
    const unit = 1 / this.scale;
    this.outlines.draw(context, (label) => {
      if (!this.colours[label]) return null;
      const selected = label === this.selected;
      return {
        underColour: selected ? "#ffffff" : "rgb(0 0 0 / 70%)",
        under: (selected ? 4 : 3) * unit,
        colour: this.objects.get(label).colour,
        over: (selected ? 2 : 1.5) * unit,
      };
    });
    if (this.options.names) this.#paintNames();
  }

  #paintNames() {
    const { context, ratio } = this;
    context.save();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [label, { x, y }] of this.extents) {
      if (!this.colours[label]) continue;
      const text = this.objects.get(label).name;
      const width = context.measureText(text).width + 12;
      const left = this.x + x * this.scale;
      const top = this.y + y * this.scale;
      context.fillStyle = "rgb(0 0 0 / 75%)";
      context.beginPath();
      context.roundRect(left - width / 2, top - 10, width, 20, 4);
      context.fill();
      context.fillStyle = "#ffffff";
      context.fillText(text, left, top + 0.5);
    }
    context.restore();
  }
}
