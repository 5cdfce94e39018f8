"""What a person has said of a video: objects, masks drawn in frames, ends, and undo.

All of it is one immutable value, so that undo is to go back to an earlier one. Label
maps are named by their digest and lie in a `Maps`.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from vos_jax.errors import InputError
from vos_jax.inference.checks import objects_in
from vos_jax.media import overlay_colours, read_labels, write_labels

_T = TypeVar("_T")

NO_MAP = ""
"""The digest of a label map without a pixel."""

_DIGEST = re.compile("[0-9a-f]{20}")


class Object(NamedTuple):
    """An object as people call it.

    Attributes:
      id: 1 to 254, its label in masks.
      name: For people.
      colour: `#rrggbb`, of its masks on the page.
    """

    id: int
    name: str
    colour: str


class Drawn(NamedTuple):
    """What was drawn in one frame.

    Attributes:
      labels: Digest of the label map, which has the objects of `ids` alone.
      ids: Objects whose mask in this frame is given by it; one without a pixel there
        is not in this frame.
      seen: Those of them that have a pixel.
    """

    labels: str
    ids: tuple[int, ...]
    seen: tuple[int, ...]

    @classmethod
    def of(cls, labels: np.ndarray, ids: tuple[int, ...], maps: "Maps") -> Self:
        """What is drawn of some objects in a label map `[H, W]`, uint8."""
        given = np.where(np.isin(labels, ids), labels, np.uint8(0))
        return cls(maps.put(given), ids, tuple(objects_in(given)))


class Drawing(NamedTuple):
    """All that a person has said.

    Attributes:
      objects: By id.
      frames: What was drawn, by the index of the frame.
      ended: Frame and object: the object is gone from that frame on, until it is drawn
        in a later one.
    """

    objects: Mapping[int, Object] = {}
    frames: Mapping[int, Drawn] = {}
    ended: frozenset[tuple[int, int]] = frozenset()

    def with_drawn(self, frame: int, drawn: Drawn | None) -> Self:
        """With what was drawn in a frame changed, or taken back."""
        frames = {**self.frames}
        if drawn is None or not drawn.ids:
            frames.pop(frame, None)
            return self._replace(frames=frames)
        frames[frame] = drawn
        ended = self.ended - frozenset((frame, id) for id in drawn.seen)
        return self._replace(frames=frames, ended=ended)

    def with_object(self, new: Object) -> Self:
        """With an object more, or one changed."""
        return self._replace(objects={**self.objects, new.id: new})

    def with_end(self, frame: int, id: int, *, is_end: bool) -> Self:
        """With the end of an object in a frame, or without it."""
        changed = self.ended | {(frame, id)} if is_end else self.ended - {(frame, id)}
        return self._replace(ended=changed)

    def with_change(self, change: "Change") -> Self:
        """After a change."""
        objects, frames = {**self.objects}, {**self.frames}
        for id, new in change.objects.items():
            objects.pop(id, None)
            if new is not None:
                objects[id] = new
        for at, drawn in change.frames.items():
            frames.pop(at, None)
            if drawn is not None:
                frames[at] = drawn
        ended = self.ended - change.begun | change.ended
        return self._replace(objects=objects, frames=frames, ended=ended)


class Change(NamedTuple):
    """How one drawing becomes another.

    Attributes:
      objects: Those that differ, as they are afterwards; None for one that is gone.
      frames: Likewise what is drawn.
      ended: Ends that are new.
      begun: Ends that are none any more.
    """

    objects: Mapping[int, Object | None]
    frames: Mapping[int, Drawn | None]
    ended: frozenset[tuple[int, int]]
    begun: frozenset[tuple[int, int]]

    @classmethod
    def between(cls, before: Drawing, after: Drawing) -> Self:
        """What makes `after` of `before`."""
        return cls(
            _differing(before.objects, after.objects),
            _differing(before.frames, after.frames),
            after.ended - before.ended,
            before.ended - after.ended,
        )

    def as_json(self) -> list[Any]:
        """What `from_json` takes."""
        return [
            [[id, x and [x.name, x.colour]] for id, x in self.objects.items()],
            [[at, x and [x.labels, x.ids, x.seen]] for at, x in self.frames.items()],
            sorted(self.ended),
            sorted(self.begun),
        ]

    @classmethod
    def from_json(cls, read: list[Any]) -> Self:
        """The change that was written.

        Raises:
          Exception: It is none.
        """
        objects, frames, ended, begun = read
        return cls(
            {int(id): x and Object(int(id), *map(str, x)) for id, x in objects},
            {int(at): x and _drawn(*x) for at, x in frames},
            *(frozenset((int(at), int(id)) for at, id in x) for x in (ended, begun)),
        )


def _drawn(labels: str, ids: list[int], seen: list[int]) -> Drawn:
    return Drawn(str(labels), tuple(ids), tuple(seen))


def _differing(before: Mapping[int, _T], after: Mapping[int, _T]) -> dict[int, Any]:
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return {k: after.get(k) for k in keys}


class Absence:
    """Which objects are not in a frame, whatever was tracked there."""

    def __init__(self, drawing: Drawing) -> None:
        """Sorts what is drawn by object."""
        self._objects = drawing.objects
        self._ends: dict[int, list[int]] = {}
        self._seen: dict[int, list[int]] = {id: [] for _, id in drawing.ended}
        for at, id in sorted(drawing.ended):
            self._ends.setdefault(id, []).append(at)
        for at in sorted(drawing.frames):
            for id in drawing.frames[at].seen:
                if id in self._seen:
                    self._seen[id].append(at)

    def ended(self, frame: int) -> frozenset[int]:
        """Objects that have ended before a frame or in it, and were not drawn since."""
        return frozenset(
            id
            for id, ends in self._ends.items()
            if _latest(ends, frame) > _latest(self._seen[id], frame)
        )

    def of(self, ids: Collection[int], frame: int) -> frozenset[int]:
        """Those of some objects that are not there: ended, or deleted altogether."""
        return self.ended(frame).intersection(ids) | set(ids) - self._objects.keys()


def _latest(frames: list[int], frame: int) -> int:
    """The last of sorted frames that is not after a frame; -1 if there is none."""
    at = bisect_right(frames, frame)
    return frames[at - 1] if at else -1


class Recipe(NamedTuple):
    """What the mask of a frame is made of.

    Attributes:
      chain: Of the tracker's mask, if there is one.
      absent: Objects to leave out of that.
      drawn: What comes over it, to the pixel.
    """

    chain: str | None
    absent: tuple[int, ...] = ()
    drawn: Drawn | None = None


class Maps:
    """Label maps in files that are called by what they hold, and are never changed."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        """Takes a folder, which exists.

        Args:
          folder: Of the files.
          size: Height and width of all maps.
        """
        self._folder, self._size = folder, size

    def put(self, labels: np.ndarray) -> str:
        """Stores a label map `[H, W]`, uint8; its digest.

        Raises:
          InputError: It cannot be written.
        """
        if not labels.any():
            return NO_MAP
        digest = hashlib.sha256(labels.tobytes()).hexdigest()[:20]
        path = self._path(digest)
        if not path.exists():
            write_labels(path, labels)
        return digest

    def get(self, digest: str) -> np.ndarray:
        """The label map of a digest, `[H, W]`, uint8.

        Raises:
          InputError: It is gone or damaged.
        """
        if digest == NO_MAP:
            return np.zeros(self._size, np.uint8)
        return read_labels(self._path(digest))

    def keep(self, digests: set[str]) -> None:
        """Removes all maps but some."""
        for path in self._folder.glob("*.png"):
            if _DIGEST.fullmatch(path.stem) and path.stem not in digests:
                path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.png"


def merged(under: np.ndarray, given: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    """Labels with those of some objects replaced by what is given of them."""
    labels = np.where(np.isin(under, ids), np.uint8(0), under)
    return np.where(given > 0, given, labels)


def without(labels: np.ndarray, ids: Collection[int]) -> np.ndarray:
    """Labels with some objects left out."""
    return np.where(np.isin(labels, list(ids)), np.uint8(0), labels)


def difference(before: np.ndarray, after: np.ndarray) -> tuple[int, ...]:
    """Objects whose masks are not the same in two label maps."""
    pixels = before != after
    touched = np.union1d(before[pixels], after[pixels])
    return tuple(int(id) for id in touched if id)


def default_object(id: int) -> Object:
    """An object of which nothing is said but its number."""
    red, green, blue = overlay_colours()[id]
    return Object(id, f"object {id}", f"#{red:02x}{green:02x}{blue:02x}")


def printable(text: str) -> str:
    """A text that can be sent: what is no letter in it is a question mark."""
    return text.encode(errors="replace").decode()


def check_colour(colour: str) -> str:
    """A colour, `#rrggbb`.

    Raises:
      InputError: It is none.
    """
    digits = colour[1:].lower()
    if len(colour) == 7 and colour[0] == "#" and set(digits) <= set("0123456789abcdef"):
        return colour.lower()
    raise InputError(f"colour {colour[:20]!r}: write #rrggbb")
