"""What training clips are drawn from: videos and still images with labels.

A source knows where its files are, reads any frame of any video when asked, and holds
no pixels. NumPy only: TensorFlow begins with the pipeline.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Video(NamedTuple):
    """A video, or a still image as a video of one frame, as its source lists it.

    Attributes:
      name: Unique within the source.
      length: Number of frames that have labels.
      starts: First labelled frame, an index below `length`, of each object id where the
        data set says so; None where only the masks tell.
      stride: Video frames from one labelled frame to the next.
    """

    name: str
    length: int
    starts: Mapping[int, int] | None = None
    stride: int = 1


class Labelled(NamedTuple):
    """Frames and their labels, as stored.

    Attributes:
      frames: uint8 `[T, H, W, 3]`, RGB.
      labels: uint8 `[T, H, W]`; the data set's own ids, 0 background, 255 ignored.
    """

    frames: np.ndarray
    labels: np.ndarray


class Source(Protocol):
    """A data set for training; picklable, for processes that read in parallel."""

    @property
    def videos(self) -> Sequence[Video]:
        """All videos, always in the same order."""
        ...

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads the labelled frames `times` of the video of that index.

        Raises:
          InputError: A file is missing or damaged; names it.
        """
        ...
