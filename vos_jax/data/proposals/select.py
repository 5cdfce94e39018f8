"""Which candidates of a frame become its proposals (DMN-AOA, ICCV 2021, section 4.1).

The best thirty whose masks show, then what overlaps with a better one is left out. A
proposal's box is its mask's: what a detector says of boxes is not looked at, so that
proposals and objects are framed alike.
"""

from collections.abc import Callable, Sequence

import numpy as np

from vos_jax.types import Proposals

COUNT = 30
"""Proposals of a frame at most, and slots for them."""

_IOU = 0.4

Size = tuple[int, int]
"""Height and width in pixels."""


def select(
    masks: Sequence[np.ndarray] | np.ndarray,
    scores: np.ndarray,
    size: Size,
    *,
    move: Callable[[np.ndarray], np.ndarray] | None = None,
    count: int = COUNT,
    iou: float = _IOU,
    nms_first: bool = False,
) -> Proposals:
    """Makes the proposals of a frame from its candidates.

    Masks are taken best first and no more of them than are needed, so a sequence may
    decode them when it is asked.

    Args:
      masks: M times bool `[H, W]`, at the size of the stored frame.
      scores: `[M]`; of equal ones the first comes first.
      size: Of the result.
      move: Brings a mask to the result; without it, `fit_mask`.
      count: Slots of the result, and most candidates that are looked at.
      iou: Boxes that overlap by more with a better one's are suppressed; 1 keeps all.
      nms_first: Suppress among all candidates, then take the best.

    Returns:
      NumPy arrays of `count` proposals for a frame of that size: valid ones first.
    """
    found = no_proposals(size, count)
    used = 0
    seen = 0
    for index in np.argsort(-np.asarray(scores, np.float64), kind="stable"):
        if (used if nms_first else seen) == count:
            break
        mask = masks[index]
        mask = fit_mask(mask, size) if move is None else move(mask)
        box = tight_box(mask)
        if box is None:
            continue
        seen += 1
        if (box_iou(box, found.boxes[:used]) > iou).any():
            continue
        found.boxes[used] = box
        found.masks[used] = mask
        found.scores[used] = scores[index]
        found.valid[used] = True
        used += 1
    return found


def no_proposals(size: Size, count: int = COUNT) -> Proposals:
    """The proposals of a frame that has none: empty masks, boxes of the whole frame."""
    height, width = size
    return Proposals(
        boxes=np.tile(np.array([0, 0, width, height], np.float32), (count, 1)),
        masks=np.zeros((count, height, width), np.bool_),
        scores=np.zeros(count, np.float32),
        valid=np.zeros(count, np.bool_),
    )


def fit_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Brings a mask `[H, W]` to another size by the nearest pixel, as label maps are.

    Unlike an object that somebody gave, a proposal may fall between the samples.
    """
    if mask.shape == size:
        return mask
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for m, n in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def tight_box(mask: np.ndarray) -> np.ndarray | None:
    """Returns a mask's box, float32 (x0, y0, x1, y1) with ends one beyond its pixels.

    None where it has none.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    top, bottom = rows[0], rows[-1] + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return np.array([columns[0], top, columns[-1] + 1, bottom], np.float32)


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Overlap of a box with each of `[N, 4]`: areas without a pixel more a side."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    return both / ((box[2:] - box[:2]).prod() + areas - both)
