"""What was drawn, step by step, in a file that is written whole at every change."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.app.drawn import Change, Drawing
from vos_jax.errors import InputError
from vos_jax.media import atomic_path

_FORMAT = 1
_MOST_STEPS = 500


class Step(NamedTuple):
    """A change that can be taken back.

    Attributes:
      what: In words.
      frame: Where to look at it; None where that is no frame.
      back: Takes it back.
      again: Brings it again.
    """

    what: str
    frame: int | None
    back: Change
    again: Change


class Journal:
    """The drawing of now, and the steps to those of before.

    Attributes:
      drawing: All that is drawn.
      revision: Grows with every change.
    """

    def __init__(self, file: Path, video: Mapping[str, Any], first: Drawing) -> None:
        """Reads what is there, or begins.

        Args:
          file: The journal's.
          video: What must be the same to go on: its name and a fingerprint.
          first: What a new journal begins with.

        Raises:
          InputError: It is of another video, damaged, or cannot be written.
        """
        self.drawing, self.revision = Drawing(), 0
        self._file, self._video = file, dict(video)
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        if file.exists():
            self._read()
        else:
            self._take(first, [], [])

    @property
    def next_undo(self) -> str | None:
        """What undo would take back, in words."""
        return self._undo[-1].what if self._undo else None

    @property
    def next_redo(self) -> str | None:
        """What redo would bring again, in words."""
        return self._redo[-1].what if self._redo else None

    def change(self, what: str, frame: int | None, after: Drawing) -> None:
        """Makes a step.

        Args:
          what: In words.
          frame: Where to look at it.
          after: All that is drawn afterwards.

        Raises:
          InputError: It cannot be written; nothing is changed then.
        """
        if after == self.drawing:
            return
        back, again = (
            Change.between(*pair)
            for pair in ((after, self.drawing), (self.drawing, after))
        )
        undo = [*self._undo, Step(what, frame, back, again)][-_MOST_STEPS:]
        self._take(after, undo, [])

    def undo(self) -> int | None:
        """Takes the latest step back; the frame to look at."""
        if not self._undo:
            return None
        *rest, step = self._undo
        self._take(self.drawing.with_change(step.back), rest, [*self._redo, step])
        return step.frame

    def redo(self) -> int | None:
        """Brings back what was taken back last; the frame to look at."""
        if not self._redo:
            return None
        *rest, step = self._redo
        self._take(self.drawing.with_change(step.again), [*self._undo, step], rest)
        return step.frame

    def maps(self) -> set[str]:
        """Digests of all label maps that are drawn, or that a step brings back."""
        steps = [*self._undo, *self._redo]
        changes = [change for step in steps for change in (step.back, step.again)]
        frames = [self.drawing.frames, *(change.frames for change in changes)]
        return {x.labels for each in frames for x in each.values() if x is not None}

    def _take(self, drawing: Drawing, undo: list[Step], redo: list[Step]) -> None:
        """Goes over to a drawing once it is on disk."""
        content = {
            "format": _FORMAT,
            "video": self._video,
            "now": Change.between(Drawing(), drawing).as_json(),
            "undo": [_as_json(step) for step in undo],
            "redo": [_as_json(step) for step in redo],
        }
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
        self.drawing, self._undo, self._redo = drawing, undo, redo
        self.revision += 1

    def _read(self) -> None:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            version, video = content["format"], content["video"]
            self.drawing = Drawing().with_change(Change.from_json(content["now"]))
            self._undo, self._redo = (
                [_from_json(step) for step in content[side]]
                for side in ("undo", "redo")
            )
        except Exception as error:
            raise InputError(
                f"{self._file}: damaged; move it away, or use another --out"
            ) from error
        if version != _FORMAT:
            raise InputError(
                f"{self._file}: of another version of this program; use another --out"
            )
        other = [k for k in self._video if video.get(k) != self._video[k]]
        if other:
            was, now = (x.get(other[0]) for x in (video, self._video))
            raise InputError(
                f"{self._file.parent}: holds a project of another video ({other[0]}"
                f" {was!r} there, {now!r} here); use another --out"
            )


def _as_json(step: Step) -> list[Any]:
    return [step.what, step.frame, step.back.as_json(), step.again.as_json()]


def _from_json(read: list[Any]) -> Step:
    what, frame, back, again = read
    return Step(what, frame, Change.from_json(back), Change.from_json(again))
