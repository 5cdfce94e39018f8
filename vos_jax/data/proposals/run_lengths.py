"""Masks as COCO stores them: lengths of runs, column by column, zeros first.

In text a length from the third on is kept as its difference to the last but one, then
cut into 5 bits a character, the lowest first; bit 6 says that more follow, bit 5 of the
last character is the sign, and 48 is added. All of it is whole arrays in NumPy,
as fast as pycocotools. That refuses lengths that are too long (2.0.11), but where they
end early the rest of the mask is whatever its memory held, without a word: lengths must
be parsed and added up in any case.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 48
_BITS = 5
_MORE, _SIGN, _LOW = 0x20, 0x10, 0x1F
# 5 * 7 bits: more than any number of pixels needs.
_LONGEST = 7

Lengths = NDArray[np.int64]
"""int64 `[N]`: pixels column by column, of background and object in turns."""


def mask_of(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Decodes the `counts` of a COCO mask.

    Args:
      counts: Compressed text, or numbers.
      size: (height, width) of the mask.

    Returns:
      bool `[H, W]`.

    Raises:
      ValueError: They are damaged, or do not add up to the size; says how.
    """
    if isinstance(counts, str | bytes):
        lengths = from_text(counts)
    elif isinstance(counts, Sequence):
        lengths = _whole_numbers(counts)
    else:
        raise ValueError(f"counts are {type(counts).__name__}, no text or list")
    height, width = size
    total = int(lengths.sum())
    if total != height * width or lengths.min(initial=0) < 0:
        raise ValueError(
            f"run lengths add up to {total}, not to {height} x {width} pixels"
            if lengths.min(initial=0) >= 0
            else "a run length is negative"
        )
    ones = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(ones, lengths).reshape(width, height).T)


def text_of(mask: np.ndarray) -> str:
    """Encodes a mask bool `[H, W]` as compressed `counts`."""
    line = np.asarray(mask, bool).T.ravel()
    changes = np.flatnonzero(line[1:] != line[:-1]) + 1
    begins = [0, 0] if line[0] else [0]
    return to_text(np.diff(np.concatenate([begins, changes, [line.size]])))


def from_text(text: str | bytes) -> Lengths:
    """Decompresses run lengths.

    Raises:
      ValueError: The text is damaged.
    """
    raw = text.encode("latin-1", "replace") if isinstance(text, str) else text
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - _FIRST
    if not codes.size:
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() > (_MORE | _LOW) or codes[-1] & _MORE:
        raise ValueError("its compressed run lengths are damaged")
    ends = np.flatnonzero(codes & _MORE == 0)
    begins = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - begins + 1
    if digits.max() > _LONGEST:
        raise ValueError("its compressed run lengths are damaged")
    shifts = _BITS * (np.arange(codes.size) - np.repeat(begins, digits))
    values = np.add.reduceat((codes & _LOW) << shifts, begins)
    negative = codes[ends] & _SIGN != 0
    values -= np.where(negative, 1 << _BITS * digits, 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def to_text(lengths: Lengths) -> str:
    """Compresses run lengths."""
    rest = np.array(lengths, np.int64)
    rest[3:] -= lengths[1:-2]
    codes = np.zeros((rest.size, _LONGEST), np.uint8)
    used = np.zeros(codes.shape, bool)
    open_ = np.ones(rest.size, bool)
    for digit in range(_LONGEST):
        low = rest & _LOW
        rest >>= _BITS
        used[:, digit] = open_
        open_ = open_ & (rest != np.where(low & _SIGN, -1, 0))
        codes[:, digit] = low + np.where(open_, _MORE, 0) + _FIRST
        if not open_.any():
            break
    return codes[used].tobytes().decode("ascii")


def _whole_numbers(counts: Sequence[Any]) -> Lengths:
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise ValueError("its run lengths are no whole numbers")
    return lengths.astype(np.int64)
