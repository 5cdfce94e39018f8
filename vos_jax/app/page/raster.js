// What the tools do to a label map. Everything is in pixels of the frame, with hard
// edges. A pixel x, y has its centre at x + 0.5, y + 0.5. Each function returns the
// rectangle {left, top, right, bottom} that it changed, or null.

function clipped(left, top, right, bottom, width, height) {
  const box = {
    left: Math.max(0, Math.floor(left)),
    top: Math.max(0, Math.floor(top)),
    right: Math.min(width, Math.ceil(right)),
    bottom: Math.min(height, Math.ceil(bottom)),
  };
  return box.left < box.right && box.top < box.bottom ? box : null;
}

export function union(one, other) {
  if (!one || !other) return one ?? other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

/** Which labels a tool may change, as a table of 256. */
export function changeable(rule) {
  return Uint8Array.from({ length: 256 }, (_, label) => (rule(label) ? 1 : 0));
}

/** A round tip of `size` pixels drawn along a straight line from a to b. */
export function paintLine(map, a, b, size, label, may) {
  const { labels, width, height } = map;
  const radius = size / 2;
  const box = clipped(
    Math.min(a.x, b.x) - radius,
    Math.min(a.y, b.y) - radius,
    Math.max(a.x, b.x) + radius + 1,
    Math.max(a.y, b.y) + radius + 1,
    width,
    height,
  );
  if (!box) return null;
  if (size <= 1) return paintThin(map, a, b, label, may, box);
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const length = dx * dx + dy * dy;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const px = x + 0.5 - a.x;
      const py = y + 0.5 - a.y;
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const ox = px - along * dx;
      const oy = py - along * dy;
      if (ox * ox + oy * oy > radius * radius) continue;
      const at = y * width + x;
      if (may[labels[at]]) labels[at] = label;
    }
  }
  return box;
}

/** A line of single pixels: the disc of one pixel often holds no centre. */
function paintThin({ labels, width, height }, a, b, label, may, box) {
  const steps = Math.max(
    1,
    Math.ceil(2 * Math.max(Math.abs(b.x - a.x), Math.abs(b.y - a.y))),
  );
  for (let step = 0; step <= steps; step++) {
    const x = Math.floor(a.x + ((b.x - a.x) * step) / steps);
    const y = Math.floor(a.y + ((b.y - a.y) * step) / steps);
    if (x < 0 || y < 0 || x >= width || y >= height) continue;
    const at = y * width + x;
    if (may[labels[at]]) labels[at] = label;
  }
  return box;
}

/** The inside of a polygon by the even-odd rule: pixels whose centres lie in it. */
export function paintPolygon({ labels, width, height }, points, label, may) {
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const box = clipped(
    Math.min(...xs),
    Math.min(...ys),
    Math.max(...xs) + 1,
    Math.max(...ys) + 1,
    width,
    height,
  );
  if (!box) return null;
  for (let y = box.top; y < box.bottom; y++) {
    const centre = y + 0.5;
    const crossings = [];
    for (let k = 0; k < points.length; k++) {
      const a = points[k];
      const b = points[(k + 1) % points.length];
      if (a.y <= centre === b.y <= centre) continue;
      crossings.push(a.x + ((centre - a.y) / (b.y - a.y)) * (b.x - a.x));
    }
    crossings.sort((one, other) => one - other);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(box.left, Math.ceil(crossings[k] - 0.5));
      const to = Math.min(box.right, Math.ceil(crossings[k + 1] - 0.5));
      for (let x = from; x < to; x++) {
        const at = y * width + x;
        if (may[labels[at]]) labels[at] = label;
      }
    }
  }
  return box;
}

/**
 * The pixels of one label that are connected (by their sides) to x, y:
 * {area, box, spans}, with spans of y * width + x, [start, stop) one after another.
 */
export function region({ labels, width, height }, x, y) {
  const label = labels[y * width + x];
  const seen = new Uint8Array(labels.length);
  const spans = [];
  const stack = [y * width + x];
  let area = 0;
  let box = null;
  while (stack.length) {
    const at = stack.pop();
    if (seen[at]) continue;
    const row = Math.floor(at / width);
    const first = row * width;
    let start = at;
    while (start > first && labels[start - 1] === label && !seen[start - 1]) start--;
    let stop = at + 1;
    while (stop < first + width && labels[stop] === label && !seen[stop]) stop++;
    seen.fill(1, start, stop);
    spans.push(start, stop);
    area += stop - start;
    box = union(box, {
      left: start - first,
      top: row,
      right: stop - first,
      bottom: row + 1,
    });
    for (const step of [-width, width]) {
      if ((step < 0 && row === 0) || (step > 0 && row === height - 1)) continue;
      for (let near = start + step; near < stop + step; near++) {
        if (labels[near] !== label || seen[near]) continue;
        stack.push(near);
        while (near < stop + step && labels[near] === label) near++;
      }
    }
  }
  return { label, area, box, spans };
}

/** Gives every pixel of a region another label. */
export function paintRegion({ labels }, { box, spans }, label) {
  for (let k = 0; k < spans.length; k += 2) labels.fill(label, spans[k], spans[k + 1]);
  return box;
}

/** Replaces one label by another everywhere. */
export function replace({ labels, width, height }, from, to) {
  for (let at = 0; at < labels.length; at++) if (labels[at] === from) labels[at] = to;
  return { left: 0, top: 0, right: width, bottom: height };
}

/** Puts what changed from `before` to `after` on top of `onto`. */
export function rebase(before, after, onto) {
  for (let at = 0; at < onto.length; at++) {
    if (before[at] !== after[at]) onto[at] = after[at];
  }
}
