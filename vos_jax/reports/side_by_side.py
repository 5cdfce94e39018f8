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

    Args:
      sequence: From `read_dataset`.
      masks: Folders of `<frame>.png` by what they are called.
      times: Numbers of frames, each with an annotation.

    Returns:
      uint8 `[H, W, 3]`; captions have the mean J of the frame's objects.

    Raises:
      InputError: A frame has no annotation, or no mask.
    """
    source = open_frames(sequence.frames[0].parent)
    chosen = {_annotated(sequence, source.names, time): time for time in times}
    frames = {name: next(iter(source.frames(time))) for name, time in chosen.items()}
    truths = {name: _labels(sequence, sequence.annotations[name]) for name in chosen}
    rows = [[blend(frames[name], truths[name]) for name in chosen]]
    captions = [[f"annotation, frame {time}" for time in chosen.values()]]
    for words, folder in masks.items():
        row, told = [], []
        for name in chosen:
            path = folder / f"{name}.png"
            if not path.exists():
                raise InputError(f"{words}: {path} is not there; segment the sequence")
            labels = _labels(sequence, path)
            row.append(differences(frames[name], labels, truths[name]))
            told.append(f"{words}, J {_mean_j(labels, truths[name]):.2f}")
        rows.append(row)
        captions.append(told)
    title = f"{sequence.name}: pink is missed, light blue is wrong"
    return contact_sheet(rows, captions, title)


def _annotated(sequence: evaluation.Sequence, names: Sequence[str], time: int) -> str:
    """The name of a frame that has an annotation."""
    if not 0 <= time < len(names):
        raise InputError(
            f"frame {time}: {sequence.name} has frames 0 to {len(names) - 1}"
        )
    if names[time] not in sequence.annotations:
        known = [str(i) for i, name in enumerate(names) if name in sequence.annotations]
        raise InputError(
            f"frame {time} of {sequence.name} has no annotation; use one of:"
            f" {', '.join(known[:20])}"
        )
    return names[time]


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
