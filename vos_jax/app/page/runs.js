// Label maps as runs: (label: 1 byte, length: LEB128, at least 1), row by row.

/** The runs of a label map (Uint8Array), as bytes. */
export function encode(labels) {
  let bytes = new Uint8Array(4096);
  let end = 0;
  for (let start = 0; start < labels.length;) {
    const label = labels[start];
    let stop = start + 1;
    while (stop < labels.length && labels[stop] === label) stop++;
    if (end + 8 > bytes.length) {
      const larger = new Uint8Array(2 * bytes.length);
      larger.set(bytes);
      bytes = larger;
    }
    bytes[end++] = label;
    let length = stop - start;
    while (length > 127) {
      bytes[end++] = (length & 127) | 128;
      length >>>= 7;
    }
    bytes[end++] = length;
    start = stop;
  }
  return bytes.slice(0, end);
}

/** Calls visit(label, start, stop) for every run, start and stop in pixels. */
export function eachRun(bytes, visit) {
  let start = 0;
  for (let at = 0; at < bytes.length;) {
    const label = bytes[at++];
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= bytes.length) throw new Error("a mask came incomplete");
      const byte = bytes[at++];
      length += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    visit(label, start, start + length);
    start += length;
  }
  return start;
}

/** The label map of `size` pixels that the runs describe. */
export function decode(bytes, size) {
  const labels = new Uint8Array(size);
  const end = eachRun(bytes, (label, start, stop) => {
    if (label) labels.fill(label, start, stop);
  });
  if (end !== size) throw new Error(`a mask has ${end} pixels, the frame ${size}`);
  return labels;
}

/**
 * What is in the mask: a Map of label to {area, left, top, right, bottom, x, y}, where
 * right and bottom are the first pixels outside and x, y is the centre of mass.
 */
export function extents(bytes, width) {
  const found = new Map();
  eachRun(bytes, (label, start, stop) => {
    if (!label) return;
    let one = found.get(label);
    if (!one) {
      one = { area: 0, left: width, top: 2 ** 31, right: 0, bottom: 0, x: 0, y: 0 };
      found.set(label, one);
    }
    for (let from = start; from < stop;) {
      const row = Math.floor(from / width);
      const to = Math.min(stop, (row + 1) * width);
      const left = from - row * width;
      const right = to - row * width;
      one.left = Math.min(one.left, left);
      one.right = Math.max(one.right, right);
      one.top = Math.min(one.top, row);
      one.bottom = row + 1;
      one.area += to - from;
      one.x += ((left + right) / 2) * (to - from);
      one.y += (row + 0.5) * (to - from);
      from = to;
    }
  });
  for (const one of found.values()) {
    one.x /= one.area;
    one.y /= one.area;
  }
  return found;
}

/** Whether two masks are the same; runs are merged, so equal bytes are equal masks. */
export function sameRuns(one, other) {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false;
  return true;
}

export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
