"""How good proposals are: what an assignment of them to objects can reach at most."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from vos_jax.data.sampling import object_ids
from vos_jax.types import IGNORE

_GOOD = 0.5


class Quality(NamedTuple):
    """Figures over many objects.

    Attributes:
      best_iou: Mean over objects of the mean over their frames of the best IoU.
      good: Share of objects and frames whose best IoU is above 0.5, averaged likewise.
      proposals: Mean number of proposals of a frame.
      objects: Number of objects.
      frames: Number of frames.
    """

    best_iou: float
    good: float
    proposals: float
    objects: int
    frames: int


class QualityMeter:
    """Collects frames, then tells their quality."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, int], list[float]] = {}
        self._counts: list[int] = []

    def add(self, video: str, labels: np.ndarray, masks: np.ndarray) -> None:
        """Takes a frame.

        Args:
          video: Its name: objects are told apart by it and their ids.
          labels: uint8 `[H, W]`; 0 background, 255 ignored, in masks, too.
          masks: bool `[M, H, W]`, of the frame's valid proposals.
        """
        self._counts.append(len(masks))
        counts = labels != IGNORE
        for label in object_ids(labels):
            best = best_iou(labels == label, masks & counts)
            self._best.setdefault((video, int(label)), []).append(best)

    def result(self) -> Quality:
        """Returns the figures; those of no object are NaN."""
        objects = list(self._best.values())
        if not objects:
            return Quality(np.nan, np.nan, np.nan, 0, len(self._counts))
        return Quality(
            best_iou=float(np.mean([np.mean(each) for each in objects])),
            good=float(np.mean([np.mean(np.greater(x, _GOOD)) for x in objects])),
            proposals=float(np.mean(self._counts)),
            objects=len(objects),
            frames=len(self._counts),
        )


def best_iou(mask: np.ndarray, masks: np.ndarray | Iterable[np.ndarray]) -> float:
    """Returns the largest IoU of a mask `[H, W]` with any of others; 0 for none."""
    area = int(mask.sum())
    best = 0.0
    for each in masks:
        both = int((mask & each).sum())
        best = max(best, both / (area + int(each.sum()) - both))
    return best
