"""Checks of the numbers in a recipe: right type, right range, or one clear line."""

import math
from numbers import Integral, Real
from typing import Any

from vos_jax.errors import InputError


def check_number(config: Any, name: str, low: float, high: float) -> None:
    """Checks that a field is a number within bounds.

    Raises:
      InputError: It is not.
    """
    value = getattr(config, name)
    # Written so that NaN fails, too.
    if not (isinstance(value, Real) and low <= float(value) <= high):
        raise InputError(
            f"{type(config).__name__} {name}={value!r}: use a number from {low} to"
            f" {high}"
        )


def check_range(config: Any, name: str, low: float, high: float) -> None:
    """Checks that a field is a pair (smallest, largest) within bounds.

    Raises:
      InputError: It is not.
    """
    value = getattr(config, name)
    is_pair = _is_pair(value, Real)
    if not (is_pair and low <= value[0] <= value[1] <= high):
        raise InputError(
            f"{type(config).__name__} {name}={value!r}: use two numbers from {low} to"
            f" {high}, the smaller one first"
        )


def check_whole(config: Any, name: str, low: int, high: int | None = None) -> None:
    """Checks that a field is a whole number within bounds; None for no upper one.

    Raises:
      InputError: It is not.
    """
    value = getattr(config, name)
    highest = math.inf if high is None else high
    if not (isinstance(value, Integral) and low <= int(value) <= highest):
        bounds = f"{low} or more" if high is None else f"from {low} to {high}"
        raise InputError(
            f"{type(config).__name__} {name}={value!r}: use a whole number, {bounds}"
        )


def check_choice(config: Any, name: str, choices: tuple[str, ...]) -> None:
    """Checks that a field is one of a few words.

    Raises:
      InputError: It is not.
    """
    value = getattr(config, name)
    if value not in choices:
        words = " or ".join(map(repr, choices))
        raise InputError(f"{type(config).__name__} {name}={value!r}: use {words}")


def check_size(config: Any, name: str, value: Any, least: int) -> None:
    """Checks that `value`, a field or a part of it, is a (height, width).

    Raises:
      InputError: It is not, or a side is below `least`.
    """
    if not (_is_pair(value, Integral) and min(value) >= least):
        raise InputError(
            f"{type(config).__name__} {name}={value!r}: use a pair (height, width) of"
            f" whole numbers, {least} or more"
        )


def _is_pair(value: Any, kind: type) -> bool:
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and all(isinstance(each, kind) for each in value)
