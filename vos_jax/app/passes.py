"""Passes through time: which masks of the tracker still follow from what is drawn.

A mask is a pure function of the pass and of all that was drawn in the frames that the
pass has come by. That history has a digest, its *chain*; it changes where something is
drawn or ends. Masks lie in a folder for each chain: after a correction those of before
are of another chain and stay, so that to undo it is to find them again, bit by bit.
"""

import hashlib
import json
from bisect import bisect_right
from typing import Any, NamedTuple

from vos_jax.app.drawn import NO_MAP, Absence, Drawing

FORWARD, BACKWARD = "forward", "backward"
"""In which direction a pass goes."""


class Made(NamedTuple):
    """A mask that was made: by the pass of which number, in which chain."""

    number: int
    chain: str


class Pass(NamedTuple):
    """One way of the tracker through the video.

    Attributes:
      direction: Forward or backward.
      start: Index of the frame that it began at.
      base: Digest of the masks that were shown there, if there were others than what
        was drawn there.
      ids: Objects of these masks.
      source: The mask that they are of, if that followed from what was drawn; what did
        not follow was taken as it was.
      model: Identity of what computes.
    """

    direction: str
    start: int
    base: str
    ids: tuple[int, ...]
    source: Made | None
    model: str

    def position(self, frame: int) -> int:
        """How many frames after the start; negative before it."""
        return frame - self.start if self.direction == FORWARD else self.start - frame

    def frame(self, position: int) -> int:
        """The frame at a position."""
        forward = self.direction == FORWARD
        return self.start + position if forward else self.start - position


class Event(NamedTuple):
    """What a pass meets at a position.

    Attributes:
      labels: Digest of the map to give; None for nothing.
      ids: Objects that it gives.
      gone: Objects that end before that frame is segmented.
      chain: Digest of the history from here on.
    """

    labels: str | None
    ids: tuple[int, ...]
    gone: frozenset[int]
    chain: str


class Plan:
    """What a pass meets on its way, given all that is drawn at present."""

    def __init__(self, way: Pass, drawing: Drawing, absence: Absence) -> None:
        """Follows the pass through what is drawn."""
        self._positions: list[int] = []
        self._events: list[Event] = []
        self._follow(way, drawing, absence)

    def event(self, position: int) -> Event | None:
        """What is met at a position itself."""
        at = bisect_right(self._positions, position) - 1
        if at < 0 or self._positions[at] != position:
            return None
        return self._events[at]

    def chain(self, position: int) -> str | None:
        """The chain at a position; None before the start."""
        at = bisect_right(self._positions, position) - 1
        return None if at < 0 else self._events[at].chain

    def corrections(self, position: int) -> int:
        """How many frames after the start and before a position bring masks."""
        pairs = zip(self._positions, self._events, strict=True)
        return sum(0 < at < position and x.labels is not None for at, x in pairs)

    def _follow(self, way: Pass, drawing: Drawing, absence: Absence) -> None:
        # The start is an event whether something is drawn there or not.
        known = set(way.ids) - absence.of(way.ids, way.start)
        chain = digest(*way[:4], way.model, sorted(known))
        for frame in _moments(way, drawing):
            position = way.position(frame)
            gone = absence.of(known, frame) if position else frozenset()
            drawn = drawing.frames.get(frame)
            labels, ids = (None, ()) if drawn is None else (drawn.labels, drawn.ids)
            if position == 0 and labels is None:
                labels = NO_MAP
            known = known - gone | set(ids)
            if labels is None and not gone:
                continue
            chain = digest(chain, position, labels, ids, sorted(gone))
            self._positions.append(position)
            self._events.append(Event(labels, ids, gone, chain))


def _moments(way: Pass, drawing: Drawing) -> list[int]:
    """Frames at which a pass may meet something, in its order.

    An object that has ended is gone from that frame on: a backward pass meets that in
    the frame before the one in which it was drawn again.
    """
    ends = {at for at, _ in drawing.ended}
    again = {at - 1 for at in drawing.frames} if drawing.ended else set()
    frames = {way.start, *drawing.frames, *ends, *again}
    return sorted((x for x in frames if way.position(x) >= 0), key=way.position)


def digest(*parts: Any) -> str:
    """A few letters that are others for other parts, which JSON can have."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
