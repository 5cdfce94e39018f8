"""A project in a folder: what is drawn, what was tracked, and which mask that gives.

| file | |
|---|---|
| `project.json` | what is drawn, undo and redo; written whole at every change |
| `maps/` | label maps that were drawn, by digest |
| `tracked/<chain>/<frame>.png` | masks that were computed, never changed |
| `tracked.jsonl` | in which order, by which pass |

An export adds `masks/`, `given/`, `overlay.mp4` and `coco.json`.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.app.drawn import (
    NO_MAP,
    Drawing,
    Drawn,
    Maps,
    Object,
    Recipe,
    check_colour,
    default_object,
    difference,
    merged,
    printable,
    without,
)
from vos_jax.app.journal import Journal
from vos_jax.app.log import Log
from vos_jax.app.passes import FORWARD, Made, Pass
from vos_jax.app.shown import Shown
from vos_jax.errors import InputError
from vos_jax.inference.checks import objects_in
from vos_jax.media import FrameSource, make_folder, read_labels, write_labels
from vos_jax.types import MAX_OBJECTS

_LONGEST_NAME = 80
_OWN = ("maps", "tracked", "masks", "given", "overlay.mp4", "coco.json")
"""Names of which a new project finds none, so that nobody's files make way."""


class Conflict(InputError):
    """A frame was changed by somebody else in the meantime."""


class Project:
    """A video, what is drawn in it and what was tracked, on disk at every moment.

    Not for several threads at once.

    Attributes:
      folder: Of the project.
      names: Of the frames.
      size: Height and width of the frames.
      model: Identity of what computes masks; others' are stale.
      journal: Of what is drawn, with undo and redo.
      shown: Which mask each frame shows.
    """

    def __init__(
        self,
        folder: Path,
        source: FrameSource,
        video: Mapping[str, Any],
        model: str,
        given: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        """Opens the project of a folder, or begins one.

        Args:
          folder: May be new.
          source: The video.
          video: What must be the same to go on: its name and a fingerprint.
          model: Identity of what computes masks.
          given: Label maps by frame index that a new project begins with.

        Raises:
          InputError: It is of another video, damaged, or cannot be written; or masks
            are given for a project that is there.
        """
        self.folder, self.model = folder, model
        self.names, self.size = source.names, source.size
        file = folder / "project.json"
        is_new = not file.exists()
        if is_new:
            _check_unused(folder)
        self._maps = Maps(make_folder(folder / "maps"), self.size)
        self._tracked = make_folder(folder / "tracked")
        self._log = Log(folder / "tracked.jsonl")
        if given and not is_new:
            raise InputError(
                f"{folder}: has drawings already, which --mask would change; leave it"
                " out, or use another --out"
            )
        first = self._first_drawing(given or {}) if is_new else Drawing()
        self.journal = Journal(file, video, first)
        if not is_new:
            # The others are maps that no step can bring back.
            bases = {way.base for way in self._log.passes}
            self._maps.keep(self.journal.maps() | bases)
        self.shown = Shown(self.journal, self._log, len(self.names), model)

    @property
    def drawing(self) -> Drawing:
        """All that is drawn."""
        return self.journal.drawing

    def compose(self, frame: int, recipe: Recipe) -> np.ndarray:
        """The mask of a recipe, uint8 `[H, W]`.

        Files that a recipe names are never changed, so this needs no lock.

        Raises:
          InputError: A file is damaged; the tracker will make it anew.
        """
        if recipe.chain is None:
            labels = np.zeros(self.size, np.uint8)
        else:
            labels = self._tracked_labels(frame, recipe.chain)
        if recipe.absent:
            labels = without(labels, recipe.absent)
        drawn = recipe.drawn
        if drawn is None:
            return labels
        return merged(labels, self._maps.get(drawn.labels), drawn.ids)

    def labels(self, frame: int) -> np.ndarray:
        """The mask of a frame as it is shown, uint8 `[H, W]`."""
        return self.compose(frame, self.shown.recipe(frame))

    def draw(self, frame: int, labels: np.ndarray, version: str, what: str) -> None:
        """Takes over the whole label map of a frame, of whose objects some changed.

        Args:
          frame: Index of the frame.
          labels: uint8 `[H, W]`.
          version: Of the mask that it was drawn on.
          what: Was done, in words.

        Raises:
          Conflict: The frame has another version now.
          InputError: Labels are of no object.
        """
        self.check_version(frame, version)
        before = self.labels(frame)
        changed = difference(before, labels)
        self.check_objects([id for id in changed if (labels == id).any()])
        if not changed:
            return
        had = self.drawing.frames.get(frame)
        ids = tuple(sorted({*changed, *(had.ids if had else ())}))
        drawn = Drawn.of(labels, ids, self._maps)
        self._change(
            f"{what} in frame {self.names[frame]}",
            frame,
            self.drawing.with_drawn(frame, drawn),
        )

    def forget(self, frame: int) -> None:
        """Takes back what was drawn in a frame."""
        self.check_frame(frame)
        if frame in self.drawing.frames:
            self._change(
                f"forget what was drawn in frame {self.names[frame]}",
                frame,
                self.drawing.with_drawn(frame, None),
            )

    def add_object(self, name: str | None = None, colour: str | None = None) -> int:
        """A new object; its id.

        Raises:
          InputError: There are as many as can be, or the colour is none.
        """
        # An id that was another's would bring back that one's masks.
        id = self.journal.last_id + 1
        if id > MAX_OBJECTS:
            raise InputError(
                f"objects: a project can have {MAX_OBJECTS}, those that were deleted"
                " among them"
            )
        new = default_object(id)
        self._set_object(f"new object {id}", new, name, colour)
        return id

    def change_object(
        self, id: int, name: str | None = None, colour: str | None = None
    ) -> None:
        """Calls an object otherwise, or shows it in another colour."""
        self.check_objects([id])
        self._set_object(f"change object {id}", self.drawing.objects[id], name, colour)

    def delete_object(self, id: int) -> None:
        """Takes an object out of all that was drawn."""
        self.check_objects([id])
        frames = {**self.drawing.frames}
        for at, drawn in self.drawing.frames.items():
            if id not in drawn.ids:
                continue
            del frames[at]
            if ids := tuple(x for x in drawn.ids if x != id):
                frames[at] = Drawn.of(self._maps.get(drawn.labels), ids, self._maps)
        objects = {k: x for k, x in self.drawing.objects.items() if k != id}
        ended = frozenset((at, k) for at, k in self.drawing.ended if k != id)
        self._change(f"delete object {id}", None, Drawing(objects, frames, ended))

    def end_object(self, id: int, frame: int, *, is_end: bool = True) -> None:
        """Says that an object is gone from a frame on, or takes that back.

        Raises:
          InputError: It is drawn in that very frame.
        """
        self.check_end(id, frame, is_end=is_end)
        words = f"object {id} gone from frame {self.names[frame]}"
        self._change(
            words if is_end else f"take back: {words}",
            frame,
            self.drawing.with_end(frame, id, is_end=is_end),
        )

    def undo(self) -> int | None:
        """Takes the latest change back; the frame to look at."""
        with self.shown.keeping():
            return self.journal.undo()

    def redo(self) -> int | None:
        """Brings back what was taken back last; the frame to look at."""
        with self.shown.keeping():
            return self.journal.redo()

    def way_from(self, frame: int, direction: str) -> Pass:
        """The pass that goes on through a frame, or a new one that begins there.

        Raises:
          InputError: The frame shows no mask.
        """
        self.check_frame(frame)
        before = frame + (-1 if direction == FORWARD else 1)
        for at in (frame, before if frame in self.drawing.frames else frame):
            made = self.shown.made(at) if 0 <= at < len(self.names) else None
            if made is not None:
                way = self._log.passes[made.number]
                goes_on = (way.direction, way.model) == (direction, self.model)
                if goes_on and self.start_labels(way).any():
                    return way
        labels = self.labels(frame)
        if not labels.any():
            raise InputError(
                f"frame {self.names[frame]} shows no mask to begin with; draw one, or"
                " go to a frame that has one"
            )
        drawn = self.drawing.frames.get(frame)
        others = set(np.unique(labels).tolist()) - {0, *(drawn.ids if drawn else ())}
        if not others:
            return Pass(direction, frame, NO_MAP, (), None, self.model)
        ids, base = tuple(sorted(others)), self._maps.put(labels)
        made = self.shown.made(frame)
        is_valid = made is not None and self.shown.is_valid(frame, made)
        return Pass(direction, frame, base, ids, made if is_valid else None, self.model)

    def start_labels(self, way: Pass) -> np.ndarray:
        """The masks that a pass begins with."""
        labels = self._maps.get(way.base)
        drawn = self.drawing.frames.get(way.start)
        if drawn is not None:
            labels = merged(labels, self._maps.get(drawn.labels), drawn.ids)
        absent = self.shown.absence.of(range(1, MAX_OBJECTS + 1), way.start)
        return without(labels, absent)

    def map(self, digest: str) -> np.ndarray:
        """The label map of a digest, uint8 `[H, W]`."""
        return self._maps.get(digest)

    def has_made(self, frame: int, chain: str) -> bool:
        """Whether a mask of that chain is there."""
        return self._mask_file(chain, frame).exists()

    def take_made(self, way: Pass, frame: int, chain: str, labels: np.ndarray) -> None:
        """Stores a mask that the tracker has made.

        Raises:
          InputError: It cannot be written.
        """
        path = self._mask_file(chain, frame)
        make_folder(path.parent)
        if not path.exists():
            write_labels(path, labels)
        self.show_made(way, [frame], chain)

    def show_made(self, way: Pass, frames: Collection[int], chain: str) -> None:
        """Notes that masks are made, and are the latest of their frames.

        Raises:
          InputError: It cannot be written.
        """
        self._log.add(frames, Made(self._log.number(way), chain))

    def check_version(self, frame: int, version: str) -> None:
        """Checks that a frame has a version.

        Raises:
          Conflict: It has another one now.
        """
        self.check_frame(frame)
        if version != self.shown.version(frame):
            raise Conflict(
                f"frame {self.names[frame]} was changed in another window; it is shown"
                " as it is now"
            )

    def check_objects(self, ids: Sequence[int]) -> None:
        """Checks that there are objects.

        Raises:
          InputError: One of them is not there.
        """
        if unknown := [id for id in ids if id not in self.drawing.objects]:
            raise InputError(f"object {unknown[0]}: there is none of that number")

    def check_end(self, id: int, frame: int, *, is_end: bool) -> None:
        """Checks that an object may be said to be gone from a frame on.

        Raises:
          InputError: It is drawn in that very frame, or not there.
        """
        self.check_objects([id])
        self.check_frame(frame)
        drawn = self.drawing.frames.get(frame)
        if is_end and drawn is not None and id in drawn.seen:
            raise InputError(
                f"object {id} is drawn in frame {self.names[frame]}; say that it is"
                " gone in the frame after it"
            )

    def check_frame(self, frame: int) -> None:
        """Checks an index.

        Raises:
          InputError: There is no such frame.
        """
        if not 0 <= frame < len(self.names):
            raise InputError(f"frame {frame}: the video has {len(self.names)}")

    def _mask_file(self, chain: str, frame: int) -> Path:
        return self._tracked / chain / f"{self.names[frame]}.png"

    def _tracked_labels(self, frame: int, chain: str) -> np.ndarray:
        path = self._mask_file(chain, frame)
        try:
            return read_labels(path)
        except InputError as error:
            path.unlink(missing_ok=True)
            raise InputError(
                f"the mask of frame {self.names[frame]} is gone or damaged; track on"
                " through that frame to make it anew"
            ) from error

    def _set_object(
        self, what: str, changed: Object, name: str | None, colour: str | None
    ) -> None:
        if name is not None:
            line = " ".join(printable(name).split())
            changed = changed._replace(name=line[:_LONGEST_NAME])
        if colour is not None:
            changed = changed._replace(colour=check_colour(colour))
        self._change(what, None, self.drawing.with_object(changed))

    def _change(self, what: str, frame: int | None, after: Drawing) -> None:
        with self.shown.keeping():
            self.journal.change(what, frame, after)

    def _first_drawing(self, given: Mapping[int, np.ndarray]) -> Drawing:
        drawing = Drawing()
        for frame, labels in given.items():
            ids = tuple(objects_in(labels))
            for id in ids:
                if id not in drawing.objects:
                    drawing = drawing.with_object(default_object(id))
            drawing = drawing.with_drawn(frame, Drawn.of(labels, ids, self._maps))
        return drawing if drawing.objects else drawing.with_object(default_object(1))


def _check_unused(folder: Path) -> None:
    """Checks that a folder has nothing that a new project would take for its own.

    Raises:
      InputError: It has.
    """
    for name in _OWN:
        path = folder / name
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise InputError(
                f"{path}: was there before, and is no project's; use another"
                " --out, or move it away"
            )
