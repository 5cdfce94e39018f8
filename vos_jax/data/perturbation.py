"""Masks as an imperfect network would give them.

A mask is edited until its IoU with the true one is below a drawn one: rectangles of it
are dilated or eroded, or lose or gain a pixel before that. STCN's published code takes
this from refinement networks; RDE-VOS (CVPR 2022, sec. 3.3) remembers such masks.

NumPy alone: a structuring element is a union of rows, so that a dilation by one of up
to 9 x 9 takes some twenty passes over bytes.
"""

import math
from functools import cache

import numpy as np

_ROUNDS, _EDITS = 250, 4
_SPECK = 0.1
_SMALLEST, _LARGEST = 3, 9
_EPSILON = 1e-6
# What one edit draws: both edges of both axes, whether and which speck, dilation or
# erosion, size and shape of the element.
_DRAWS = 9


def perturb(mask: np.ndarray, iou: float, rng: np.random.Generator) -> np.ndarray:
    """Edits a mask until it overlaps less than that with what it was.

    Args:
      mask: bool `[H, W]`; an empty one may gain specks.
      iou: In [0, 1]; at most 250 rounds of four edits are spent on it, and the last one
        overshoots.
      rng: Where from.

    Returns:
      bool `[H, W]`.
    """
    edited = mask.copy()
    for _ in range(_ROUNDS):
        for draws in rng.random((_EDITS, _DRAWS)):
            _edit(edited, draws)
        if overlap(mask, edited) < iou:
            break
    return edited


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks; 1 where both are empty."""
    shared = np.count_nonzero(mask & other) + _EPSILON
    return shared / (np.count_nonzero(mask | other) + _EPSILON)


def _edit(mask: np.ndarray, draws: np.ndarray) -> None:
    """Changes a rectangle of the mask, in which nothing outside of it is seen."""
    top, bottom = _edges(mask.shape[0], draws[0], draws[1])
    left, right = _edges(mask.shape[1], draws[2], draws[3])
    inside = mask[top:bottom, left:right]
    if draws[4] < _SPECK:
        mask[(top + bottom) // 2, (left + right) // 2] = draws[5] < 0.5
    rows = _rows(
        int(_SMALLEST + draws[6] * (_LARGEST - _SMALLEST + 1)), int(4 * draws[7])
    )
    if draws[8] < 0.5:
        inside[:] = dilate(inside, rows)
    else:
        inside[:] = ~dilate(~inside, rows)


def _edges(side: int, first: float, second: float) -> tuple[int, int]:
    """A first pixel and an end, both even among those there are."""
    begin = int(first * side)
    return begin, begin + 1 + int(second * (side - begin))


Rows = tuple[tuple[int, int, int], ...]
"""A structuring element: (row, first column, end) from its anchor."""


@cache
def _rows(size: int, kind: int) -> Rows:
    """One of four elements: a square, a disc, a flat and a tall ellipse."""
    half = size // 2
    if kind == 0:
        return tuple((row - half, -half, size - half) for row in range(size))
    width, height = ((size, size), (size, half), (half, size))[kind - 1]
    return ellipse(width, height)


def ellipse(width: int, height: int) -> Rows:
    """An ellipse within a box, as OpenCV draws structuring elements."""
    column, row = width // 2, height // 2
    rows = []
    for y in range(-row, height - row):
        if abs(y) <= row:
            reach = math.sqrt(row * row - y * y) / row if row else 0.0
            # Python rounds halves to even, as OpenCV does.
            extent = round(column * reach)
            rows.append((y, -min(extent, column), min(extent + 1, width - column)))
    return tuple(rows)


def dilate(mask: np.ndarray, rows: Rows) -> np.ndarray:
    """Dilates; beyond the borders there is nothing.

    Args:
      mask: bool `[H, W]`.
      rows: Of the structuring element.
    """
    height, width = mask.shape
    top = max(0, -rows[0][0])
    bottom = max(0, rows[-1][0])
    left = max(-first for _, first, _ in rows)
    right = max(end - 1 for _, _, end in rows)
    wide = np.zeros((height + top + bottom, width + left + right), bool)
    wide[top : top + height, left : left + width] = mask
    spread: dict[tuple[int, int], np.ndarray] = {}
    found = np.zeros_like(mask)
    for row, first, end in rows:
        if (first, end) not in spread:
            line = wide[:, left + first : left + first + width].copy()
            for column in range(first + 1, end):
                line |= wide[:, left + column : left + column + width]
            spread[first, end] = line
        found |= spread[first, end][top + row : top + row + height]
    return found
