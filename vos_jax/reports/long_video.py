"""Videos that are repeated forwards and backwards: what length does to a method.

Frames are read when it is their turn and scored when they are segmented; none are kept.
"""

import ctypes
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vos_jax.bench.measure import device_peak_bytes, process_bytes
from vos_jax.data.clip_inputs import VideoInputs
from vos_jax.errors import InputError
from vos_jax.evaluation import given_labels, read_dataset, score_frame
from vos_jax.inference.demo import demo_clip
from vos_jax.inference.segmenter import VideoSegmenter, compiled_programs, working_size
from vos_jax.media import FrameSource, open_frames, read_labels
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import of_frames, open_inputs
from vos_jax.runtime.progress import Progress
from vos_jax.types import IGNORE

_REHEARSED = 3


class Video(NamedTuple):
    """A labelled video as it is before it is repeated.

    Attributes:
      name: Of the video.
      length: Number of frames.
      given: Labels of the first one, uint8 `[H, W]`.
      objects: Ids to score.
      read: Frame uint8 `[H, W, 3]` and labels `[H, W]` at an index.
    """

    name: str
    length: int
    given: np.ndarray
    objects: Sequence[int]
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]


class Figures(NamedTuple):
    """What is measured of a repeated video.

    Attributes:
      frames: Its length.
      j: Mean J of each object, over all frames but the first and the last.
      f: Mean F of each object.
      seconds: Of all frames but the first, whose masks are given: from the frame on the
        host to its labels on the host, without reading, scoring and compilation.
      compile_s: Of a rehearsal with the first frames; compilation is a part of it.
      state_mb: What is kept between two frames.
      peak_mb: Most memory in use, see `peak_kind`.
      programs: Per-frame programs that had to be compiled.
    """

    frames: int
    j: list[float]
    f: list[float]
    seconds: float
    compile_s: float
    state_mb: float
    peak_mb: float
    programs: int


def davis_videos(
    dataset: str,
    root: str | Path,
    split: str,
    sequences: Collection[str] | None = None,
) -> list[Video]:
    """The videos of a split of DAVIS 2016 or 2017, or those that are named.

    Raises:
      InputError: As `read_dataset`; a frame has no annotation; a video is too short.
    """
    videos = []
    for sequence in read_dataset(dataset, root, split, sequences=sequences):
        source = open_frames(sequence.frames[0].parent)
        if missing := [x for x in source.names if x not in sequence.annotations]:
            raise InputError(
                f"{sequence.name}: frame {missing[0]} has no annotation to score with;"
                " choose a split whose annotations are public"
            )
        if len(source) < 3:
            raise InputError(
                f"{sequence.name}: has {len(source)} frames; at least 3 are needed, as"
                " the first and the last one are not scored"
            )
        paths = [sequence.annotations[name] for name in source.names]
        (given,) = given_labels(sequence).values()
        last = int(given[given != IGNORE].max())
        read = partial(_read, source, paths, dataset == "davis2016")
        videos.append(
            Video(sequence.name, len(source), given, range(1, last + 1), read)
        )
    return videos


def _read(
    source: FrameSource, paths: Sequence[Path], binary: bool, index: int
) -> tuple[np.ndarray, np.ndarray]:
    labels = read_labels(paths[index])
    labels = (labels != 0).astype(np.uint8) if binary else labels
    return next(source.frames(index)), labels


def generated_videos(count: int) -> list[Video]:
    """Held-out generated clips."""
    videos = []
    for number in range(count):
        frames, labels = clip = demo_clip(number)
        objects = np.setdiff1d(labels[0], [0]).tolist()
        read = partial(_pair, clip)
        videos.append(Video(f"clip{number}", len(frames), labels[0], objects, read))
    return videos


def _pair(
    clip: tuple[np.ndarray, np.ndarray], index: int
) -> tuple[np.ndarray, np.ndarray]:
    frames, labels = clip
    return frames[index], labels[index]


def play_order(length: int, repeat: int) -> Iterator[int]:
    """Indices of frames, forwards and backwards in turn, `repeat` times in all."""
    for turn in range(repeat):
        yield from range(length) if turn % 2 == 0 else reversed(range(length))


def play(
    method: Method,
    variables: Mapping[str, Any],
    video: Video,
    repeat: int,
    *,
    size: int | None = None,
    progress: Progress | None = None,
) -> Figures:
    """Segments a repeated video and scores each frame as it comes.

    Args:
      method: With its norms folded, else they are for each video.
      variables: Its weights.
      video: Of three or more frames.
      repeat: How often it is played.
      size: Shorter side to compute at.
      progress: Counts the frames.

    Raises:
      InputError: The method takes what cannot be made of frames alone.
    """
    inputs = _Inputs(method, video, size)
    length, before = repeat * video.length, compiled_programs()
    started = time.perf_counter()
    segment = VideoSegmenter(method, variables, size=size, length=length)
    for index in range(_REHEARSED):
        frame = video.read(index)[0]
        given = None if index else video.given
        segment(frame, given, inputs=inputs(index, frame, given)).result()
    compile_s = time.perf_counter() - started
    # What the rehearsal holds must be gone before memory is watched.
    segment = VideoSegmenter(method, variables, size=size, length=length)
    gauge, seconds = _Gauge(), 0.0
    total = np.zeros((2, len(video.objects)))
    for number, index in enumerate(play_order(video.length, repeat)):
        frame, labels = video.read(index)
        given = None if number else video.given
        own = inputs(index, frame, given)
        started = time.perf_counter()
        found = segment(frame, given, inputs=own).result().labels
        if number:
            seconds += time.perf_counter() - started
        if 0 < number < length - 1:
            total += score_frame(found, labels, video.objects)
        if progress is not None:
            progress.update()
    j, f = (total / (length - 2)).tolist()
    state = sum(x.nbytes for x in jax.tree.leaves(segment.views))
    return Figures(
        frames=length,
        j=j,
        f=f,
        seconds=seconds,
        compile_s=compile_s,
        state_mb=state / 1e6,
        peak_mb=gauge.peak_bytes() / 1e6,
        programs=compiled_programs() - before,
    )


class _Inputs:
    """What a method takes with the frames of a video, made of them."""

    def __init__(self, method: Method, video: Video, size: int | None) -> None:
        reader = open_inputs(method.inputs, of_frames(method.inputs))
        names = [f"{time:05d}" for time in range(video.length)]
        height, width = video.given.shape
        stored = height, width
        self._size = working_size(height, width, size)
        self._video: VideoInputs | None = None
        if reader is not None:
            self._video = reader.video(video.name, names, stored)

    def __call__(self, index: int, frame: np.ndarray, given: Any) -> Any:
        """Those of a frame; None where labels are given, or nothing is taken."""
        if self._video is None or given is not None:
            return None
        return self._video.read(index, frame, self._size)


class _Gauge:
    """Most memory in use since it was made."""

    def __init__(self) -> None:
        # Freed memory that the allocator keeps would be grown into unseen.
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._before = process_bytes("VmRSS")
        try:
            # Linux forgets the process's peak up to now.
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self._before = process_bytes("VmHWM")

    def peak_bytes(self) -> int:
        """What the device tells, else by how much the process has grown at most."""
        of_device = device_peak_bytes()
        if of_device is not None:
            return of_device
        return max(0, process_bytes("VmHWM") - self._before)


def peak_kind() -> str:
    """What `peak_mb` is here."""
    if device_peak_bytes() is not None:
        return "most memory in use on the device since the process began"
    return "most memory by which the process grew while the video ran"
