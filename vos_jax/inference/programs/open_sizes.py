"""Sizes of a program that are left open, and what code says of them while it is traced.

JAX calls them symbolic dimensions. Where code compares one with a number the answer
for large frames and few objects is taken, and becomes a condition that JAX checks
whenever the program is called.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from jax import export

from vos_jax.errors import InputError
from vos_jax.inference.programs.kinds import Sizes
from vos_jax.types import MAX_OBJECTS

_T = TypeVar("_T")

SYMBOLS = {
    "O": "object slots",
    "N": "slots of the memory",
    "T": "frames",
    "h": "height of a frame / 16",
    "w": "width of a frame / 16",
}
"""What is open, by the names that shapes have."""

# A memory of two slots is written in another way than a larger one.
LEAST_SLOTS = 3
"""The fewest slots of a memory whose number is left open."""

_KNOWN = {
    "O": ("O >= 1", f"O <= {MAX_OBJECTS}"),
    "N": (f"N >= {LEAST_SLOTS}",),
    "T": ("T >= 1",),
    "h": ("h >= 8",),
    "w": ("w >= 8",),
}

_COMPARISON = re.compile(r"comparison '(?P<side>[^']+)' (?P<sign>[<>]=?) '(?P<n>\d+)'")
_SIMPLE = re.compile(r"(\d+\*)?[A-Za-z]( [+-] \d+)?")
_MOST_CONDITIONS = 12
# A length that may not be larger than less than this is not open.
_FEWEST = 8


def with_open_sizes(
    build: Callable[[dict[str, Any]], _T], names: str, more: tuple[str, ...] = ()
) -> tuple[_T, tuple[str, ...]]:
    """What a function makes of symbols, and the conditions that it needs of them.

    Args:
      build: Of the symbols by name.
      names: Of those that are open, of `SYMBOLS`.
      more: Conditions beside those that always hold.

    Raises:
      Exception: Any that `build` raises of symbols that no condition helps.
    """
    conditions = [x for name in names for x in _KNOWN[name]] + list(more)
    while True:
        scope = export.SymbolicScope(tuple(conditions))
        symbols = {x: export.symbolic_shape(x, scope=scope)[0] for x in names}
        try:
            return build(symbols), tuple(conditions)
        # The class of a comparison that symbols leave open has moved between modules.
        except Exception as error:
            found = _COMPARISON.search(str(error))
            known = found and _SIMPLE.fullmatch(found["side"])
            if not known or len(conditions) > _MOST_CONDITIONS:
                raise
            assert found is not None
            side, sign, number = found.groups()
            if sign == ">" and int(number) < _FEWEST:
                raise
            conditions.append(_condition(side, sign, number))


def _condition(side: str, sign: str, number: str) -> str:
    """That a comparison is not so, but for `>=`, which is."""
    bound = {"<": (">=", 0), ">": ("<=", 0), "<=": (">=", 1), ">=": (">=", 0)}
    opposite, more = bound[sign]
    return f"{side} {opposite} {int(number) + more}"


OPTIONS = {
    "size": ("hw", "the frame size", "--size HEIGHT WIDTH"),
    "objects": ("O", "the number of objects", "--objects N"),
    "frames": ("NT", "the length of the video", "--frames N, the longest video"),
}
"""By argument: the symbols that it closes, what it says, and how to give it."""


def cannot_be_open(arguments: list[str], where: str) -> InputError:
    """The error of arguments of which a program needs numbers."""
    which = " and ".join(OPTIONS[name][1] for name in arguments)
    remedy = " and ".join(OPTIONS[name][2] for name in arguments)
    return InputError(
        f"{', '.join(arguments)}: {which} cannot be left open {where}; give {remedy}"
    )


def sizes_of(
    given: Sizes, symbols: dict[str, Any], slots_of: Callable[[Any], Any]
) -> Sizes:
    """Sizes with symbols in the place of those that are None.

    Args:
      given: Numbers, or None for what is open.
      symbols: By name.
      slots_of: Slots of the memory of a video of an open length, if those are None.
    """
    frames = given.frames if given.frames is not None else symbols.get("T")
    slots = given.slots
    if slots is None:
        slots = symbols["N"] if "N" in symbols else slots_of(frames)
    return Sizes(
        given.height or 16 * symbols["h"],
        given.width or 16 * symbols["w"],
        given.objects or symbols["O"],
        slots,
        frames,
    )
