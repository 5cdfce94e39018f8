// The outlines of a label map, along the edges of its pixels. They are drawn in lines of
// the screen, so they stay sharp at any zoom. The frame is divided into tiles, so that a
// stroke of the brush renews only the tiles it touches.

const TILE = 256;

export class Outlines {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.columns = Math.ceil(width / TILE);
    this.rows = Math.ceil(height / TILE);
    this.tiles = new Array(this.columns * this.rows).fill(null);
  }

  /** Forgets everything; only tiles in `box` (or none) are looked at again. */
  reset(labels, box) {
    this.tiles.fill(null);
    if (box) this.renew(labels, box);
  }

  /** Traces anew the tiles that see a pixel in the box, or an edge of it. */
  renew(labels, { left, top, right, bottom }) {
    for (let row = Math.floor(Math.max(0, top - 1) / TILE); row < this.rows; row++) {
      if (row * TILE > bottom) break;
      for (
        let column = Math.floor(Math.max(0, left - 1) / TILE);
        column < this.columns;
        column++
      ) {
        if (column * TILE > right) break;
        this.tiles[row * this.columns + column] = this.#trace(labels, column, row);
      }
    }
  }

  /** The outlines of one tile, Map of label to Path2D, or null for none. */
  #trace(labels, column, row) {
    const { width, height } = this;
    const left = column * TILE;
    const top = row * TILE;
    const right = Math.min(width, left + TILE);
    const bottom = Math.min(height, top + TILE);
    // The last tiles have the edges at the end of the frame, too.
    const lastRow = bottom === height ? height : bottom - 1;
    const lastColumn = right === width ? width : right - 1;
    const paths = new Map();
    const add = (label, x0, y0, x1, y1) => {
      if (!label) return;
      let path = paths.get(label);
      if (!path) paths.set(label, (path = new Path2D()));
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
    };
    for (let y = top; y <= lastRow; y++) {
      let start = left;
      let above = 0;
      let below = 0;
      for (let x = left; x <= right; x++) {
        const a = x < right && y > 0 ? labels[(y - 1) * width + x] : 0;
        const b = x < right && y < height ? labels[y * width + x] : 0;
        if (a === above && b === below) continue;
        if (above !== below) {
          add(above, start, y, x, y);
          add(below, start, y, x, y);
        }
        above = a;
        below = b;
        start = x;
      }
    }
    const starts = new Int32Array(lastColumn - left + 1);
    const before = new Uint8Array(starts.length);
    const after = new Uint8Array(starts.length);
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= lastColumn; x++) {
        const a = y < bottom && x > 0 ? labels[y * width + x - 1] : 0;
        const b = y < bottom && x < width ? labels[y * width + x] : 0;
        const k = x - left;
        if (a === before[k] && b === after[k]) continue;
        if (before[k] !== after[k]) {
          add(before[k], x, starts[k], x, y);
          add(after[k], x, starts[k], x, y);
        }
        before[k] = a;
        after[k] = b;
        starts[k] = y;
      }
    }
    return paths.size ? paths : null;
  }

  /**
   * Draws them on a context whose units are pixels of the frame. `pen(label)` gives
   * {underColour, under, colour, over} (widths in pixels of the frame), or
   * null for what is hidden.
   */
  draw(context, pen) {
    context.lineCap = "square";
    for (const pass of ["under", "over"]) {
      for (const paths of this.tiles) {
        if (!paths) continue;
        for (const [label, path] of paths) {
          const line = pen(label);
          if (!line) continue;
          context.strokeStyle = pass === "under" ? line.underColour : line.colour;
          context.lineWidth = line[pass];
          context.stroke(path);
        }
      }
    }
  }
}
