"""Frames with masks, annotations and errors, small enough to be part of a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, features

from vos_jax import evaluation
from vos_jax.media import blend, read_labels
from vos_jax.media.images import load_image
from vos_jax.reports.pages.results import Results
from vos_jax.reports.side_by_side import MISSED, WRONG

CONFUSED = (255, 225, 0)
"""Colour of pixels of one object that were given to another."""

_COLOURS = np.array([MISSED, WRONG, CONFUSED])
_WEIGHT = 0.8
_DIMMED = 0.6
# The first that fits is taken: width in pixels, and quality of the coding.
_SIZES = ((480, 75), (420, 65), (340, 60), (280, 50), (200, 40), (120, 30))


class Error(IntEnum):
    """What is wrong with a pixel."""

    NONE = 0
    MISSED = 1
    WRONG = 2
    CONFUSED = 3


def find_errors(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is wrong with every pixel, `Error` as uint8 `[H, W]`.

    Args:
      labels: Ids that were found, uint8 `[H, W]`, 0 for background.
      truth: Those of the annotation.
    """
    found = np.full(labels.shape, Error.NONE, np.uint8)
    found[(truth > 0) & (labels == 0)] = Error.MISSED
    found[(truth == 0) & (labels > 0)] = Error.WRONG
    found[(truth > 0) & (labels > 0) & (labels != truth)] = Error.CONFUSED
    return found


def draw_errors(frame: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A frame in dim grey, what is right in its colours, and what is wrong marked.

    Args:
      frame: uint8 `[H, W, 3]`.
      labels: Ids that were found, uint8 `[H, W]`.
      truth: Those of the annotation.
    """
    errors = find_errors(labels, truth)
    grey = frame.astype(np.float32).mean(axis=-1, keepdims=True) * _DIMMED
    right = (truth > 0) & (labels == truth)
    picture = np.where(right[..., None], frame, grey)
    wrong = errors != Error.NONE
    colours = _COLOURS[errors[wrong] - 1]
    picture[wrong] = (1 - _WEIGHT) * frame[wrong] + _WEIGHT * colours
    return np.rint(picture).astype(np.uint8)


def draw_frame(name: str, stem: str, results: Sequence[Results]) -> list[np.ndarray]:
    """A frame with the annotation, then with each result's mask, then its errors.

    Args:
      name: Of the sequence.
      stem: Of the frame.
      results: Those that are drawn; all have masks and were scored by the same
        annotations. Masks are drawn over the frames beside their own annotations, and
        where there are none over those of the first, which has frames.

    Returns:
      One and two for each result, uint8 `[H, W, 3]`. Objects that are not scored
      in the frame are not drawn.

    Raises:
      InputError: A file cannot be read.
    """
    first = results[0]
    sequence = first.sequences[name]
    ids = [
        entry.object_id
        for entry in first.report.objects
        if entry.sequence == name and stem in entry.frames
    ]
    truth = _labels(sequence, sequence.annotations[stem], ids)
    frame = _frame(sequence, stem, truth.shape)
    pictures = [blend(frame, truth)]
    for each in results:
        assert each.masks is not None
        frame = _frame(each.sequences.get(name, sequence), stem, truth.shape)
        labels = _labels(sequence, each.masks / name / f"{stem}.png", ids)
        pictures += [blend(frame, labels), draw_errors(frame, labels, truth)]
    return pictures


def _frame(
    sequence: evaluation.Sequence, stem: str, shape: tuple[int, ...]
) -> np.ndarray:
    (path,) = (x for x in sequence.frames if x.stem == stem)
    frame = np.array(load_image(path).convert("RGB"))
    if frame.shape[:2] == shape:
        return frame
    # The frames of a release may be larger than its annotations.
    size = shape[1], shape[0]
    return np.array(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def _labels(
    sequence: evaluation.Sequence, path: Path, ids: Sequence[int]
) -> np.ndarray:
    """Ids as they are scored: others are background, of DAVIS 2016 all are one."""
    labels = read_labels(path)
    if sequence.dataset == "davis2016":
        return (labels != 0).astype(np.uint8)
    return np.where(np.isin(labels, ids), labels, 0).astype(np.uint8)


@dataclass
class Album:
    """Pictures of a page, which together must not be too large.

    Pictures are added as they are and coded at the end, in the first size and quality
    at which all of them fit.
    """

    _pictures: list[Image.Image] = field(default_factory=list)

    def add(self, picture: np.ndarray, width: int = _SIZES[0][0]) -> int:
        """Keeps a picture, uint8 `[H, W, 3]`, at most `width` pixels wide.

        Returns:
          Its number.
        """
        self._pictures.append(_narrowed(Image.fromarray(picture), width))
        return len(self._pictures) - 1

    def coded(self, limit: int) -> tuple[list[str], int]:
        """All pictures as data URIs, and how wide the widest of those is.

        Args:
          limit: Characters of all of them together. The smallest size is taken where
            no other fits.
        """
        widest = max((each.width for each in self._pictures), default=0)
        for width, quality in _SIZES:
            share = width / _SIZES[0][0]
            small = [_narrowed(x, round(x.width * share)) for x in self._pictures]
            uris = [data_uri(each, quality) for each in small]
            if sum(map(len, uris)) <= limit:
                break
        return uris, round(widest * share)


def data_uri(picture: Image.Image, quality: int) -> str:
    """A picture coded into its own address: WebP, or JPEG where Pillow has none."""
    kind = "webp" if features.check("webp") else "jpeg"
    file = BytesIO()
    picture.save(file, format=kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _narrowed(picture: Image.Image, width: int) -> Image.Image:
    if picture.width <= width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
