// From the keyboard and the buttons to actions; from actions to the list of keys.

const NAMES = {
  " ": "Space",
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
};

/** What a key stands for. Alphabets without Latin letters, and rows without digits,
 * go by the place of the key. */
function meaning({ key, code, shiftKey }) {
  if (key.length !== 1) return NAMES[key] ?? key;
  if (key > "~" && /^Key[A-Z]$/.test(code)) return code.at(-1);
  if (!shiftKey && /^Digit[1-9]$/.test(code)) return code.at(-1);
  return NAMES[key] ?? key.toUpperCase();
}

/** "Ctrl+Shift+Z" of an event. Shift is not told where it is part of the sign. */
export function chord(event) {
  const key = meaning(event);
  const sign = key.length === 1 && key === key.toLowerCase();
  // AltGr, which some keyboards need for [ and ], reads as Ctrl and Alt.
  const composed = event.getModifierState?.("AltGraph");
  let text = "";
  if ((event.ctrlKey || event.metaKey) && !composed) text += "Ctrl+";
  if (event.altKey && !composed) text += "Alt+";
  if (event.shiftKey && !sign) text += "Shift+";
  return text + key;
}

function typing(target) {
  if (target instanceof HTMLInputElement) {
    return !["checkbox", "range", "color"].includes(target.type);
  }
  return target instanceof HTMLTextAreaElement;
}

/** Keys that a focused control needs for itself. */
function own(target, key) {
  if (target instanceof HTMLButtonElement || target.type === "checkbox") {
    return key === "Space" || key === "Enter";
  }
  if (target.type === "color") return key === "Space" || key === "Enter";
  if (target.type === "range") return /^(←|→|↑|↓|Home|End|PageUp|PageDown)$/.test(key);
  return false;
}

/**
 * Binds keys and buttons (`data-action`) to `actions`, a list of {name, group, text,
 * keys, run}. `space` gets true and false as the space bar goes down and up.
 */
export function bind(actions, space) {
  const byKey = new Map();
  const byName = new Map();
  for (const action of actions) {
    byName.set(action.name, action);
    for (const key of action.keys) byKey.set(key, action);
  }
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) {
      if (event.key === "?" && !typing(event.target))
        document.querySelector("dialog[open]").close();
      return;
    }
    const key = chord(event);
    if (typing(event.target) || own(event.target, key)) return;
    if (key === "Space") {
      event.preventDefault();
      if (!event.repeat) space(true);
      return;
    }
    const action = byKey.get(key);
    if (!action) return;
    event.preventDefault();
    if (event.repeat && !action.repeat) return;
    action.run();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " " && !typing(event.target)) space(false);
  });
  for (const button of document.querySelectorAll("[data-action]")) {
    const action = byName.get(button.dataset.action);
    describe(button, action.text, action);
    button.addEventListener("click", () => action.run());
  }
  // A control that was used with the pointer gives the keyboard back.
  for (const type of ["click", "change"]) {
    document.addEventListener(type, ({ target }) => {
      const control = target.closest("button, input");
      if (!control || typing(control) || control.closest("dialog")) return;
      if (!control.matches(":focus-visible")) control.blur();
    });
  }
  return byName;
}

/** Says on a button what it does, and by which key. */
export function describe(button, text, action) {
  const keys = action?.keys?.length ? ` (${action.keys[0]})` : "";
  button.title = text + keys;
  button.setAttribute("aria-label", text);
}

/** Fills the list of keys. */
export function list(place, actions, more) {
  const groups = new Map();
  for (const { group, text, keys } of [...actions, ...more]) {
    if (!groups.has(group)) groups.set(group, []);
    if (keys.length) groups.get(group).push([text, keys]);
  }
  for (const [group, entries] of groups) {
    const section = document.createElement("section");
    const title = document.createElement("h3");
    title.textContent = group;
    const table = document.createElement("dl");
    for (const [text, keys] of entries) {
      const what = document.createElement("dt");
      what.textContent = text;
      const which = document.createElement("dd");
      keys.forEach((key, k) => {
        if (k) which.append(" ");
        const sign = document.createElement("kbd");
        sign.textContent = key;
        which.append(sign);
      });
      const row = document.createElement("div");
      row.append(what, which);
      table.append(row);
    }
    section.append(title, table);
    place.append(section);
  }
}
