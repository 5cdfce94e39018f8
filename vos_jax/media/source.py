"""What every source of frames can do, whatever it reads."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Protocol, TypeVar

import numpy as np

REVERSE_BLOCK = 32
"""Frames held at once when a file that is decoded forwards is read backwards."""

_T = TypeVar("_T")


class FrameSource(Protocol):
    """Frames `uint8 [H, W, 3]`, RGB, upright; every iteration starts anew.

    Attributes:
      size: (height, width) of every frame.
      names: One name for each frame: file stems of a folder, `%05d` of a video.
      fps: Frames per second; None for a folder or where the video does not say.
    """

    size: tuple[int, int]
    names: list[str]
    fps: float | None

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it."""
        ...

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it."""
        ...

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def __reversed__(self) -> Iterator[np.ndarray]:
        return self.reversed()


def in_reverse(
    read: Callable[[int, int], Generator[_T, None, None]],
    stop: int,
    block_start: Callable[[int], int] = lambda stop: max(0, stop - REVERSE_BLOCK),
) -> Iterator[_T]:
    """Yields what comes before `stop`, the last first, read forwards in blocks.

    Args:
      read: Yields what is in [begin, stop).
      stop: Where to begin.
      block_start: Where the block begins that ends before a position.
    """
    while stop > 0:
        begin = block_start(stop)
        with closing(read(begin, stop)) as items:
            block = list(items)
        while block:
            yield block.pop()
        stop = begin
