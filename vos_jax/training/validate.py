"""How well the network in training segments whole videos."""

from collections.abc import Iterator, Mapping
from itertools import tee
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.source import Source
from vos_jax.errors import InputError
from vos_jax.evaluation import score_frame
from vos_jax.inference.form import inference_form
from vos_jax.inference.video import stream_video
from vos_jax.media import blend, contact_sheet
from vos_jax.methods.base import Method
from vos_jax.runtime.progress import Progress
from vos_jax.types import IGNORE

_PIECE = 16
_ROWS, _COLUMNS = 4, 5


class Validation(NamedTuple):
    """Scores, and some of the videos with the masks that were found.

    Attributes:
      scores: `J`, `F` and their mean `J&F`: means over objects of their means over
        frames, as the semi-supervised protocol of DAVIS 2017 has them.
      sheet: uint8 `[H, W, 3]`.
    """

    scores: dict[str, float]
    sheet: np.ndarray


def check_validation(source: Source, inputs: ClipInputs | None = None) -> None:
    """Checks what `validate` needs, before hours are spent on the way to it.

    Reads one frame of each video.

    Raises:
      InputError: A video is too short, has no object in its first frame, or that frame
        cannot be read; or a frame lacks its inputs.
    """
    for number, video in enumerate(source.videos):
        labels, _ = _first_labels(source, number)
        if inputs is not None:
            inputs.clip(number, range(video.length), labels.shape)


def validate(
    method: Method,
    variables: Mapping[str, Any],
    source: Source,
    inputs: ClipInputs | None = None,
) -> Validation:
    """Segments every video of a source from its first frame's labels and scores it.

    Objects that appear later are not given and not scored. The first and the last
    frame are not scored.

    Args:
      method: As trained; its norms are folded here.
      variables: Its weights.
      source: Videos of three or more frames.
      inputs: What else the method takes with their frames.

    Raises:
      InputError: As `check_validation`, or another frame cannot be read.
    """
    method, variables = inference_form(method, variables)
    regions, contours, rows, captions = [], [], [], []
    length = max(video.length for video in source.videos)
    total = sum(video.length for video in source.videos)
    with Progress("validate", total) as progress:
        for number, video in enumerate(source.videos):
            given, objects = _first_labels(source, number)
            shown = set(np.linspace(0, video.length - 1, _COLUMNS).round().astype(int))
            row, scores = [], []
            pairs, truth = tee(_read(source, number, video.length))
            frames = (frame for frame, _ in pairs)
            own = None
            if inputs is not None:
                own = inputs.clip(number, range(video.length), given.shape)
            results = stream_video(
                method, variables, frames, given, inputs=own, length=length
            )
            for result, (frame, labels) in zip(results, truth, strict=True):
                if 0 < result.time < video.length - 1:
                    scores.append(score_frame(result.labels, labels, objects))
                if number < _ROWS and result.time in shown:
                    row.append(blend(frame, result.labels))
                progress.update()
            region, contour = np.mean(scores, axis=0)
            regions += region.tolist()
            contours += contour.tolist()
            if row:
                both = (region.mean() + contour.mean()) / 2
                rows.append(row)
                captions.append([f"{video.name}, J&F {both:.3f}", *[""] * len(row[1:])])
    mean = {"J": float(np.mean(regions)), "F": float(np.mean(contours))}
    scores_of_all = {**mean, "J&F": (mean["J"] + mean["F"]) / 2}
    return Validation(scores_of_all, contact_sheet(rows, captions, "Validation"))


def _first_labels(source: Source, number: int) -> tuple[np.ndarray, list[int]]:
    """Labels `[H, W]` of a video's first frame, and the objects in it, ascending."""
    video = source.videos[number]
    if video.length < 3:
        raise InputError(
            f"validation video {video.name}: has {video.length} labelled frames; choose"
            " one with three or more, as the first and the last one are not scored"
        )
    labels = source.read(number, [0]).labels[0]
    objects = [int(i) for i in np.unique(labels) if 0 < i < IGNORE]
    if not objects:
        raise InputError(
            f"validation video {video.name}: has no object in its first labelled frame;"
            " choose one that has"
        )
    return labels, objects


def _read(
    source: Source, number: int, length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and labels of a video, a few at a time."""
    for first in range(0, length, _PIECE):
        piece = source.read(number, range(first, min(first + _PIECE, length)))
        yield from zip(piece.frames, piece.labels, strict=True)
