"""Region similarity J, contour accuracy F and their statistics.

F. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016, to the pixel as the official DAVIS evaluators compute it. All
counts are integers; the few divisions are float64.

Letters: `H W` image, `O` objects, `T` frames.
"""

from collections.abc import Sequence
from math import ceil, hypot, isqrt
from typing import NamedTuple

import numpy as np

from vos_jax.errors import InputError

DAVIS_TOLERANCE = 0.008
"""How far matching outlines may be apart, as a share of the frame's diagonal."""


class Statistics(NamedTuple):
    """What the scores of one object come down to.

    Attributes:
      mean: Mean of the scores that are not NaN.
      recall: Share of all scores above 0.5; NaN counts as a miss.
      decay: Mean of the first minus mean of the last of four time bins.
    """

    mean: float
    recall: float
    decay: float


class _Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def grow(self, margin: int) -> "_Box":
        return _Box(
            self.top - margin,
            self.bottom + margin,
            self.left - margin,
            self.right + margin,
        )

    def meet(self, other: "_Box") -> "_Box":
        return _Box(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    def is_empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right

    def within(self, outer: "_Box") -> tuple[slice, slice]:
        """Where this box lies in an array that covers `outer`."""
        rows = slice(self.top - outer.top, self.bottom - outer.top)
        return rows, slice(self.left - outer.left, self.right - outer.left)


class _Outline(NamedTuple):
    """A boundary map within `box`; there is none outside."""

    boundary: np.ndarray
    box: _Box


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Marks the pixels that differ from their right, lower or lower-right neighbour.

    The image border is no boundary: a mask that fills the image has none.

    Args:
      mask: `[H, W]`, foreground where not zero.

    Returns:
      bool `[H, W]`.
    """
    mask = _binary(mask, "mask")
    boundary = np.zeros(mask.shape, bool)
    np.not_equal(mask[:, :-1], mask[:, 1:], out=boundary[:, :-1])
    boundary[:-1] |= mask[:-1] != mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return boundary


def region_similarity(
    predicted: np.ndarray, annotated: np.ndarray, void: np.ndarray | None = None
) -> float:
    """Intersection over union J of two masks; 1 where both are empty.

    Args:
      predicted: `[H, W]`, foreground where not zero.
      annotated: As `predicted`.
      void: `[H, W]`; pixels where it is not zero do not count.

    Raises:
      InputError: The shapes differ.
    """
    return _region(*_without_void(predicted, annotated, void))


def contour_accuracy(
    predicted: np.ndarray,
    annotated: np.ndarray,
    void: np.ndarray | None = None,
    tolerance: float = DAVIS_TOLERANCE,
) -> float:
    """F-measure of two outlines that match within a tolerance.

    A boundary pixel is matched when the other map has one at Euclidean distance
    `<= r`. Two maps without boundary pixels give 1, one alone gives 0.

    Args:
      predicted: `[H, W]`, foreground where not zero.
      annotated: As `predicted`.
      void: `[H, W]`; where it is not zero both masks are emptied first, so that the
        cut becomes a boundary of both.
      tolerance: `r` in pixels if at least 1, else as a share of the image's diagonal,
        rounded up.

    Raises:
      InputError: The shapes differ or the tolerance is negative.
    """
    predicted, annotated = _without_void(predicted, annotated, void)
    radius = _radius(predicted.shape, tolerance)
    return _contour(_outline(predicted), _outline(annotated), radius)


def score_frame(
    predicted_labels: np.ndarray, annotated_labels: np.ndarray, objects: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores all objects of one frame.

    Labels that are not in `objects` are background. That includes 255: in the
    semi-supervised protocol a prediction on void pixels is a false positive.

    Args:
      predicted_labels: Integer `[H, W]`.
      annotated_labels: Integer `[H, W]`.
      objects: The ids to score.

    Returns:
      J and F, float64 `[O]`, in the order of `objects`.

    Raises:
      InputError: The shapes differ.
    """
    _check_shapes(predicted_labels, annotated_labels)
    radius = _radius(predicted_labels.shape, DAVIS_TOLERANCE)
    regions, contours = np.empty(len(objects)), np.empty(len(objects))
    for place, label in enumerate(objects):
        predicted, annotated = predicted_labels == label, annotated_labels == label
        regions[place] = _region(predicted, annotated)
        contours[place] = _contour(_outline(predicted), _outline(annotated), radius)
    return regions, contours


def statistics(scores: np.ndarray) -> Statistics:
    """Mean, recall and decay of one object's scores.

    The four bins share their border frames. Unlike the official programs, which keep
    the bin borders in eight bits, decay also holds for more than 255 frames.

    Args:
      scores: `[T]`, NaN where a frame has no score.

    Raises:
      InputError: There is no score.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not scores.size:
        raise InputError(
            f"scores must be a vector of at least one frame, not {list(scores.shape)}"
        )
    # The small summand makes `round`, which rounds half to even, round half up.
    edges = np.round(np.linspace(1, scores.size, 5) + 1e-10).astype(np.int64) - 1
    first = scores[edges[0] : edges[1] + 1]
    last = scores[edges[3] : edges[4] + 1]
    return Statistics(
        mean=_mean(scores),
        recall=float(np.mean(scores > 0.5)),
        decay=_mean(first) - _mean(last),
    )


def _mean(scores: np.ndarray) -> float:
    """Mean without the NaN; NaN, and no warning, where nothing is left."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def _binary(mask: np.ndarray, name: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InputError(f"{name} must be [H, W], not {list(mask.shape)}")
    return mask if mask.dtype == bool else mask != 0


def _check_shapes(predicted: np.ndarray, annotated: np.ndarray) -> None:
    if predicted.ndim != 2 or predicted.shape != annotated.shape:
        raise InputError(
            f"predicted {list(predicted.shape)} and annotated {list(annotated.shape)} "
            "must both be [H, W] of one size"
        )


def _without_void(
    predicted: np.ndarray, annotated: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    predicted = _binary(predicted, "predicted")
    annotated = _binary(annotated, "annotated")
    _check_shapes(predicted, annotated)
    if void is None:
        return predicted, annotated
    counts = ~_binary(void, "void")
    _check_shapes(counts, annotated)
    return predicted & counts, annotated & counts


def _radius(shape: tuple[int, ...], tolerance: float) -> int:
    if tolerance < 0:
        raise InputError(f"tolerance {tolerance} is negative; use 0 or more")
    return ceil(tolerance if tolerance >= 1 else tolerance * hypot(*shape))


def _outline(mask: np.ndarray) -> _Outline | None:
    """The boundary map of a mask within its box, or None where the mask is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    # One pixel more on each side: the outline lies on the pixels up and left, and an
    # empty last row or column keeps the crop's edge from acting as the image border.
    top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, mask.shape[0])
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, mask.shape[1])
    mask = mask[top:bottom, left:right]
    return _Outline(boundary_map(mask), _Box(top, bottom, left, right))


def _region(predicted: np.ndarray, annotated: np.ndarray) -> float:
    either = np.count_nonzero(predicted | annotated)
    return float(np.count_nonzero(predicted & annotated) / either) if either else 1.0


def _contour(
    predicted: _Outline | None, annotated: _Outline | None, radius: int
) -> float:
    found = 0 if predicted is None else np.count_nonzero(predicted.boundary)
    wanted = 0 if annotated is None else np.count_nonzero(annotated.boundary)
    if predicted is None or annotated is None or not found or not wanted:
        return float(found == wanted)
    correct, recalled = _matches(predicted, annotated, radius)
    if not correct:
        return 0.0
    precision, recall = correct / found, recalled / wanted
    return 2 * precision * recall / (precision + recall)


def _matches(first: _Outline, second: _Outline, radius: int) -> tuple[int, int]:
    """Counts the boundary pixels of each map that are within `radius` of the other.

    Both maps are dilated at once, as two bits of a byte, and only where they come near
    each other. The rows lie one after the other in a flat array, `radius` empty pixels
    apart, so that moving a map in any direction is a contiguous slice.
    """
    if first.box.meet(second.box.grow(radius)).is_empty():
        return 0, 0
    near_both = first.box.grow(radius).meet(second.box.grow(radius))
    height = near_both.bottom - near_both.top
    stride = near_both.right - near_both.left + radius
    packed = np.zeros((height + 2 * radius, stride), np.uint8)
    inner = packed[radius : radius + height, radius:]
    for outline, bit in ((first, 1), (second, 2)):
        shared = outline.box.meet(near_both)
        target = inner[shared.within(near_both)]
        # A product, because NumPy has no vector instructions for shifts.
        target |= outline.boundary[shared.within(outline.box)] * np.uint8(bit)
    pixels = slice(radius * stride + radius, (radius + height) * stride)
    near = _dilate(packed.ravel(), pixels, stride, radius)
    packed = packed.ravel()[pixels]
    first_matched = np.count_nonzero((packed & 1).view(bool) & (near >= 2))
    second_matched = np.count_nonzero((packed >= 2) & (near & 1).view(bool))
    return int(first_matched), int(second_matched)


def _dilate(flat: np.ndarray, pixels: slice, stride: int, radius: int) -> np.ndarray:
    """ORs the disk `dy^2 + dx^2 <= radius^2` around each of the `pixels`.

    A row of the disk is a run; longer runs are made of shorter ones, so the whole costs
    about three ORs of the map for each pixel of the radius.

    Args:
      flat: uint8, rows `stride` apart with `radius` zeros before each, and `radius`
        rows of zeros at both ends.
      pixels: From the first to the last pixel of the image.
      stride: Pixels from one row to the next.
      radius: Of the disk.
    """
    near = np.zeros_like(flat[pixels])
    run, length = flat, 1
    for dy in range(radius, -1, -1):
        half = isqrt(radius * radius - dy * dy)
        while length < 2 * half + 1:
            step = min(length, 2 * half + 1 - length)
            run, length = run[:-step] | run[step:], length + step
        for move in {-dy * stride - half, dy * stride - half}:
            near |= run[pixels.start + move : pixels.stop + move]
    return near
