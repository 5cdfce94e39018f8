"""States of passes, kept so that a correction need not begin at the start.

They are copies on the host: the tracker gives its own away to the next step.
"""

import threading
from typing import NamedTuple

from vos_jax.app.passes import Pass, Plan
from vos_jax.inference.resume import Saved


class _Key(NamedTuple):
    way: Pass
    position: int
    chain: str


class _Kept(NamedTuple):
    saved: Saved
    size: int


class KeptStates:
    """States by pass and position, of at most so many bytes together.

    When there is no more room, the state goes whose neighbours are nearest, so that
    what stays is spread over the passes.
    """

    def __init__(self, limit: int) -> None:
        """Takes the limit in bytes; a state that is larger alone is never kept."""
        self.limit = limit
        self._kept: dict[_Key, _Kept] = {}
        self._lock = threading.Lock()

    def keep(self, way: Pass, position: int, chain: str, saved: Saved) -> None:
        """Keeps the state after the frame at a position."""
        size = sum(leaf.nbytes for leaf in saved.leaves)
        with self._lock:
            self._kept[_Key(way, position, chain)] = _Kept(saved, size)
            while self.bytes > self.limit:
                del self._kept[self._least_missed()]

    def nearest(self, way: Pass, plan: Plan, position: int) -> Saved | None:
        """The last state at most at a position that follows from what is drawn.

        States that do not follow any more stay: undo brings them back.
        """
        with self._lock:
            ours = (
                (key.position, kept.saved)
                for key, kept in self._kept.items()
                if key.way == way
                and key.position <= position
                and plan.chain(key.position) == key.chain
            )
            return max(ours, key=lambda each: each[0], default=(0, None))[1]

    @property
    def bytes(self) -> int:
        """Of all states together."""
        return sum(kept.size for kept in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def _least_missed(self) -> _Key:
        keys = sorted(self._kept)
        newest = next(reversed(self._kept))
        before = [None, *keys[:-1]]
        after = [*keys[1:], None]
        gaps = {
            key: _gap(low, key, high)
            for low, key, high in zip(before, keys, after, strict=True)
            if key != newest
        }
        # Of equals the one that was kept first.
        order = list(self._kept)
        return min(gaps, key=lambda key: (gaps[key], order.index(key)), default=newest)


def _gap(low: _Key | None, key: _Key, high: _Key | None) -> int:
    """Frames to compute anew from the state before, where this one is missing.

    The last state of a pass is where the tracker would go on: its gap is the whole
    way to the one before it, once more.
    """
    begin = low.position if low is not None and low.way == key.way else 0
    end = key.position
    if high is not None and high.way == key.way:
        return high.position - begin
    return 2 * (end - begin) + 1
