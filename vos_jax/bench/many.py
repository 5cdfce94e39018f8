"""Benchmark of many videos: frames/s against videos at once and devices.

Videos go through what `vos-jax segment-many` uses, from frames in the memory of the
host to labels there; only files are left out. Every combination runs once before it is
timed, so that nothing is compiled while the clock runs.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.bench.measure import device_peak_bytes
from vos_jax.bench.stream import noise_with_stripes
from vos_jax.errors import InputError
from vos_jax.inference.capacity import state_bytes
from vos_jax.inference.file_run import Beside, Report
from vos_jax.inference.form import inference_form
from vos_jax.inference.many.crew import segment_each
from vos_jax.inference.many.videos import Facts, Spread, Video, local_devices
from vos_jax.inference.segmenter import Pending, VideoSegmenter
from vos_jax.methods.base import Method
from vos_jax.runtime.machine import machine
from vos_jax.runtime.text_table import describe, text_table, write_table

NAME = "bench_many"
"""Of the files of results, without a suffix."""


@dataclass(frozen=True, kw_only=True)
class ManyOptions:
    """What to run.

    Attributes:
      videos: Numbers of videos at once on each device; the first one, on the first
        number of devices, is the baseline.
      devices: Numbers of devices.
      frames: Length of each video.
      height: Of the frames, in pixels.
      width: Of the frames.
      objects: Of each video.
    """

    videos: tuple[int, ...] = (1, 2, 4)
    devices: tuple[int, ...] = (1,)
    frames: int = 30
    height: int = 480
    width: int = 854
    objects: int = 1

    def __post_init__(self) -> None:
        for name in ("videos", "devices"):
            numbers = getattr(self, name)
            if not numbers or min(numbers) < 1:
                raise InputError(f"{name}={numbers}: give numbers of at least 1")
        if self.frames < 2 or self.objects < 1:
            raise InputError(
                f"frames={self.frames}, objects={self.objects}: use at least 2 frames"
                " and 1 object"
            )


class ManyRow(NamedTuple):
    """A number of videos at once on some devices.

    Attributes:
      devices: Number of devices.
      videos: At once on each.
      frames_per_s: Of all together.
      ratio: To the first row, which is run again beside this one.
      state_mb: All that is kept between two frames, of all videos on one device.
      device_mb: Most memory that was in use on the first accelerator so far; None on
        CPUs.
    """

    devices: int
    videos: int
    frames_per_s: float
    ratio: float
    state_mb: float
    device_mb: float | None


def bench_many(
    method: Method, variables: Mapping[str, Any], options: ManyOptions | None = None
) -> list[ManyRow]:
    """Segments as many videos as there are places, once for each combination.

    Args:
      method: From `create`.
      variables: Its weights.
      options: What to run.

    Raises:
      InputError: There are fewer devices.
    """
    options = options or ManyOptions()
    network = inference_form(method, variables)
    size = options.height, options.width
    state = state_bytes(
        *(method, size, options.objects, options.frames), variables=variables
    )
    base = options.devices[0], options.videos[0]
    rows: list[ManyRow] = []
    for devices in options.devices:
        for videos in options.videos:
            spread = Spread(local_devices(devices), videos)
            _seconds(network, options, spread)
            # Beside one another, as the speed of machines comes and goes.
            first = Spread(local_devices(base[0]), base[1])
            baseline = _rate(network, options, first)
            rate = _rate(network, options, spread) if rows else baseline
            device = device_peak_bytes()
            row = ManyRow(
                devices=devices,
                videos=videos,
                frames_per_s=rate,
                ratio=rate / baseline,
                state_mb=videos * state / 1e6,
                device_mb=None if device is None else device / 1e6,
            )
            rows.append(row)
    return rows


def _rate(
    network: tuple[Method, Mapping[str, Any]], options: ManyOptions, spread: Spread
) -> float:
    """Frames/s of all devices."""
    frames = options.frames * spread.videos * len(spread.devices)
    return frames / _seconds(network, options, spread)


def _seconds(
    network: tuple[Method, Mapping[str, Any]], options: ManyOptions, spread: Spread
) -> float:
    frames, labels = noise_with_stripes(options.height, options.width, options.objects)
    kind = network[0].inputs
    inputs = None if kind is None else kind.example(labels.shape)
    videos = [
        _video(options, str(number), (frames, labels, inputs))
        for number in range(spread.videos * len(spread.devices))
    ]
    started = time.perf_counter()
    segment_each(*network, videos, spread)
    return time.perf_counter() - started


def _video(
    options: ManyOptions, name: str, given: tuple[np.ndarray, np.ndarray, Any]
) -> Video:
    frames, labels, inputs = given
    length = options.frames

    def look() -> Facts:
        return Facts(labels.shape, length, length, options.objects, 0)

    def run(beside: Beside | None) -> Report:
        assert beside is not None
        place: AbstractContextManager[VideoSegmenter]
        if beside.place is None:
            place = nullcontext(VideoSegmenter(*beside.network, length=length))
        else:
            place = beside.place(False, options.objects)
        waiting: Pending | None = None
        with place as segment:
            for time_ in range(length):
                frame = frames[time_ % len(frames)]
                first = {"labels": labels} if time_ == 0 else {"inputs": inputs}
                pending = segment(frame, **first)
                if waiting is not None:
                    waiting.result()
                waiting = pending
                beside.progress.update()
                beside.act()
            pending.result()
        return Report(length, 0, 0, float("nan"))

    return Video(name, look, run)


def show(rows: list[ManyRow]) -> str:
    """The table with the machine above it."""
    return f"{describe(machine())}\n\n{text_table(rows)}"


def write(rows: list[ManyRow], folder: str | Path) -> list[Path]:
    """Writes `bench_many.csv` and `.json`; returns their paths."""
    return write_table(folder, NAME, rows)
