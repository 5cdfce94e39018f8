// What the page says: a line at the bottom, and notices over the picture for what went
// wrong or wants an answer.

export class Notices {
  constructor(line, place) {
    this.line = line;
    this.place = place;
    this.shown = new Map();
  }

  /** What has been done, in the line at the bottom. */
  tell(text) {
    this.line.textContent = text;
    this.line.title = text;
  }

  /**
   * A notice. One of the same `key` is replaced; `action` is {label, run}; without
   * `seconds` it stays until it is closed.
   */
  raise(text, { key = text, action = null, plain = false, seconds = 0 } = {}) {
    this.drop(key);
    const notice = document.createElement("div");
    notice.className = plain ? "notice plain" : "notice";
    notice.setAttribute("role", plain ? "status" : "alert");
    const words = document.createElement("span");
    words.textContent = text;
    notice.append(words);
    if (action) notice.append(this.#button(action.label, () => this.#act(key, action)));
    const close = this.#button("Close", () => this.drop(key));
    notice.append(close);
    this.place.append(notice);
    const timer = seconds ? setTimeout(() => this.drop(key), 1000 * seconds) : null;
    this.shown.set(key, { notice, timer, action });
    while (this.shown.size > 3) this.drop(this.shown.keys().next().value);
  }

  drop(key) {
    const one = this.shown.get(key);
    if (!one) return;
    clearTimeout(one.timer);
    one.notice.remove();
    this.shown.delete(key);
  }

  /** Does what the latest notice offers (a key of the keyboard); whether one did. */
  act() {
    const [key, one] = [...this.shown].findLast(([, { action }]) => action) ?? [];
    if (!one) return false;
    this.#act(key, one.action);
    return true;
  }

  /** Closes the latest notice; whether there was one. */
  close() {
    const key = [...this.shown.keys()].at(-1);
    if (key === undefined) return false;
    this.drop(key);
    return true;
  }

  #act(key, action) {
    this.drop(key);
    action.run();
  }

  #button(label, run) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", run);
    return button;
  }
}
