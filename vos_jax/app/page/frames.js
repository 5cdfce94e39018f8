// Decoded frames: few enough for the memory, ahead of where the user looks.

import * as server from "./server.js";

const LIMIT = 300e6; // bytes of decoded frames that are kept
const AT_ONCE = 3; // requests; browsers allow six, masks and commands need some

export class Frames {
  constructor(width) {
    this.width = width;
    this.kept = new Map(); // key -> {bitmap, bytes}, the latest used at the end
    this.coming = new Map(); // key -> {promise, controller}
    this.plan = [];
    this.bytes = 0;
    this.shown = null;
  }

  #key(index, width) {
    return `${index}/${width}`;
  }

  /** The frame; rejects with AbortError if it is no longer wanted. */
  async get(index, width) {
    const key = this.#key(index, width);
    const found = this.kept.get(key);
    if (found) {
      this.kept.delete(key);
      this.kept.set(key, found);
      return found.bitmap;
    }
    return this.#fetch(index, width);
  }

  /** Fetches these ahead, [[index, width], ...], and drops requests for others. */
  want(plan) {
    this.plan = plan;
    const keys = new Set(plan.map(([index, width]) => this.#key(index, width)));
    for (const [key, { controller }] of this.coming)
      if (!keys.has(key)) controller.abort();
    this.#ahead();
  }

  /** The frame on the screen is not closed. */
  pin(bitmap) {
    this.shown = bitmap;
  }

  #ahead() {
    for (const [index, width] of this.plan) {
      if (this.coming.size >= AT_ONCE) return;
      const key = this.#key(index, width);
      if (this.kept.has(key) || this.coming.has(key)) continue;
      this.#fetch(index, width).then(
        () => this.#ahead(),
        () => {}, // whoever needs the frame asks again, and is told why
      );
    }
  }

  #fetch(index, width) {
    const key = this.#key(index, width);
    const already = this.coming.get(key);
    if (already && !already.controller.signal.aborted) return already.promise;
    const controller = new AbortController();
    const promise = (async () => {
      try {
        const blob = await server.frame(index, width, controller.signal);
        const bitmap = await createImageBitmap(blob);
        this.#keep(key, bitmap);
        return bitmap;
      } finally {
        if (this.coming.get(key)?.controller === controller) this.coming.delete(key);
      }
    })();
    this.coming.set(key, { promise, controller });
    return promise;
  }

  #keep(key, bitmap) {
    const bytes = 4 * bitmap.width * bitmap.height;
    this.kept.get(key)?.bitmap.close();
    this.kept.set(key, { bitmap, bytes });
    this.bytes = 0;
    for (const one of this.kept.values()) this.bytes += one.bytes;
    for (const [old, one] of this.kept) {
      if (this.bytes <= LIMIT) break;
      if (one.bitmap === this.shown || old === key) continue;
      one.bitmap.close();
      this.kept.delete(old);
      this.bytes -= one.bytes;
    }
  }
}
