"""Frames of a video together with what else a method takes with each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from vos_jax.data.clip_inputs import FrameInputs, Size
from vos_jax.errors import InputError
from vos_jax.inference.checks import check_frame
from vos_jax.inference.segmenter import working_size
from vos_jax.media import prefetch

_AHEAD = 4

Given = FrameInputs | Sequence[Any]
"""What comes with the frames of a video: read frame by frame, or all at hand."""


def with_inputs(
    frames: Iterable[np.ndarray],
    inputs: Given | None,
    size: int | None,
    *,
    begin: int = 0,
) -> Iterator[tuple[np.ndarray, Any]]:
    """Pairs each frame with what comes with it, None for the first of the video.

    Args:
      frames: In the order of segmentation.
      inputs: By the index in that order; None for a method that takes nothing.
      size: Shorter side to compute at; None for the frames' own.
      begin: Index of the first of `frames`.

    Raises:
      InputError: Inputs cannot be read, or are too few.
    """
    for index, frame in enumerate(frames, begin):
        if inputs is None or index == 0:
            yield frame, None
        else:
            check_frame(frame, f"frame {index}")
            height, width, _ = frame.shape
            own = working_size(height, width, size)
            yield frame, read_inputs(inputs, index, frame, own)


def read_ahead(
    frames: Iterable[np.ndarray], inputs: Given | None, size: int | None
) -> Iterator[tuple[np.ndarray, Any]]:
    """`with_inputs`; a thread reads what comes with a few frames ahead.

    Without inputs there is no thread, and a frame is taken when it is asked for.
    """
    pairs = with_inputs(frames, inputs, size)
    return pairs if inputs is None else prefetch(pairs, _AHEAD)


def read_inputs(inputs: Given, index: int, frame: np.ndarray, size: Size) -> Any:
    """What comes with the frame of an index.

    Raises:
      InputError: It cannot be read, or there is none.
    """
    if not isinstance(inputs, Sequence):
        return inputs.read(index, frame, size)
    if index >= len(inputs):
        raise InputError(
            f"inputs: {len(inputs)} given, none for frame {index}; give one for every"
            " frame, anything for the first"
        )
    return inputs[index]


class Backwards:
    """Inputs of a video that is segmented from its end."""

    def __init__(self, inputs: Given, length: int) -> None:
        self._inputs, self._last = inputs, length - 1

    def read(self, index: int, frame: np.ndarray, size: Size) -> Any:
        """Those of the frame that is so far from the end."""
        return read_inputs(self._inputs, self._last - index, frame, size)
