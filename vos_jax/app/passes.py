"""Passes through time: which masks of the tracker still follow from what is drawn.

A mask is a pure function of the pass and of all that was drawn in the frames that the
pass has come by. That history has a digest, its *chain*; it changes where something is
drawn or ends. Masks lie in a folder for each chain: after a correction those of before
are of another chain and stay, so that to undo it is to find them again, bit by bit.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.app.drawn import NO_MAP, Drawing
from vos_jax.errors import InputError
from vos_jax.media.atomic import write_error

FORWARD, BACKWARD = "forward", "backward"
"""In which direction a pass goes."""


class Pass(NamedTuple):
    """One way of the tracker through the video.

    Attributes:
      direction: Forward or backward.
      start: Index of the frame that it began at.
      base: Digest of the masks that were shown there, if there were others than what
        was drawn there.
      ids: Objects of these masks.
      model: Identity of what computes.
    """

    direction: str
    start: int
    base: str
    ids: tuple[int, ...]
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
      ids: Objects that it gives; those without a pixel are known by then.
      gone: Objects that end before that frame is segmented.
      chain: Digest of the history from here on.
    """

    labels: str | None
    ids: tuple[int, ...]
    gone: frozenset[int]
    chain: str


class Plan:
    """What a pass meets on its way, given all that is drawn at present."""

    def __init__(self, way: Pass, drawing: Drawing) -> None:
        """Follows the pass through what is drawn."""
        self._positions: list[int] = []
        self._events: list[Event] = []
        self._follow(way, drawing)

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

    def _follow(self, way: Pass, drawing: Drawing) -> None:
        known: set[int] = set()
        chain = digest(way.model, way.direction, way.start, way.base, way.ids)
        for frame in _moments(way, drawing):
            position = way.position(frame)
            absent = drawing.absent(frame)
            gone = frozenset(known & absent)
            known -= gone
            drawn = drawing.frames.get(frame)
            labels = None if drawn is None else drawn.labels
            ids = () if drawn is None else drawn.ids
            if position == 0:
                labels = NO_MAP if drawn is None else drawn.labels
                known |= set(way.ids) - absent
            known |= set(ids)
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


class Made(NamedTuple):
    """A mask that was made: by which pass, in which chain."""

    number: int
    chain: str


class Log:
    """Which masks were made, in their order: a file that only grows.

    A mask is written first and noted then. What a killed process has half written is
    the last line and is left out.

    Attributes:
      passes: By number.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there.

        Raises:
          InputError: The file cannot be read or written.
        """
        self.passes: list[Pass] = []
        self._made: dict[int, list[Made]] = {}
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            for line in whole.splitlines():
                self._take(json.loads(line))
            if whole != text:
                path.write_text(whole, encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}: damaged or not readable; move it away to begin without the"
                " tracked masks"
            ) from error
        self._path = path

    def number(self, way: Pass) -> int:
        """The number of a pass, which is noted if it is new."""
        if way not in self.passes:
            self._write(["pass", *way])
        return self.passes.index(way)

    def add(self, frame: int, made: Made) -> None:
        """Notes that the mask of a frame was made."""
        if self.made(frame)[-1:] != (made,):
            self._write([frame, *made])

    def made(self, frame: int) -> Sequence[Made]:
        """The masks of a frame, the latest last."""
        return tuple(self._made.get(frame, ()))

    def frames(self) -> Sequence[int]:
        """Frames of which there is any mask."""
        return tuple(self._made)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, line: list[Any]) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error) from error
        self._take(json.loads(json.dumps(line)))

    def _take(self, line: list[Any]) -> None:
        if line[0] == "pass":
            direction, start, base, ids, model = line[1:]
            self.passes.append(Pass(direction, start, base, tuple(ids), model))
            return
        frame, number, chain = line
        self.passes[number]
        made = self._made.setdefault(frame, [])
        # Made once more: it is the latest now.
        if (again := Made(number, chain)) in made:
            made.remove(again)
        made.append(again)
