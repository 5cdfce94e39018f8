"""A project in a folder: what is drawn, what was tracked, and which mask that gives.

| file | |
|---|---|
| `project.json` | what is drawn, undo and redo; written whole at every change |
| `maps/` | label maps that were drawn, by digest |
| `tracked/<chain>/<frame>.png` | masks that were computed, never changed |
| `tracked/log.jsonl` | in which order, by which pass |
"""

from collections.abc import Mapping, Sequence
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
    without,
)
from vos_jax.app.journal import Journal
from vos_jax.app.passes import Log, Made, Pass, Plan, digest
from vos_jax.errors import InputError
from vos_jax.media import (
    FrameSource,
    make_folder,
    read_labels,
    write_labels,
)
from vos_jax.types import MAX_OBJECTS

_LONGEST_NAME = 80

NO_MASK, MASK, STALE = ".", "m", "s"
"""Of a frame: no mask; a mask that follows from what is drawn; one that did before."""


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
        self._plans: dict[Pass, Plan] = {}
        file = folder / "project.json"
        is_new = not file.exists()
        if is_new and (folder / "masks").exists():
            raise InputError(
                f"{folder}: holds masks of something else; use another --out"
            )
        self._maps = Maps(make_folder(folder / "maps"), self.size)
        self._tracked = make_folder(folder / "tracked")
        self._log = Log(self._tracked / "log.jsonl")
        if given and not is_new:
            raise InputError(
                f"{folder}: has drawings already, which --mask would change; leave it"
                " out, or use another --out"
            )
        first = self._first_drawing(given or {}) if is_new else Drawing()
        self.journal = Journal(file, video, first)
        # Maps that no step can bring back.
        self._maps.keep(self.journal.maps() | {way.base for way in self._log.passes})

    @property
    def drawing(self) -> Drawing:
        """All that is drawn."""
        return self.journal.drawing

    def recipe(self, frame: int) -> Recipe:
        """What the mask of a frame is made of."""
        made = self._shown(frame)
        chain = None if made is None else made.chain
        if made is not None and self._is_valid(frame, made):
            return Recipe(chain)
        absent = tuple(sorted(self.drawing.absent(frame)))
        return Recipe(chain, absent, self.drawing.frames.get(frame))

    def compose(self, frame: int, recipe: Recipe) -> np.ndarray:
        """The mask of a recipe, uint8 `[H, W]`.

        Files that a recipe names are never changed, so this needs no lock.
        """
        if recipe.chain is None:
            labels = np.zeros(self.size, np.uint8)
        else:
            labels = read_labels(self._mask_file(recipe.chain, frame))
        if recipe.absent:
            labels = without(labels, recipe.absent)
        drawn = recipe.drawn
        if drawn is None:
            return labels
        return merged(labels, self._maps.get(drawn.labels), drawn.ids)

    def labels(self, frame: int) -> np.ndarray:
        """The mask of a frame as it is shown, uint8 `[H, W]`."""
        return self.compose(frame, self.recipe(frame))

    def version(self, frame: int) -> str:
        """Names what `labels` gives: another mask, another version."""
        return digest(*self.recipe(frame))

    def status(self, frame: int) -> str:
        """`NO_MASK`, `MASK` or `STALE`."""
        made = self._shown(frame)
        if made is not None and self._is_valid(frame, made):
            return MASK
        if frame in self.drawing.frames:
            return MASK
        return NO_MASK if made is None else STALE

    def statuses(self) -> str:
        """The status of every frame."""
        letters = [NO_MASK] * len(self.names)
        for frame in {*self._log.frames(), *self.drawing.frames}:
            letters[frame] = self.status(frame)
        return "".join(letters)

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
        self.check_frame(frame)
        if version != self.version(frame):
            raise Conflict(
                f"frame {self.names[frame]} was changed in another window; it is shown"
                " as it is now"
            )
        before = self.labels(frame)
        changed = difference(before, labels)
        self._check_objects([id for id in changed if (labels == id).any()])
        if not changed:
            return
        had = self.drawing.frames.get(frame)
        ids = tuple(sorted({*changed, *(had.ids if had else ())}))
        given = np.where(np.isin(labels, ids), labels, np.uint8(0))
        drawn = Drawn(self._maps.put(given), ids)
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
        ids = (id for id in range(1, MAX_OBJECTS + 1) if id not in self.drawing.objects)
        id = next(ids, None)
        if id is None:
            raise InputError(f"objects: {MAX_OBJECTS} are possible at most")
        new = default_object(id)
        self._set_object(f"new object {id}", new, name, colour)
        return id

    def change_object(
        self, id: int, name: str | None = None, colour: str | None = None
    ) -> None:
        """Calls an object otherwise, or shows it in another colour."""
        self._check_objects([id])
        self._set_object(f"change object {id}", self.drawing.objects[id], name, colour)

    def delete_object(self, id: int) -> None:
        """Takes an object out of all that was drawn."""
        self._check_objects([id])
        frames = {}
        for at, drawn in self.drawing.frames.items():
            ids = tuple(x for x in drawn.ids if x != id)
            labels = self._maps.get(drawn.labels)
            if ids:
                frames[at] = Drawn(self._maps.put(without(labels, (id,))), ids)
        objects = {k: x for k, x in self.drawing.objects.items() if k != id}
        ended = frozenset((at, k) for at, k in self.drawing.ended if k != id)
        self._change(f"delete object {id}", None, Drawing(objects, frames, ended))

    def end_object(self, id: int, frame: int, *, is_end: bool = True) -> None:
        """Says that an object is gone from a frame on, or takes that back.

        Raises:
          InputError: It is drawn in that very frame.
        """
        self._check_objects([id])
        self.check_frame(frame)
        drawn = self.drawing.frames.get(frame)
        if is_end and drawn is not None and id in drawn.ids:
            raise InputError(
                f"object {id} is drawn in frame {self.names[frame]}; say that it is"
                " gone in the frame after it"
            )
        words = f"object {id} gone from frame {self.names[frame]}"
        self._change(
            words if is_end else f"take back: {words}",
            frame,
            self.drawing.with_end(frame, id, is_end=is_end),
        )

    def undo(self) -> int | None:
        """Takes the latest change back; the frame to look at."""
        self._plans.clear()
        return self.journal.undo()

    def redo(self) -> int | None:
        """Brings back what was taken back last; the frame to look at."""
        self._plans.clear()
        return self.journal.redo()

    def way_from(self, frame: int, direction: str) -> Pass:
        """The pass that goes on through a frame, or a new one that begins there.

        Raises:
          InputError: The frame shows no mask.
        """
        self.check_frame(frame)
        before = frame + (-1 if direction == "forward" else 1)
        for at in (frame, before if frame in self.drawing.frames else frame):
            made = self._shown(at) if 0 <= at < len(self.names) else None
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
        base = self._maps.put(labels) if others else NO_MAP
        return Pass(direction, frame, base, tuple(sorted(others)), self.model)

    def plan(self, way: Pass) -> Plan:
        """What a pass meets, given all that is drawn."""
        if way not in self._plans:
            self._plans[way] = Plan(way, self.drawing)
        return self._plans[way]

    def start_labels(self, way: Pass) -> np.ndarray:
        """The masks that a pass begins with."""
        labels = self._maps.get(way.base)
        drawn = self.drawing.frames.get(way.start)
        if drawn is not None:
            labels = merged(labels, self._maps.get(drawn.labels), drawn.ids)
        return without(labels, tuple(self.drawing.absent(way.start)))

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
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_labels(path, labels)
        self.show_made(way, frame, chain)

    def show_made(self, way: Pass, frame: int, chain: str) -> None:
        """Notes that a mask is made, and is the latest of its frame.

        Raises:
          InputError: It cannot be written.
        """
        self._log.add(frame, Made(self._log.number(way), chain))

    def frames_with_masks(self) -> Sequence[int]:
        """Frames that have any mask, in their order."""
        return sorted({*self._log.frames(), *self.drawing.frames})

    def close(self) -> None:
        """Closes the project's files."""
        self._log.close()

    def check_frame(self, frame: int) -> None:
        """Checks an index.

        Raises:
          InputError: There is no such frame.
        """
        if not 0 <= frame < len(self.names):
            raise InputError(f"frame {frame}: the video has {len(self.names)}")

    def _shown(self, frame: int) -> Made | None:
        """The latest mask that still follows from what is drawn, or the latest."""
        made = self._log.made(frame)
        valid = (x for x in reversed(made) if self._is_valid(frame, x))
        return next(valid, made[-1] if made else None)

    def _is_valid(self, frame: int, made: Made) -> bool:
        way = self._log.passes[made.number]
        if way.model != self.model:
            return False
        return self.plan(way).chain(way.position(frame)) == made.chain

    def _mask_file(self, chain: str, frame: int) -> Path:
        return self._tracked / chain / f"{self.names[frame]}.png"

    def _set_object(
        self, what: str, changed: Object, name: str | None, colour: str | None
    ) -> None:
        if name is not None:
            changed = changed._replace(name=" ".join(name.split())[:_LONGEST_NAME])
        if colour is not None:
            changed = changed._replace(colour=check_colour(colour))
        self._change(what, None, self.drawing.with_object(changed))

    def _check_objects(self, ids: Sequence[int]) -> None:
        if unknown := [id for id in ids if id not in self.drawing.objects]:
            raise InputError(f"object {unknown[0]}: there is none of that number")

    def _change(self, what: str, frame: int | None, after: Drawing) -> None:
        self.journal.change(what, frame, after)
        self._plans.clear()

    def _first_drawing(self, given: Mapping[int, np.ndarray]) -> Drawing:
        drawing = Drawing()
        for frame, labels in given.items():
            ids = tuple(int(x) for x in np.unique(labels) if 0 < x <= MAX_OBJECTS)
            for id in ids:
                if id not in drawing.objects:
                    drawing = drawing.with_object(default_object(id))
            kept = np.where(labels > MAX_OBJECTS, np.uint8(0), labels)
            drawing = drawing.with_drawn(frame, Drawn(self._maps.put(kept), ids))
        return drawing if drawing.objects else drawing.with_object(default_object(1))
