"""What a network takes with every frame beside the frame, and who reads it.

A reader knows frames by their names and finds what belongs to each; every data set of a
training run has its own. What comes with a frame of a clip is moved exactly as the
frame's labels are.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from vos_jax.data.augmentation import Geometry
from vos_jax.data.source import Source, frame_name
from vos_jax.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


class FrameInputs(Protocol):
    """What comes with the frames of one video, to segment it."""

    def read(self, index: int, frame: np.ndarray, size: Size) -> Any:
        """Reads what comes with a frame.

        Args:
          index: Of the frame, in the names that the reader was given.
          frame: uint8 `[H, W, 3]`, as it is stored.
          size: To compute at; what is returned fits a frame of that size.

        Returns:
          A NamedTuple of arrays whose shapes depend on `size` alone.

        Raises:
          InputError: It cannot be read.
        """
        ...


class VideoInputs(FrameInputs, Protocol):
    """What comes with the frames of one video, for clips of it as well."""

    def warp(
        self, index: int, frame: np.ndarray, geometry: Geometry, size: Size
    ) -> Any:
        """Reads what comes with a frame of a clip, moved as that is.

        Args:
          index: Of the frame, in the names that the reader was given.
          frame: uint8 `[H, W, 3]`, as it is stored.
          geometry: Of the result.
          size: Of the result.

        Returns:
          As `read`.

        Raises:
          InputError: It cannot be read.
        """
        ...


class InputReader(Protocol):
    """Where they come from, files, say, or a function of the frames.

    Several threads may ask at once.
    """

    @property
    def identity(self) -> str:
        """Says what is read, down to its content: another one, another result."""
        ...

    def video(
        self,
        sequence: str | None,
        names: Sequence[str],
        size: Size | None,
        *,
        folder: str | None = None,
    ) -> VideoInputs:
        """Finds the inputs of a video before anything is computed.

        Args:
          sequence: Its name in a data set; None for a video by itself.
          names: Of its frames, without extensions. The first needs no inputs.
          size: Of the frames as they are stored; None where names alone are looked at,
            and nothing is read.
          folder: What holds a video by itself is called so, which may tell its sequence
            where the names of its frames do not.

        Raises:
          InputError: A frame lacks them, or they are for frames of another size.
        """
        ...

    def empty(self, size: Size) -> Any:
        """Inputs that say nothing, with the shapes and types of all of that size."""
        ...


class ClipInputs:
    """The readers of the data sets of a training run.

    Attributes:
      identity: Of all readers: others, other clips.
    """

    def __init__(self, parts: Sequence[tuple[Source, InputReader]]) -> None:
        """Takes every data set with its reader.

        Args:
          parts: In the order in which a `ConcatSource` has them; one alone for a source
            that is not joined.

        Raises:
          InputError: There is none.
        """
        if not parts:
            raise InputError("no data sets to read inputs for; give at least one")
        self._parts = tuple(parts)
        self._ends = list(accumulate(len(source.videos) for source, _ in parts))
        self.identity = ", ".join(dict.fromkeys(reader.identity for _, reader in parts))

    def clip(self, video: int, times: Sequence[int], size: Size | None) -> VideoInputs:
        """Finds the inputs of the frames `times` of a video, all but the first.

        Args:
          video: Its index among the videos of all data sets.
          times: Of its labelled frames.
          size: As for the reader, and None likewise.

        Raises:
          InputError: As the reader.
        """
        which = bisect_right(self._ends, video)
        first = self._ends[which - 1] if which else 0
        source, reader = self._parts[which]
        names = [frame_name(source, video - first, time) for time in times]
        return reader.video(names[0].sequence, [each.frame for each in names], size)

    def empty(self, size: Size) -> Any:
        """As the reader's; all of them make inputs of one kind."""
        return self._parts[0][1].empty(size)

    def count(self) -> int:
        """The number of videos of all data sets."""
        return self._ends[-1]


def stacked(inputs: Sequence[Any]) -> Any:
    """Joins NamedTuples of arrays along a new first axis."""
    first = inputs[0]
    return type(first)(*(np.stack(leaves) for leaves in zip(*inputs, strict=True)))
