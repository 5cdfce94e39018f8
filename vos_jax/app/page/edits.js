// Edits on their way to the server: shown at once, sent one after another, kept in the
// browser until the server has them.

import { fromBase64, sameRuns, toBase64 } from "./runs.js";
import * as server from "./server.js";

/**
 * Events: "change" (more or fewer are unsent), "adopted", "saved" {index, runs, version},
 * "conflict" {index, what, before, after, now} and "refused" {index, message}, after which the
 * edits of that frame are gone; "unkept" when the browser has no room for them.
 */
export class Edits extends EventTarget {
  /** `prefix` begins the names of all places of localStorage for this project. */
  constructor(prefix, place) {
    super();
    this.prefix = prefix;
    this.place = place; // of this window
    this.begun = false;
    this.queue = []; // {index, what, runs, before, version}
    this.sending = false;
    this.present = true;
    this.leaving = false; // the page is about to be closed
    this.waiters = [];
  }

  get size() {
    return this.queue.length;
  }

  /** The runs of a frame as the user left them, if the server has not got them. */
  latest(index) {
    return this.queue.findLast((edit) => edit.index === index)?.runs ?? null;
  }

  /** `before` and `version` are of the mask that the edit was drawn on. */
  push(edit) {
    this.queue.push(edit);
    this.#store();
    this.#emit("change");
    this.#send();
  }

  /** Takes over what this window, before it was reloaded, or a closed one has left. */
  async adopt() {
    const others = Object.keys(localStorage).filter(
      (place) => place.startsWith(`${this.prefix}:`) && place !== this.place,
    );
    if (!this.begun) this.#take(this.place);
    this.begun = true;
    for (const place of others) {
      if (!(await hold(place))) continue;
      this.#take(place);
      localStorage.removeItem(place);
    }
  }

  #take(place) {
    let left = [];
    try {
      left = JSON.parse(localStorage.getItem(place) ?? "[]").map((edit) => ({
        ...edit,
        runs: fromBase64(edit.runs),
        before: fromBase64(edit.before),
      }));
    } catch {
      // Nobody can make anything of it.
    }
    if (!left.length) return;
    this.queue.push(...left);
    this.#store();
    this.#emit("change");
    this.#emit("adopted");
    this.#send();
  }

  /** The server went, or is back. */
  setPresent(present) {
    this.present = present;
    if (present) this.#send();
  }

  /** Resolves when nothing is unsent. */
  sent() {
    if (!this.queue.length) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #store() {
    const edits = this.queue.map((edit) => ({
      ...edit,
      runs: toBase64(edit.runs),
      before: toBase64(edit.before),
    }));
    try {
      if (edits.length) localStorage.setItem(this.place, JSON.stringify(edits));
      else localStorage.removeItem(this.place);
    } catch {
      this.#emit("unkept");
    }
  }

  #settle(edits) {
    this.queue = this.queue.filter((edit) => !edits.includes(edit));
    this.#store();
    this.#emit("change");
    if (this.queue.length) return;
    for (const resolve of this.waiters.splice(0)) resolve();
  }

  async #send() {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length && this.present) {
      const edit = this.queue[0];
      try {
        const version = await server.putLabels(
          edit.index,
          edit.what,
          edit.runs,
          edit.version ?? "",
          this.leaving,
        );
        this.#saved(edit, version);
      } catch (error) {
        if (error instanceof server.Refused) await this.#refused(edit, error);
        else await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
    this.sending = false;
  }

  #saved(edit, version) {
    const next = this.queue.find((one) => one !== edit && one.index === edit.index);
    if (next) next.version = version;
    this.#settle([edit]);
    if (!next) this.#emit("saved", { index: edit.index, runs: edit.runs, version });
  }

  async #refused(edit, error) {
    const { index } = edit;
    if (error.status === 409) {
      let now;
      try {
        now = await server.labels(index);
      } catch {
        return; // Away: it is sent again, and refused again, later.
      }
      // Sent before, but the answer was lost: the server has it.
      if (sameRuns(now.runs, edit.runs)) return this.#saved(edit, now.version);
      const lost = this.queue.filter((one) => one.index === index);
      this.#settle(lost);
      const { what, before } = edit;
      this.#emit("conflict", { index, what, before, after: lost.at(-1).runs, now });
      return;
    }
    const lost = this.queue.filter((one) => one.index === index);
    this.#settle(lost);
    this.#emit("refused", { index, message: error.message });
  }
}

/** Takes a lock that is held until the window is closed; whether it was free. */
function hold(name) {
  return new Promise((resolve) => {
    navigator.locks
      .request(name, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise(() => {});
      })
      .catch(() => resolve(true)); // no locks here: then as if alone
  });
}

/** The place for the unsent edits of this window, which is the same after a reload. */
export async function ownPlace(prefix) {
  const before = sessionStorage.getItem(prefix);
  // A duplicated window has the session storage of the other one.
  if (before && (await hold(before))) return before;
  const place = `${prefix}:${crypto.randomUUID()}`;
  await hold(place);
  sessionStorage.setItem(prefix, place);
  return place;
}
