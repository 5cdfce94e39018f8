// What a window remembers of how it looked: in the browser, not in the project.

const START = {
  frame: 0,
  object: null,
  tool: "brush",
  size: null,
  lock: false,
  opacity: 0.45,
  masks: true,
  names: false,
  hidden: [],
  follow: true,
};

/** An object that is written to localStorage a moment after each change of it. */
export function settings(place) {
  const values = { ...START };
  try {
    Object.assign(values, JSON.parse(localStorage.getItem(place) ?? "{}"));
  } catch {
    // What cannot be read is not worth more than the start.
  }
  let timer = null;
  const write = () => {
    clearTimeout(timer);
    timer = null;
    try {
      localStorage.setItem(place, JSON.stringify(values));
    } catch {
      // A full or forbidden storage costs the look, not the work.
    }
  };
  window.addEventListener("pagehide", write);
  return new Proxy(values, {
    set(target, name, value) {
      target[name] = value;
      timer ??= setTimeout(write, 300);
      return true;
    },
  });
}
