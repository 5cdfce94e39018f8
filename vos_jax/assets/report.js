"use strict";

// Charts of the page's figures, and tables that sort. What a page holds is written as
// text and never read as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 210;
const MARGIN = { left: 44, right: 20, top: 10, bottom: 24 };

function add(parent, name, attributes = {}, text = "") {
  const inSvg = name === "svg" || parent.namespaceURI === SVG;
  const made = inSvg
    ? document.createElementNS(SVG, name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return parent.appendChild(made);
}

const finite = (values) => values.filter((value) => value !== null);
const told = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));

// Round values between two ends, about `count` of them.
function ticks(low, high, count) {
  const rough = (high / 2 - low / 2) * (2 / count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

// A chart of several series over common places, drawn anew whenever its width changes.
// Pointer and arrow keys move a cursor, whose values stand below it.
//   figure: where, with a caption.
//   spec: places, numbers; names, texts of them; ticks, shorter texts, or none where the
//         numbers tell; series of {name, values}, null where there is none, over which a
//         line goes on if the series has `bridge`; low and high, the ends of the axis;
//         bars instead of lines, from each place to the next.
class Chart {
  constructor(figure) {
    this.figure = figure;
    this.legend = add(figure, "ul", { class: "legend" });
    this.svg = add(figure, "svg", {
      role: "slider",
      tabindex: 0,
      "aria-label": figure.querySelector("figcaption").textContent,
    });
    this.output = add(figure, "p", { class: "readout" });
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.spec && this.draw()).observe(figure);
  }

  show(spec) {
    this.spec = spec;
    this.cursor = null;
    this.width = null;
    this.draw();
  }

  draw() {
    const width = Math.max(240, Math.round(this.figure.clientWidth));
    if (width === this.width) return;
    this.width = width;
    const { spec, svg } = this;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.scale();
    this.axes();
    spec.series.forEach((each, place) => {
      if (spec.bars) this.drawBars(each, place);
      else this.drawLine(each, place);
    });
    this.mark = add(svg, "g", { class: "cursor" });
    this.legend.hidden = spec.series.length < 2;
    this.legend.replaceChildren();
    spec.series.forEach((each, place) => {
      const item = add(this.legend, "li");
      const kind = `swatch series${place % 6}`;
      const line = add(item, "svg", { class: kind, viewBox: "0 0 28 8" });
      add(line, "line", { x1: 1, y1: 4, x2: 27, y2: 4 });
      item.append(` ${each.name}`);
    });
    svg.setAttribute("aria-valuemin", 0);
    svg.setAttribute("aria-valuemax", spec.places.length - (spec.bars ? 2 : 1));
    this.move(this.cursor);
  }

  scale() {
    const { places, low, high } = this.spec;
    const right = this.width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const [first, last] = [places[0], places[places.length - 1]];
    const reach = last - first || 1;
    this.x = (value) =>
      MARGIN.left + ((value - first) / reach) * (right - MARGIN.left);
    // By halves, for the difference of the largest numbers is none.
    this.y = (value) =>
      bottom - ((value / 2 - low / 2) / (high / 2 - low / 2)) * (bottom - MARGIN.top);
  }

  axes() {
    const { spec, svg, width } = this;
    const bottom = HEIGHT - MARGIN.bottom;
    for (const value of ticks(spec.low, spec.high, 4)) {
      const y = this.y(value);
      add(svg, "line", {
        class: "grid",
        x1: MARGIN.left,
        x2: width - MARGIN.right,
        y1: y,
        y2: y,
      });
      const label = { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" };
      add(svg, "text", label, told(value));
    }
    const room = Math.max(2, Math.floor((width - MARGIN.left) / 80));
    for (const [value, text] of this.placesTold(room)) {
      const label = { x: this.x(value), y: bottom + 17, "text-anchor": "middle" };
      add(svg, "text", label, text);
    }
  }

  // Round numbers, or as many of the places' own texts as there is room for.
  placesTold(room) {
    const { places, ticks: texts } = this.spec;
    if (!texts) {
      const last = places[places.length - 1];
      const found = last > places[0] ? ticks(places[0], last, room) : places;
      return found.map((value) => [value, told(value)]);
    }
    const every = Math.max(1, Math.ceil((places.length - 1) / room));
    const all = places.map((value, k) => [value, texts[k]]);
    return all.filter((_, k) => k % every === 0);
  }

  drawLine(each, place) {
    let path = "";
    let pen = "M";
    each.values.forEach((value, k) => {
      if (value === null) {
        if (!each.bridge) pen = "M";
        return;
      }
      path += `${pen}${this.x(this.spec.places[k]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      pen = "L";
    });
    add(this.svg, "path", { class: `line series${place % 6}`, d: path });
    if (finite(each.values).length > 12) return;
    each.values.forEach((value, k) => {
      if (value === null) return;
      const at = { cx: this.x(this.spec.places[k]), cy: this.y(value), r: 2.5 };
      add(this.svg, "circle", { class: `dot series${place % 6}`, ...at });
    });
  }

  // The last place only ends the last bar.
  drawBars(each, place) {
    const { places, series, low } = this.spec;
    each.values.forEach((value, k) => {
      const [left, right] = [this.x(places[k]), this.x(places[k + 1])];
      const wide = (right - left - 2) / series.length;
      const top = this.y(value);
      add(this.svg, "rect", {
        class: `bar series${place % 6}`,
        x: left + 1 + place * wide,
        y: top,
        width: Math.max(1, wide - 0.5),
        height: this.y(low) - top,
      });
    });
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width;
    const { places, bars } = this.spec;
    const count = bars ? places.length - 1 : places.length;
    let nearest = 0;
    for (let k = 1; k < count; k++) {
      const isNearer = bars
        ? this.x(places[k]) <= x
        : Math.abs(this.x(places[k]) - x) < Math.abs(this.x(places[nearest]) - x);
      if (isNearer) nearest = k;
    }
    this.move(nearest);
  }

  press(event) {
    const count = this.spec.places.length - (this.spec.bars ? 1 : 0);
    const now = this.cursor ?? -1;
    const moves = {
      ArrowLeft: now - 1,
      ArrowRight: now + 1,
      PageUp: now - 10,
      PageDown: now + 10,
      Home: 0,
      End: count - 1,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.move(Math.min(count - 1, Math.max(0, moves[event.key])));
  }

  move(cursor) {
    this.cursor = cursor;
    this.mark.replaceChildren();
    if (cursor === null) {
      this.output.textContent = "";
      this.svg.setAttribute("aria-valuenow", 0);
      this.svg.setAttribute("aria-valuetext", "move with the arrow keys");
      return;
    }
    const { places, names, series, bars } = this.spec;
    const next = places[bars ? cursor + 1 : cursor];
    const x = this.x((places[cursor] + next) / 2);
    const line = { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom };
    add(this.mark, "line", line);
    const values = series.map((each, place) => {
      const value = each.values[cursor];
      if (value !== null && !bars) {
        const dot = { class: `dot series${place % 6}`, cx: x, cy: this.y(value), r: 4 };
        add(this.mark, "circle", dot);
      }
      return `${series.length > 1 ? `${each.name} ` : ""}${told(value)}`;
    });
    const words = `${names[cursor]}: ${values.join(", ")}`;
    this.output.textContent = words;
    this.svg.setAttribute("aria-valuenow", cursor);
    this.svg.setAttribute("aria-valuetext", words);
  }
}

const charts = new Map(
  [...document.querySelectorAll("[data-chart]")].map((figure) => [
    figure.dataset.chart,
    new Chart(figure),
  ]),
);

// Means over the objects that have a value in a frame.
function meanOf(rows) {
  return rows[0].map((_, k) => {
    const known = finite(rows.map((row) => row[k]));
    return known.length ? known.reduce((a, b) => a + b) / known.length : null;
  });
}

function showSequence(sequence, object) {
  const { frames, objects } = sequence;
  const places = frames.map((_, k) => k);
  for (const measure of ["J", "F"]) {
    let series;
    if (object === "each") {
      series = objects.map((each) => ({
        name: `object ${each.id}`,
        values: each[measure][0],
      }));
    } else {
      const chosen = objects.filter((each) => object === "mean" || `${each.id}` === object);
      series = data.names.map((name, k) => ({
        name,
        values: meanOf(chosen.map((each) => each[measure][k])),
      }));
    }
    const names = frames.map((frame) => `frame ${frame}`);
    const shape = { places, names, ticks: frames, low: 0, high: 1 };
    charts.get(measure).show({ ...shape, series });
  }
}

function showEvaluation() {
  const { sequence, object } = document.querySelector(".controls").elements;
  data.sequences.forEach((each, k) => add(sequence, "option", { value: k }, each.name));
  const refresh = () => showSequence(data.sequences[sequence.value], object.value);
  const choose = () => {
    const { objects } = data.sequences[sequence.value];
    object.replaceChildren();
    const several = objects.length > 1;
    if (several && data.names.length === 1 && objects.length <= 6) {
      add(object, "option", { value: "each" }, "each by itself");
    }
    if (several) add(object, "option", { value: "mean" }, "mean of all");
    for (const each of objects) add(object, "option", { value: each.id }, `${each.id}`);
    refresh();
  };
  sequence.addEventListener("change", choose);
  object.addEventListener("change", refresh);
  for (const link of document.querySelectorAll("[data-choose]")) {
    link.addEventListener("click", () => {
      sequence.value = data.sequences.findIndex(
        (each) => each.name === link.dataset.choose,
      );
      choose();
    });
  }
  sequence.value = data.worst;
  choose();
  const { edges, shares } = data.histogram;
  charts.get("histogram").show({
    places: edges,
    names: edges.slice(1).map((edge, k) => `J from ${edges[k]} to ${edge}`),
    series: data.names.map((name, k) => ({ name, values: shares[k] })),
    low: 0,
    high: Math.max(...shares.flat(), 0.01) * 1.05,
    bars: true,
  });
}

// Of an axis that has room for all values, from 0 on where that is not far; a curve of
// one value lies in the middle.
function ends(known) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of known) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  const room = (most / 2 - least / 2) * 0.1 || Math.abs(most) * 0.05 || 1;
  const low = least >= 0 && least < most / 2 ? 0 : least - room;
  const farthest = 1.79e308;
  return [Math.max(low, -farthest), Math.min(most + room, farthest)];
}

function showTraining() {
  for (const [name, curves] of Object.entries(data.curves)) {
    const places = [...new Set(curves.flatMap((each) => each.steps))];
    places.sort((a, b) => a - b);
    const series = curves.map(({ steps, values }, k) => {
      const known = new Map(steps.map((step, place) => [step, values[place]]));
      const row = places.map((step) => known.get(step) ?? null);
      return { name: data.names[k], values: row, bridge: true };
    });
    const [low, high] = ends(finite(series.flatMap((each) => each.values)));
    charts.get(name).show({
      places,
      names: places.map((step) => `step ${step}`),
      series,
      low,
      high,
    });
  }
}

// Titles of a sortable table become buttons; a second press turns the order round.
function makeSortable(table) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const order = title.getAttribute("aria-sort");
      const sign = order === "ascending" ? -1 : 1;
      for (const each of titles) each.removeAttribute("aria-sort");
      title.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
      rows.sort(([a], [b]) => missingLast(a, b) || sign * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// A number, a text, or null for the number of a cell that has none.
function keyOf(cell) {
  if ("value" in cell.dataset) return Number(cell.dataset.value);
  return cell.classList.contains("number") ? null : cell.textContent;
}

const missingLast = (a, b) => (a === null) - (b === null);

// Numbers by size, texts by their parts, so that clip2 comes before clip10.
function compare(a, b) {
  if (a === null) return 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

document.documentElement.classList.add("scripted");
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
if (data.kind === "evaluation") showEvaluation();
else showTraining();
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
