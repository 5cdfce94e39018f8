"""Which masks were made, in their order: a file that grows line by line."""

import json
import os
from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from vos_jax.app.passes import Made, Pass
from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.media.atomic import write_error

# A log is written anew when it has so many times the lines that it needs.
_SURPLUS = 2


class Log:
    """Passes, and the masks that each frame has had, the latest last.

    A mask is written first and noted then. What a killed process, or one without room,
    has half written is the last line and is cut off.

    Attributes:
      passes: By number.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there.

        Raises:
          InputError: The file is damaged, or cannot be read or written.
        """
        self.passes: list[Pass] = []
        self._path = path
        # In the order in which masks were made; the values say nothing.
        self._made: dict[int, dict[Made, None]] = {}
        try:
            lines = self._read()
        except OSError as error:
            raise write_error(path, error) from error
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}: damaged; move it away to begin without the tracked masks"
            ) from error
        needed = len(self.passes) + sum(map(len, self._made.values()))
        if lines > _SURPLUS * needed:
            self._compact()

    def number(self, way: Pass) -> int:
        """The number of a pass, which is noted if it is new.

        Raises:
          InputError: It cannot be written.
        """
        if way not in self.passes:
            self._add([["pass", *way]])
        return self.passes.index(way)

    def add(self, frames: Collection[int], made: Made) -> None:
        """Notes that masks of frames were made, or that they are what is shown.

        Raises:
          InputError: It cannot be written.
        """
        new = [x for x in sorted(frames) if self.made(x)[-1:] != (made,)]
        runs = groupby(enumerate(new), key=lambda each: each[1] - each[0])
        numbers = [[frame for _, frame in run] for _, run in runs]
        self._add([[run[0], run[-1], *made] for run in numbers])

    def made(self, frame: int) -> Sequence[Made]:
        """The masks of a frame, the latest last."""
        return tuple(self._made.get(frame, ()))

    def frames(self) -> Sequence[int]:
        """Frames of which there is any mask."""
        return tuple(self._made)

    def _read(self) -> int:
        """Takes what is there; how many lines that are."""
        if not self._path.exists():
            self._path.touch()
        data = self._path.read_bytes()
        self._size = data.rfind(b"\n") + 1
        if self._size < len(data):
            os.truncate(self._path, self._size)
        lines = data[: self._size].splitlines()
        for line in lines:
            self._take(json.loads(line))
        return len(lines)

    def _compact(self) -> None:
        with atomic_path(self._path) as temporary:
            lines = [["pass", *way] for way in self.passes]
            for frame, each in self._made.items():
                lines += [[frame, frame, *made] for made in each]
            temporary.write_bytes(b"".join(map(_line, lines)))
        self._size = self._path.stat().st_size

    def _add(self, lines: list[list[Any]]) -> None:
        data = b"".join(map(_line, lines))
        try:
            with self._path.open("r+b", buffering=0) as file:
                # What a write without room has left is overwritten, or cut off.
                file.seek(self._size)
                if file.write(data) < len(data):
                    raise OSError(28, os.strerror(28))
                file.truncate()
        except OSError as error:
            raise write_error(self._path, error) from error
        self._size += len(data)
        for line in lines:
            self._take(json.loads(json.dumps(line)))

    def _take(self, line: list[Any]) -> None:
        if line[0] == "pass":
            direction, start, base, ids, source, model = line[1:]
            made = None if source is None else Made(*source)
            self.passes.append(Pass(direction, start, base, tuple(ids), made, model))
            return
        first, last, number, chain = line
        self.passes[number]
        made = Made(number, chain)
        for frame in range(first, last + 1):
            each = self._made.setdefault(frame, {})
            # Made once more: it is the latest now.
            each.pop(made, None)
            each[made] = None


def _line(content: list[Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
