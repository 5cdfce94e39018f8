// The masks that the page has got, as runs, with their versions.

import * as server from "./server.js";

const LIMIT = 64e6; // bytes of runs

export class Labels {
  /** `edits.latest(index)` has masks that the server has not got yet. */
  constructor(edits) {
    this.edits = edits;
    this.kept = new Map(); // index -> {runs, version, age}
    this.coming = new Map(); // index -> promise
    this.age = 0;
    this.bytes = 0;
  }

  /** The mask of a frame, {runs, version}; version is null while an edit is unsent. */
  async get(index) {
    const unsent = this.edits.latest(index);
    if (unsent) return { runs: unsent, version: null };
    const found = this.kept.get(index);
    if (found && found.age === this.age) return found;
    const already = this.coming.get(index);
    if (already) return already;
    const age = this.age;
    const promise = server.labels(index).then(
      ({ runs, version }) => {
        if (this.coming.get(index) === promise) this.coming.delete(index);
        // An edit may have been made, or another mask been told of, on the way.
        const later = this.edits.latest(index);
        if (later) return { runs: later, version: null };
        return this.put(index, runs, version, age);
      },
      (error) => {
        if (this.coming.get(index) === promise) this.coming.delete(index);
        throw error;
      },
    );
    this.coming.set(index, promise);
    return promise;
  }

  put(index, runs, version, age = this.age) {
    this.drop(index);
    const entry = { runs, version, age };
    this.kept.set(index, entry);
    this.bytes += runs.length;
    for (const old of this.kept.keys()) {
      if (this.bytes <= LIMIT || old === index) break;
      this.drop(old);
    }
    return entry;
  }

  drop(index) {
    const found = this.kept.get(index);
    if (found) this.bytes -= found.runs.length;
    this.kept.delete(index);
  }

  /** The server has another version of a frame, by its own words. */
  told(index, version) {
    this.coming.delete(index);
    if (this.kept.get(index)?.version !== version) this.drop(index);
  }

  /** Anything may have changed: what is kept is asked for again when it is needed. */
  grow() {
    this.age += 1;
    this.coming.clear();
  }

  ahead(indices) {
    for (const index of indices) {
      if (this.coming.size >= 2) return;
      this.get(index).catch(() => {}); // asked for again when it is needed
    }
  }
}
