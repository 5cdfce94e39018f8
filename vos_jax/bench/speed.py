"""Seconds a frame as papers report them: no files, no scoring, no compilation.

A time begins with a frame on the host and ends with its labels on the host, in a
program that is warm. Frames are taken one by one, as a camera gives them: nothing is
read or written meanwhile, and no frame is begun before the one before it is done.
Frames with given masks are not counted, and neither is one that compiles.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from vos_jax.evaluation import Sequence
from vos_jax.inference.checks import objects_in
from vos_jax.inference.dataset import open_sequence
from vos_jax.inference.frame_inputs import Given, with_inputs
from vos_jax.inference.segmenter import VideoSegmenter, compiled_programs
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import open_inputs
from vos_jax.runtime.machine import machine
from vos_jax.runtime.progress import Progress

Timed = Literal["all", "one", "none"]
"""Sequences to time: all, one of each number of objects, or none."""


class VideoSpeed(NamedTuple):
    """What a video took.

    Attributes:
      objects: Number of objects in it.
      frames: Frames that were timed.
      seconds: For all of them.
    """

    objects: int
    frames: int
    seconds: float


class SpeedRow(NamedTuple):
    """Videos of one number of objects, or all of them.

    Attributes:
      objects: Number of objects; None for videos of any.
      videos: That were timed.
      frames: Of them that were.
      s_per_frame: From a frame on the host to its labels on the host.
      frames_per_s: The inverse.
      type: What is computed in, and the precision of its products.
      device: That computed.
    """

    objects: int | None
    videos: int
    frames: int
    s_per_frame: float
    frames_per_s: float
    type: str
    device: str


def time_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: Iterable[np.ndarray],
    given: Mapping[int, np.ndarray],
    *,
    length: int,
    inputs: Given | None = None,
    size: int | None = None,
    flip: bool = False,
) -> VideoSpeed:
    """Segments a video and times each of its frames.

    Args:
      method: From `load_model`.
      variables: Its weights.
      frames: uint8 `[H, W, 3]` each, the first one with labels.
      given: Label maps `[H, W]` by the index of the frame.
      length: Frames to reserve memory for.
      inputs: What else the method takes, as for `stream_video`; it is read before a
        frame's time begins.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
    """
    objects = number_of_objects(given)
    segmenter = VideoSegmenter(
        *(method, variables),
        size=size,
        flip=flip,
        length=length,
        objects=objects,
    )
    timed, seconds = 0, 0.0
    for index, (frame, own) in enumerate(with_inputs(frames, inputs, size)):
        programs, labels = compiled_programs(), given.get(index)
        jax.block_until_ready(segmenter.views)
        started = time.perf_counter()
        segmenter(frame, labels, inputs=own).result()
        passed = time.perf_counter() - started
        if labels is None and compiled_programs() == programs:
            timed, seconds = timed + 1, seconds + passed
    return VideoSpeed(objects, timed, seconds)


def time_sequences(
    method: Method,
    variables: Mapping[str, Any],
    sequences: Iterable[Sequence],
    *,
    reserve: int,
    inputs: Any = None,
    size: int | None = None,
    flip: bool = False,
) -> Iterator[tuple[str, VideoSpeed]]:
    """Times sequences of a data set one by one.

    Args:
      method: From `load_model`.
      variables: Its weights.
      sequences: From `read_dataset`.
      reserve: Frames to reserve memory for, in all of them.
      inputs: What else the method takes: what `InputKind.open` takes.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.

    Yields:
      Each sequence's name and speed.

    Raises:
      InputError: Inputs are missing or do not fit.
    """
    reader, sequences = open_inputs(method.inputs, inputs), tuple(sequences)
    with Progress("time", len(sequences), "sequence") as progress:
        for sequence in sequences:
            source, given = open_sequence(sequence)
            first = min(given)
            names = source.names[first:]
            own = None
            if reader is not None:
                own = reader.video(sequence.name, names, source.size)
            yield (
                sequence.name,
                time_video(
                    *(method, variables, source.frames(first)),
                    {index - first: labels for index, labels in given.items()},
                    length=reserve,
                    inputs=own,
                    size=size,
                    flip=flip,
                ),
            )
            progress.update()


def chosen_sequences(sequences: Iterable[Sequence], timed: Timed) -> list[Sequence]:
    """All of them, the first of each number of objects, or none."""
    if timed != "one":
        return list(sequences) if timed == "all" else []
    found: dict[int, Sequence] = {}
    for sequence in sequences:
        _, given = open_sequence(sequence)
        found.setdefault(number_of_objects(given), sequence)
    return [found[objects] for objects in sorted(found)]


def number_of_objects(given: Mapping[int, np.ndarray]) -> int:
    """How many objects the given label maps of a video show in all."""
    return len({x for labels in given.values() for x in objects_in(labels)})


def speed_rows(method: Method, speeds: Iterable[VideoSpeed]) -> list[SpeedRow]:
    """A row for each number of objects; a last one for all where there are several.

    Videos none of whose frames was timed are left out.
    """
    known = [speed for speed in speeds if speed.frames]
    numbers = sorted({speed.objects for speed in known})
    rows = [
        _row(method, objects, [x for x in known if x.objects == objects])
        for objects in numbers
    ]
    return rows if len(rows) < 2 else [*rows, _row(method, None, known)]


def _row(method: Method, objects: int | None, speeds: list[VideoSpeed]) -> SpeedRow:
    frames = sum(speed.frames for speed in speeds)
    seconds = sum(speed.seconds for speed in speeds)
    return SpeedRow(
        objects=objects,
        videos=len(speeds),
        frames=frames,
        s_per_frame=seconds / frames,
        frames_per_s=frames / seconds,
        type=type_of(method),
        device=device(),
    )


def type_of(method: Method) -> str:
    """What a method computes in."""
    return f"{method.config.dtype}, {method.config.precision} precision"


def device() -> str:
    """The accelerator, or the processor with the cores that there are."""
    here = machine()
    if here.backend == "cpu":
        return f"{here.processor}, {here.cores} cores"
    return here.device
