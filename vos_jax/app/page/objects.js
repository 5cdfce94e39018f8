// The list of objects: names, colours, what is selected, hidden, gone.

/**
 * Events: "select" {id}, "change" {id, name?, colour?}, "hide" {id}, "end" {id},
 * "back" {id, frame} (an end is taken back), "delete" {id}.
 */
export class ObjectList extends EventTarget {
  constructor(list) {
    super();
    this.list = list;
    this.rows = new Map();
    this.selected = null;
    this.hidden = new Set();
  }

  /** `ended` is [[frame, id], ...]. */
  show(objects, ended, selected, hidden) {
    const moved = selected !== this.selected;
    Object.assign(this, { selected, hidden });
    const ids = new Set(objects.map((one) => one.id));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.item.remove();
      this.rows.delete(id);
    }
    objects.forEach((object, place) => {
      const row = this.rows.get(object.id) ?? this.#row(object.id);
      if (this.list.children[place] !== row.item) {
        this.list.insertBefore(row.item, this.list.children[place] ?? null);
      }
      this.#fill(row, object, place, ended);
    });
    if (moved) this.rows.get(selected)?.item.scrollIntoView({ block: "nearest" });
  }

  focusName(id) {
    const field = this.rows.get(id)?.name;
    field?.focus();
    field?.select();
  }

  openColour(id) {
    const field = this.rows.get(id)?.colour;
    field?.focus();
    field?.click();
  }

  #row(id) {
    const item = document.createElement("li");
    item.dataset.object = id;
    const number = element("button", "number", { type: "button" });
    const colour = element("input", "colour", { type: "color" });
    const name = element("input", "name", {
      type: "text",
      maxLength: 80,
      spellcheck: false,
    });
    const eye = iconButton("eye", "eye", "Show or hide");
    const gone = iconButton("gone", "gone", "Gone from this frame on (X)");
    const remove = iconButton("delete", "delete", "Delete the object (Shift+Delete)");
    const ends = element("span", "ends");
    item.append(number, colour, name, eye, gone, remove, ends);
    this.list.append(item);
    const row = { item, number, colour, name, eye, gone, remove, ends };
    this.rows.set(id, row);

    number.addEventListener("click", () => this.#emit("select", { id }));
    item.addEventListener("pointerdown", () => this.#emit("select", { id }));
    colour.addEventListener("change", () =>
      this.#emit("change", { id, colour: colour.value }),
    );
    name.addEventListener("focus", () => this.#emit("select", { id }));
    name.addEventListener("change", () => {
      const text = name.value.trim();
      if (text && text !== row.object.name) this.#emit("change", { id, name: text });
      else name.value = row.object.name;
    });
    name.addEventListener("keydown", (event) => {
      if (event.key === "Escape") name.value = row.object.name;
      if (event.key === "Escape" || event.key === "Enter") name.blur();
    });
    eye.addEventListener("click", () => this.#emit("hide", { id }));
    gone.addEventListener("click", () => this.#emit("end", { id }));
    remove.addEventListener("click", () => this.#emit("delete", { id }));
    return row;
  }

  #fill(row, object, place, ended) {
    const { id, name, colour } = object;
    row.object = object;
    const hidden = this.hidden.has(id);
    row.item.setAttribute("aria-current", id === this.selected);
    row.item.classList.toggle("hidden", hidden);
    row.number.textContent = place + 1;
    row.number.setAttribute("aria-label", `Select ${name}`);
    row.number.title = place < 9 ? `Key ${place + 1}; label ${id}` : `label ${id}`;
    if (document.activeElement !== row.name) row.name.value = name;
    row.name.setAttribute("aria-label", `Name of object ${place + 1}`);
    if (row.colour.value !== colour) row.colour.value = colour;
    row.colour.setAttribute("aria-label", `Colour of ${name}`);
    row.colour.title = "Colour (C)";
    row.eye.querySelector("use").setAttribute("href", hidden ? "#i-hidden" : "#i-eye");
    row.eye.title = hidden ? "Show (V)" : "Hide (V)";
    row.eye.setAttribute("aria-label", `${hidden ? "Show" : "Hide"} ${name}`);
    row.gone.setAttribute("aria-label", `${name} is gone from this frame on`);
    row.remove.setAttribute("aria-label", `Delete ${name}`);
    const frames = ended.filter((one) => one[1] === id).map((one) => one[0]);
    row.ends.hidden = !frames.length;
    row.ends.replaceChildren(
      ...frames.map((frame) => {
        const button = element("button", "end", { type: "button" });
        button.title = "Take this back";
        button.append(`gone from ${frame}`, icon("close"));
        button.addEventListener("click", () => this.#emit("back", { id, frame }));
        return button;
      }),
    );
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function element(tag, name, properties = {}) {
  const made = document.createElement(tag);
  made.className = name;
  return Object.assign(made, properties);
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function iconButton(name, symbol, title) {
  const button = element("button", `icon ${name}`, { type: "button", title });
  button.append(icon(symbol));
  return button;
}
