"""A whole video: frames in, label maps out."""

from collections.abc import Iterable, Iterator, Mapping, Reversible, Sized
from itertools import islice
from typing import Any

import jax
import numpy as np

from vos_jax.errors import InputError
from vos_jax.inference.checks import no_start
from vos_jax.inference.frame_inputs import Backwards, Given, read_ahead
from vos_jax.inference.segmenter import FrameResult, Pending, VideoSegmenter
from vos_jax.methods.base import Method

Masks = np.ndarray | Mapping[int, np.ndarray]
"""Label map `[H, W]` of the first frame, or maps by frame index."""


def stream_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: Iterable[np.ndarray],
    first_labels: Masks,
    *,
    inputs: Given | None = None,
    size: int | None = None,
    **options: Any,
) -> Iterator[FrameResult]:
    """Segments frames as they come; yields each frame's result one frame later.

    Args:
      method: From `create`.
      variables: Its weights.
      frames: uint8 `[H, W, 3]` each, any iterable, of any length.
      first_labels: `[H, W]`, or a mapping of frame index to labels; index 0 must be
        in it.
      inputs: What else the method takes, by the index of the frame: what a reader of
        `method.inputs` finds for the video, or a sequence. Of the first frame nothing
        is read. A thread reads these, and so takes a few frames ahead.
      size: Shorter side to compute at; None computes at the frames' own.
      **options: Of `VideoSegmenter`.
    """
    given = _by_index(first_labels, 0)
    segmenter = VideoSegmenter(method, variables, size=size, **options)
    previous: Pending | None = None
    for time, (frame, own) in enumerate(read_ahead(frames, inputs, size)):
        pending = segmenter(frame, given.get(time), inputs=own)
        if previous is not None:
            yield previous.result()
        previous = pending
    if previous is not None:
        yield previous.result()


def segment_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: Iterable[np.ndarray],
    first_labels: Masks,
    *,
    reverse: bool = False,
    chunk: int | None = None,
    inputs: Given | None = None,
    **options: Any,
) -> np.ndarray:
    """Segments a whole video.

    Args:
      method: From `create`.
      variables: Its weights.
      frames: uint8 `[H, W, 3]` each: an array `[T, H, W, 3]`, a sequence, or any
        iterable.
      first_labels: `[H, W]` of the first frame (with `reverse` the last), or a
        mapping of frame index to labels for objects and corrections that come later.
      reverse: Go from the last frame to the first.
      chunk: Frames of an array to segment in one compiled `scan`; by default 8 on an
        accelerator and 1, which is faster there, on a CPU.
      inputs: What else the method takes, as for `stream_video`, by the index of the
        frame in the video, with `reverse`, too.
      **options: `size`, `flip`, as for `VideoSegmenter`.

    Returns:
      uint8 labels `[T, H, W]`, in the order of the video.

    Raises:
      InputError: No frames, no labels for the frame to begin with, sizes differ, or
        inputs are missing, not taken or do not fit.
    """
    if reverse:
        backwards = _backwards(frames)
        last = len(backwards) - 1
        given = _by_index(first_labels, last)
        given = {last - index: labels for index, labels in given.items()}
        turned = None if inputs is None else Backwards(inputs, len(backwards))
        return segment_video(
            *(method, variables, backwards, given),
            chunk=chunk,
            inputs=turned,
            **options,
        )[::-1]
    given = _by_index(first_labels, 0)
    if isinstance(frames, Sized):
        options.setdefault("length", len(frames))
    chunk = _default_chunk() if chunk is None else chunk
    if isinstance(frames, np.ndarray) and frames.ndim == 4 and chunk > 1:
        labels = _scan_video(method, variables, frames, given, chunk, inputs, options)
    else:
        results = stream_video(
            method, variables, frames, given, inputs=inputs, **options
        )
        labels = [result.labels for result in results]
    if not len(labels):
        raise InputError("frames: none given")
    return np.stack(labels)


def _by_index(labels: Masks, first: int) -> Mapping[int, np.ndarray]:
    return labels if isinstance(labels, Mapping) else {first: labels}


class _Backwards:
    """A sequence from its end, without copying it."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(reversed(self._frames))


def _backwards(frames: Iterable[np.ndarray]) -> Any:
    if isinstance(frames, np.ndarray):
        return frames[::-1]
    has_end = isinstance(frames, Sized) and isinstance(frames, Reversible)
    return _Backwards(frames if has_end else list(frames))


def _default_chunk() -> int:
    return 1 if jax.default_backend() == "cpu" else 8


def _scan_video(
    method: Method,
    variables: Mapping[str, Any],
    frames: np.ndarray,
    given: Mapping[int, np.ndarray],
    chunk: int,
    inputs: Given | None,
    options: Mapping[str, Any],
) -> list[np.ndarray]:
    """Whole chunks by `scan`; frames with labels and the last few one by one."""
    if len(frames) and 0 not in given:
        raise no_start()
    segmenter = VideoSegmenter(method, variables, **options)
    pairs = read_ahead(frames, inputs, options.get("size"))
    labels: list[Any] = []
    index = 0
    while index < len(frames):
        stop = index + chunk
        if stop <= len(frames) and not any(index <= i < stop for i in given):
            own = [each for _, each in islice(pairs, chunk)]
            together = jax.tree.map(lambda *x: np.stack(x), *own)
            labels.extend(segmenter.many(frames[index:stop], together))
            index = stop
        else:
            frame, own = next(pairs)
            labels.append(segmenter(frame, given.get(index), inputs=own).labels)
            index += 1
    return [np.asarray(x) for x in labels]
