// Which frame is shown: play, scrub, jump. Frames are shown whole, with their masks, and
// in order: a slow machine plays slower, but shows every frame.

import { sameRuns } from "./runs.js";
import { Refused } from "./server.js";

const WIDTHS = [320, 640, 960, 1280]; // that the server scales frames to
const SCRUB = 960;
const AHEAD = 12;
const AGAIN = 1000; // ms until a frame that did not come is asked for again

/**
 * Events: "seek" (target changed), "show" {index, bitmap, mask, moved}, "play" (started
 * or stopped), "fail" {index, error}.
 */
export class Player extends EventTarget {
  constructor(frames, labels, count, fps) {
    super();
    Object.assign(this, { frames, labels, count });
    this.period = 1000 / (fps || 24);
    this.shown = -1;
    this.target = 0;
    this.direction = 1;
    this.playing = false;
    this.scrubbing = false;
    this.full = false; // the frame shown has all of its pixels
    this.mask = null;
    this.displayWidth = () => frames.width;
    this.held = () => false; // a stroke is being drawn: nothing may change under it
    this.running = false;
    this.stale = false;
  }

  seek(index, scrubbing = false) {
    const target = Math.min(this.count - 1, Math.max(0, Math.round(index)));
    if (target !== this.target) this.direction = Math.sign(target - this.target);
    this.target = target;
    this.scrubbing = scrubbing;
    this.#emit("seek");
    if (!scrubbing && this.shown !== target) this.#plan(target, this.#width());
    this.#run();
  }

  /** Stays at the frame that is shown, whatever was on its way. */
  stay() {
    this.pause();
    if (this.shown >= 0 && this.shown !== this.target) this.seek(this.shown);
  }

  /** Ends scrubbing: the frame comes with all of its pixels. */
  rest() {
    this.scrubbing = false;
    this.#run();
  }

  /** The mask of the shown frame may be another one now. */
  refresh() {
    this.stale = true;
    this.#run();
  }

  /** Another mask of the shown frame, known already. */
  replaceMask(mask) {
    const { bitmap, full } = this;
    this.#show(this.shown, { bitmap, mask, full });
  }

  play(direction = 1) {
    if (this.playing) return;
    this.playing = true;
    this.direction = direction;
    if (this.target === (direction > 0 ? this.count - 1 : 0)) {
      this.seek(direction > 0 ? 0 : this.count - 1);
    }
    this.#emit("play");
    this.#play();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.#emit("play");
    this.#run();
  }

  async #play() {
    let due = performance.now() + this.period;
    while (this.playing) {
      const next = this.target + this.direction;
      if (next < 0 || next >= this.count) break;
      this.#plan(next, this.#width());
      let loaded;
      try {
        loaded = await this.#load(next, this.#width());
      } catch (error) {
        if (error.name !== "AbortError") {
          this.#emit("fail", { index: next, error });
          break;
        }
        continue; // The user has jumped: play goes on from there.
      }
      await until(due);
      if (!this.playing) break;
      if (this.target + this.direction !== next) continue;
      this.target = next;
      this.#emit("seek");
      this.#show(next, loaded);
      due = Math.max(due + this.period, performance.now());
    }
    this.pause();
  }

  /** The width to ask for: 0 for all pixels. */
  #width() {
    const whole = this.frames.width;
    if (this.scrubbing) return whole > SCRUB ? SCRUB : 0;
    if (!this.playing) return 0;
    const least = WIDTHS.find((width) => width >= this.displayWidth());
    return least && least < whole ? least : 0;
  }

  #plan(index, width) {
    const plan = [[index, width]];
    const ahead = this.scrubbing ? 0 : this.playing ? AHEAD : 2;
    for (let step = 1; step <= ahead; step++) {
      const next = index + step * this.direction;
      if (next >= 0 && next < this.count) plan.push([next, width]);
    }
    if (!this.playing && !this.scrubbing && index > 0)
      plan.push([index - this.direction, width]);
    this.frames.want(plan.filter(([one]) => one >= 0 && one < this.count));
    if (this.playing) this.labels.ahead(plan.slice(0, 4).map(([one]) => one));
  }

  async #load(index, width) {
    const [bitmap, mask] = await Promise.all([
      this.frames.get(index, width),
      this.labels.get(index),
    ]);
    return { bitmap, mask, full: width === 0 };
  }

  #show(index, { bitmap, mask, full }) {
    if (this.held()) {
      this.stale = true;
      return;
    }
    const moved = index !== this.shown;
    const same = !moved && this.mask && sameRuns(mask.runs, this.mask.runs);
    this.shown = index;
    this.full = full;
    this.bitmap = bitmap;
    this.mask = mask;
    this.frames.pin(bitmap);
    this.#emit("show", { index, bitmap, mask, moved, same });
  }

  get #behind() {
    if (this.playing && this.shown === this.target) return false;
    return this.shown !== this.target || this.stale || (!this.scrubbing && !this.full);
  }

  /** Shows the target; while that is loaded it may move, so on until it is reached. */
  async #run() {
    if (this.running) return;
    this.running = true;
    while (this.#behind && !this.held()) {
      const index = this.target;
      const width = this.#width();
      this.stale = false;
      this.#plan(index, width);
      try {
        const loaded = await this.#load(index, width);
        // What is late is shown while scrubbing, so that something moves.
        if (index === this.target || this.scrubbing) this.#show(index, loaded);
      } catch (error) {
        if (error.name === "AbortError") continue;
        this.#emit("fail", { index, error });
        // A refusal is not asked for again before the user goes elsewhere.
        if (error instanceof Refused) break;
        await until(performance.now() + AGAIN);
      }
    }
    this.running = false;
  }

  /** A stroke has ended: what was held back is shown. */
  release() {
    this.#run();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function until(time) {
  return new Promise((resolve) =>
    setTimeout(resolve, Math.max(0, time - performance.now())),
  );
}
