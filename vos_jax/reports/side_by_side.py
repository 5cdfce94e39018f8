"""Masks of several methods side by side, with what differs from the annotation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vos_jax import evaluation
from vos_jax.errors import InputError
from vos_jax.evaluation import region_similarity
from vos_jax.media import blend, contact_sheet, open_frames, read_labels
from vos_jax.types import IGNORE

MISSED, WRONG = (230, 0, 120), (0, 200, 255)
"""Colours of pixels of an object that are not found, and of those found elsewhere."""

_WEIGHT = 0.75


def differences(frame: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A frame whose objects are tinted where they are right, and marked where not.

    A pixel that is given to another object is `WRONG`; what the annotation ignores,
    255, stays as it is.

    Args:
      frame: uint8 `[H, W, 3]`.
      labels: uint8 `[H, W]`.
      truth: uint8 `[H, W]`.
    """
    known = truth != IGNORE
    right = known & (labels == truth)
    missed = known & (truth > 0) & (labels == 0)
    wrong = known & (labels > 0) & (labels != truth)
    picture = blend(frame, np.where(right, labels, 0).astype(np.uint8), alpha=0.15)
    for which, colour in ((missed, MISSED), (wrong, WRONG)):
        mixed = (1 - _WEIGHT) * frame[which] + _WEIGHT * np.array(colour)
        picture[which] = np.rint(mixed).astype(np.uint8)
    return picture


def side_by_side(
    sequence: evaluation.Sequence, masks: Mapping[str, Path], times: Sequence[int]
) -> np.ndarray:
    """A row of the annotation and one of each folder of masks, a column for each frame.

    Where a frame has no annotation, as in splits that servers score, masks are drawn as
    they are.

    Args:
      sequence: From `read_dataset`.
      masks: Folders of `<frame>.png` by what they are called.
      times: Numbers of frames.

    Returns:
      uint8 `[H, W, 3]`; captions have the mean J of the frame's objects.

    Raises:
      InputError: There is no such frame, or no mask of it.
    """
    source = open_frames(sequence.frames[0].parent)
    if beyond := [time for time in times if not 0 <= time < len(source)]:
        raise InputError(
            f"frame {beyond[0]}: {sequence.name} has frames 0 to {len(source) - 1}"
        )
    names = [source.names[time] for time in times]
    frames = [next(iter(source.frames(time))) for time in times]
    truths: list[np.ndarray] | None = None
    rows, captions = [], []
    if set(names) <= set(sequence.annotations):
        truths = [_labels(sequence, sequence.annotations[name]) for name in names]
        rows.append([blend(*each) for each in zip(frames, truths, strict=True)])
        captions.append([f"annotation, frame {time}" for time in times])
    for words, folder in masks.items():
        found = [_found(sequence, words, folder / f"{name}.png") for name in names]
        if truths is None:
            rows.append([blend(*each) for each in zip(frames, found, strict=True)])
            captions.append([f"{words}, frame {time}" for time in times])
            continue
        both = list(zip(found, truths, strict=True))
        rows.append([differences(x, *y) for x, y in zip(frames, both, strict=True)])
        captions.append([f"{words}, J {_mean_j(*each):.2f}" for each in both])
    legend = "" if truths is None else ": pink is missed, light blue is wrong"
    return contact_sheet(rows, captions, f"{sequence.name}{legend}")


def _found(sequence: evaluation.Sequence, words: str, path: Path) -> np.ndarray:
    if not path.exists():
        raise InputError(f"{words}: {path} is not there; segment the sequence")
    return _labels(sequence, path)


def _labels(sequence: evaluation.Sequence, path: Path) -> np.ndarray:
    """A label map; of DAVIS 2016 one object."""
    labels = read_labels(path)
    return (labels != 0).astype(np.uint8) if sequence.dataset == "davis2016" else labels


def _mean_j(labels: np.ndarray, truth: np.ndarray) -> float:
    ids = np.setdiff1d(truth, [0, IGNORE])
    if not len(ids):
        return float("nan")
    known = truth != IGNORE
    each = [region_similarity((labels == i) & known, truth == i) for i in ids]
    return float(np.mean(each))
