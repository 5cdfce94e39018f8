"""Proposals of whole data sets: the region proposer's in a file, and their quality."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vos_jax.data.proposals.coco_writer import ImageResults, write_results
from vos_jax.data.proposals.quality import Quality, QualityMeter
from vos_jax.data.proposals.reader import ProposalReader
from vos_jax.data.proposals.regions import propose_regions
from vos_jax.data.proposals.select import select
from vos_jax.data.source import FrameName, Source, frame_name
from vos_jax.types import Proposals

Tell = Callable[[int], None]
"""Is told of every frame or few that are done."""


def count_frames(source: Source) -> int:
    """The number of labelled frames of a source."""
    return sum(video.length for video in source.videos)


def write_regions(
    path: str | Path, source: Source, *, workers: int = 1, tell: Tell | None = None
) -> int:
    """Writes the region proposer's proposals of all labelled frames of a source.

    Training reads them from there where they would cost more than its steps do. The
    bytes do not depend on the number of workers.

    Args:
      path: Of the file.
      source: Whose frames.
      workers: Processes that propose.
      tell: Is told of frames that are done.

    Returns:
      The number of frames.

    Raises:
      InputError: A frame cannot be read, or the file not be written.
    """

    def images() -> Iterator[ImageResults]:
        for video in _videos(source, workers):
            for image in video:
                yield image
                if tell is not None:
                    tell(1)

    return write_results(path, images())


def _videos(source: Source, workers: int) -> Iterator[list[ImageResults]]:
    numbers = range(len(source.videos))
    if workers == 1:
        yield from map(partial(_propose, source), numbers)
        return
    # New processes: threads of this one would not be there in copies of it.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(partial(_propose, source), numbers)


def _propose(source: Source, video: int) -> list[ImageResults]:
    images = []
    for time in range(source.videos[video].length):
        frame = source.read(video, [time]).frames[0]
        name = _file_name(frame_name(source, video, time))
        images.append(ImageResults(name, frame.shape[:2], *propose_regions(frame)))
    return images


def _file_name(name: FrameName) -> str:
    folder = "" if name.sequence is None else f"{name.sequence}/"
    # Frames are compared without extension; this one says that there is one.
    return f"{folder}{name.frame}.jpg"


class Qualities(NamedTuple):
    """Figures of a data set's proposals.

    Attributes:
      best: Of the best thirty.
      used: Of those that are left of them, which a network sees.
    """

    best: Quality
    used: Quality


def measure_quality(
    source: Source, reader: ProposalReader, *, every: int = 1, tell: Tell | None = None
) -> Qualities:
    """Measures proposals against the labels of every frame but a video's first.

    Args:
      source: Frames and labels; still images count, too.
      reader: Of their proposals.
      every: Measures every n-th of these frames.
      tell: Is told of frames that are done.

    Raises:
      InputError: A frame cannot be read, or has no proposals.
    """
    best, used = QualityMeter(), QualityMeter()
    for number, video in enumerate(source.videos):
        # A still image is what would follow.
        times = [0, *range(1 if video.length > 1 else 0, video.length, every)]
        names = [frame_name(source, number, time) for time in times]
        found = None
        for index in range(1, len(times)):
            frames, labels = source.read(number, [times[index]])
            size = frames[0].shape[:2]
            if found is None:
                sequence, frame_names = names[0].sequence, [x.frame for x in names]
                found = reader.all_of(sequence, frame_names, size)
            proposals = found.read(index, frames[0], size)
            best.add(video.name, labels[0], proposals.masks[proposals.valid])
            left = _suppressed(proposals, reader, size)
            used.add(video.name, labels[0], left.masks[left.valid])
            if tell is not None:
                tell(1)
    return Qualities(best.result(), used.result())


def _suppressed(
    proposals: Proposals, reader: ProposalReader, size: tuple[int, int]
) -> Proposals:
    valid = np.asarray(proposals.valid)
    return select(proposals.masks[valid], proposals.scores[valid], size, iou=reader.iou)
