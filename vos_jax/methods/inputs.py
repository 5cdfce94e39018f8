"""What a method takes with every frame beside the frame itself, and who reads it.

A method names its `InputKind`. Whatever goes through videos asks that for a reader, and
hands the network what the reader finds for each frame, without looking into it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.data.clip_inputs import InputReader
from vos_jax.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


class InputKind(NamedTuple):
    """A kind of inputs.

    Attributes:
      name: In words, in the plural.
      open: Makes a reader of what a user names: a file, a folder, or a word. Raises
        `InputError`.
      advice: What a user does who has none, to end the error that asks for them.
      check: Raises `InputError` unless inputs fit a frame of a size. Looks at no
        values, so that it works for traced ones.
      mirror: Inputs of the frame flipped left to right; traceable.
      example: Inputs that fit a frame of a size, with some content, made of nothing:
        for benchmarks, and for the shapes of programs.
      of_frames: The word for which `open` makes a reader that needs frames alone, for
        what is generated; None where there is no such reader.
    """

    name: str
    open: Callable[[Path], InputReader]
    advice: str
    check: Callable[[Any, Size], None]
    mirror: Callable[[Any], Any]
    example: Callable[[Size], Any]
    of_frames: str | None = None


def open_inputs(kind: InputKind | None, given: Path | None) -> InputReader | None:
    """Opens what a user names for a method; None for a method that takes nothing.

    Raises:
      InputError: It is missing, not wanted, or cannot be opened.
    """
    if kind is None:
        if given is not None:
            raise InputError(
                f"inputs {given}: this method takes nothing but frames; leave them out"
            )
        return None
    if given is None:
        raise _missing(kind)
    return kind.open(given)


def of_frames(kind: InputKind | None) -> Path | None:
    """What to open for videos that come with nothing but frames, as generated ones."""
    return Path(kind.of_frames) if kind is not None and kind.of_frames else None


def check_inputs(kind: InputKind | None, inputs: Any, size: Size) -> None:
    """Checks what is given with a frame of a size against what a method takes.

    Raises:
      InputError: It is missing, not wanted, or does not fit.
    """
    if kind is None:
        if inputs is not None:
            raise InputError("inputs: this method takes nothing but frames; leave them")
        return
    if inputs is None:
        raise _missing(kind)
    kind.check(inputs, size)


def _missing(kind: InputKind) -> InputError:
    return InputError(
        f"inputs: this method takes {kind.name} with every frame; {kind.advice}"
    )
