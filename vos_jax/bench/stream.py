"""Benchmark of a running video: speed and memory as it gets longer.

Frames go through the same program and the same queue as `stream_video`'s. What a method
with a memory of constant size promises can be checked here: that the hundredth frame
and the five-thousandth cost the same.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vos_jax.bench.measure import device_peak_bytes, process_bytes
from vos_jax.bench.stages import stripes
from vos_jax.errors import InputError
from vos_jax.inference.segmenter import VideoSegmenter, compiled_programs
from vos_jax.methods.base import Method
from vos_jax.runtime.machine import machine
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import describe, text_table, write_table

NAME = "bench_stream"
"""Of the files of results, without a suffix."""

_LENGTHS = (100, 200, 500, 1000, 2000, 5000)
_WARM_UP = 20
_PICTURES = 16


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What to run.

    Attributes:
      frames: Length of the video; more than 20, which warm up.
      height: Of the frames, in pixels.
      width: Of the frames.
      objects: Numbers of objects, one video each.
    """

    frames: int = 5000
    height: int = 480
    width: int = 854
    objects: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.frames <= _WARM_UP:
            raise InputError(
                f"frames={self.frames}: the first {_WARM_UP} warm up; use more"
            )
        if not self.objects or min(self.objects) < 1:
            raise InputError(f"objects={self.objects}: give numbers of at least 1")
        if min(self.height, self.width) < 16 or max(self.objects) > self.width:
            raise InputError(
                f"height={self.height}, width={self.width}: use at least 16, and as"
                " many columns as objects"
            )

    @property
    def marks(self) -> tuple[int, ...]:
        """Frames at which a row is taken, the last one included."""
        return (*(n for n in _LENGTHS if n < self.frames), self.frames)


class StreamRow(NamedTuple):
    """A video up to some frame.

    Attributes:
      objects: Number of objects.
      frames: Segmented so far.
      frames_per_s: Over the frames since the row before, in the first row since the
        twentieth.
      state_mb: Everything that is kept between two frames.
      process_mb: Most memory that the process ever had.
      device_mb: Most memory that was in use on the accelerator; None on CPUs.
      programs: Per-frame programs compiled so far, for this video.
    """

    objects: int
    frames: int
    frames_per_s: float
    state_mb: float
    process_mb: float
    device_mb: float | None
    programs: int


def bench_stream(
    method: Method,
    variables: Mapping[str, Any],
    options: StreamOptions | None = None,
) -> list[StreamRow]:
    """Segments one video for each number of objects; progress goes to stderr.

    The length is not told beforehand, so a memory that grows is seen growing.

    Args:
      method: From `create`.
      variables: Its weights.
      options: What to run.
    """
    options = options or StreamOptions()
    rows: list[StreamRow] = []
    total = options.frames * len(options.objects)
    with Progress("bench_stream", total) as progress:
        for objects in options.objects:
            rows += _video_rows(method, variables, options, objects, progress)
    return rows


def _video_rows(
    method: Method,
    variables: Mapping[str, Any],
    options: StreamOptions,
    objects: int,
    progress: Progress,
) -> list[StreamRow]:
    pictures, labels = noise_with_stripes(options.height, options.width, objects)
    before = compiled_programs()
    kind = method.inputs
    # Anew in every frame it takes the way from the host, as in a video.
    size = options.height, options.width
    inputs = None if kind is None else kind.example(size)
    segment = VideoSegmenter(method, variables)
    latest = segment(pictures[0], labels)
    progress.update()
    rows = []
    for begin, end in pairwise((1, _WARM_UP, *options.marks)):
        started = time.perf_counter()
        for index in range(begin, end):
            # One frame is always under way while the next one is handed over.
            following = segment(pictures[index % _PICTURES], inputs=inputs)
            latest.result()
            latest = following
            progress.update()
        seconds = time.perf_counter() - started
        if end == _WARM_UP:
            continue
        state = sum(x.nbytes for x in jax.tree.leaves(segment.views))
        device = device_peak_bytes()
        row = StreamRow(
            objects=objects,
            frames=end,
            frames_per_s=(end - begin) / seconds,
            state_mb=state / 1e6,
            process_mb=process_bytes("VmHWM") / 1e6,
            device_mb=None if device is None else device / 1e6,
            programs=compiled_programs() - before,
        )
        rows.append(row)
    return rows


def noise_with_stripes(
    height: int, width: int, objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Some frames of noise, and labels that are vertical stripes."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (_PICTURES, height, width, 3), np.uint8)
    return pictures, stripes(height, width, objects).astype(np.uint8)


def show(rows: list[StreamRow]) -> str:
    """The table with the machine above it."""
    return f"{describe(machine())}\n\n{text_table(rows)}"


def write(rows: list[StreamRow], folder: str | Path) -> list[Path]:
    """Writes `bench_stream.csv` and `.json`; returns their paths."""
    return write_table(folder, NAME, rows)
