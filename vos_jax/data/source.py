"""What training clips are drawn from: videos and still images with labels.

A source knows where its files are, reads any frame of any video when asked, and holds
no pixels. NumPy only: TensorFlow begins with the pipeline.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from vos_jax.errors import InputError


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


class FrameName(NamedTuple):
    """What a frame is called in other files about its data set, such as proposals.

    Attributes:
      sequence: Name of its video; None for a still image.
      frame: Its own name, without extension; of a still image with its folders.
    """

    sequence: str | None
    frame: str


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


@runtime_checkable
class NamedSource(Protocol):
    """A source whose frames have names of their own, such as those of files."""

    def frame_name(self, video: int, time: int) -> FrameName:
        """Names the labelled frame `time` of the video of that index."""
        ...


def frame_name(source: Source, video: int, time: int) -> FrameName:
    """Names a frame of any source.

    Where a source has no names for frames, a video of one frame is a still image, and
    those of others are numbered from 0, `00000`, as for video files.

    Raises:
      InputError: The source has no names, and has not every frame of its videos.
    """
    if isinstance(source, NamedSource):
        return source.frame_name(video, time)
    listed = source.videos[video]
    if listed.length == 1:
        return FrameName(None, listed.name)
    if listed.stride != 1:
        raise InputError(
            f"frames of {listed.name} have no names, only every {listed.stride}th is"
            " there, and so nothing else can be found by them; train from the files of"
            " the data set"
        )
    return FrameName(listed.name, f"{time:05d}")
