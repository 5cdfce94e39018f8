"""Any frame of a video by its index, with few of them in memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from vos_jax.media import FrameSource

# Bytes of decoded frames that are kept.
_BUDGET = 256 << 20
# Frames that are rather decoded on the way than looked for anew.
_NEAR = 48
# Frames before the one that is asked for, which who goes backwards wants next.
_BEHIND = 24


class FrameReader:
    """Reads single frames of a source, for several threads.

    A video is decoded from a key frame on, so an iterator stays open where the last
    frame was, and what is decoded on the way to a frame is kept for a while.
    """

    def __init__(self, source: FrameSource) -> None:
        """Takes a source; nothing is read yet."""
        self._source = source
        height, width = source.size
        self._room = max(_BEHIND + 1, min(256, _BUDGET // (3 * height * width)))
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._ahead: Iterator[np.ndarray] = iter(())
        self._next = self._latest = -1

    def read(self, index: int) -> np.ndarray:
        """The frame of an index, uint8 `[H, W, 3]`.

        Raises:
          InputError: It cannot be decoded.
        """
        with self._lock:
            if index not in self._frames:
                self._decode(index)
            self._frames.move_to_end(index)
            self._latest = index
            return self._frames[index]

    def _decode(self, index: int) -> None:
        if not self._next <= index <= self._next + _NEAR or self._next < 0:
            goes_back = 0 < self._latest - index <= _NEAR
            self._next = max(0, index - _BEHIND * goes_back)
            self._ahead = self._source.frames(self._next)
        try:
            while self._next <= index:
                self._frames[self._next] = next(self._ahead)
                self._next += 1
        except BaseException:
            # The iterator has ended with its error: the next frame needs a new one.
            self._next = -1
            raise
        while len(self._frames) > self._room:
            self._frames.popitem(last=False)
