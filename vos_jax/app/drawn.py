"""What a person has said of a video: objects, masks drawn in frames, ends, and undo.

All of it is one immutable value, so that undo is to go back to an earlier one. Label
maps are named by their digest and lie in a `Maps`.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media import overlay_colours, read_labels, write_labels

_T = TypeVar("_T")

NO_MAP = ""
"""The digest of a label map without a pixel."""


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
    """

    labels: str
    ids: tuple[int, ...]


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

    def absent(self, frame: int) -> frozenset[int]:
        """Ids of the objects that have ended before the frame or in it."""
        latest: dict[int, int] = {}
        for at, id in self.ended:
            if at <= frame:
                latest[id] = max(at, latest.get(id, at))
        return frozenset(
            id
            for id, at in latest.items()
            if not any(
                at <= other <= frame and id in drawn.ids
                for other, drawn in self.frames.items()
            )
        )

    def with_drawn(self, frame: int, drawn: Drawn | None) -> Self:
        """With what was drawn in a frame changed, or taken back."""
        frames = {**self.frames}
        if drawn is None or not drawn.ids:
            frames.pop(frame, None)
            return self._replace(frames=frames)
        frames[frame] = drawn
        ended = {
            (at, id) for at, id in self.ended if at != frame or id not in drawn.ids
        }
        return self._replace(frames=frames, ended=frozenset(ended))

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
        return self._replace(objects=objects, frames=frames, ended=change.ended)


class Change(NamedTuple):
    """How one drawing becomes another.

    Attributes:
      objects: Those that differ, as they are afterwards; None for one that is gone.
      frames: Likewise what is drawn.
      ended: All ends afterwards.
    """

    objects: Mapping[int, Object | None]
    frames: Mapping[int, Drawn | None]
    ended: frozenset[tuple[int, int]]

    @classmethod
    def between(cls, before: Drawing, after: Drawing) -> Self:
        """What makes `after` of `before`."""
        return cls(
            _differing(before.objects, after.objects),
            _differing(before.frames, after.frames),
            after.ended,
        )

    def as_json(self) -> list[Any]:
        """What `from_json` takes."""
        return [
            [[id, x and [x.name, x.colour]] for id, x in self.objects.items()],
            [[at, x and [x.labels, x.ids]] for at, x in self.frames.items()],
            sorted(self.ended),
        ]

    @classmethod
    def from_json(cls, read: list[Any]) -> Self:
        """The change that was written.

        Raises:
          Exception: It is none.
        """
        objects, frames, ended = read
        return cls(
            {int(id): x and Object(int(id), *map(str, x)) for id, x in objects},
            {int(at): x and Drawn(str(x[0]), tuple(x[1])) for at, x in frames},
            frozenset((int(at), int(id)) for at, id in ended),
        )


def _differing(before: Mapping[int, _T], after: Mapping[int, _T]) -> dict[int, Any]:
    keys = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return {k: after.get(k) for k in keys}


class Recipe(NamedTuple):
    """What the mask of a frame is made of.

    Attributes:
      chain: Of the tracker's mask, if there is one.
      absent: Objects to leave out of that.
      drawn: What comes over it.
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
            if path.stem not in digests:
                path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.png"


def merged(under: np.ndarray, given: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    """Labels with those of some objects replaced by what is given of them."""
    labels = np.where(np.isin(under, ids), np.uint8(0), under)
    return np.where(given > 0, given, labels)


def without(labels: np.ndarray, ids: tuple[int, ...]) -> np.ndarray:
    """Labels with some objects left out."""
    return np.where(np.isin(labels, ids), np.uint8(0), labels)


def difference(before: np.ndarray, after: np.ndarray) -> tuple[int, ...]:
    """Objects whose masks are not the same in two label maps."""
    pixels = before != after
    touched = np.union1d(before[pixels], after[pixels])
    return tuple(int(id) for id in touched if id)


def default_object(id: int) -> Object:
    """An object of which nothing is said but its number."""
    red, green, blue = overlay_colours()[id]
    return Object(id, f"object {id}", f"#{red:02x}{green:02x}{blue:02x}")


def as_jpeg(frame: np.ndarray, width: int | None = None) -> bytes:
    """A frame, uint8 `[H, W, 3]`, as JPEG, scaled down to a width if it is wider."""
    image = Image.fromarray(frame)
    if width is not None and width < image.width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def check_colour(colour: str) -> str:
    """A colour, `#rrggbb`.

    Raises:
      InputError: It is none.
    """
    digits = colour[1:].lower()
    if len(colour) == 7 and colour[0] == "#" and set(digits) <= set("0123456789abcdef"):
        return colour.lower()
    raise InputError(f"colour {colour[:20]!r}: write #rrggbb")
