"""From a name to a method: those of the package, and those of other people's files."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from vos_jax.errors import InputError
from vos_jax.methods import stm
from vos_jax.methods.base import Method, ReadConfig
from vos_jax.methods.dmn_aoa import model as dmn_aoa
from vos_jax.methods.entry import Entry
from vos_jax.methods.hmmn import model as hmmn
from vos_jax.methods.lcm import model as lcm
from vos_jax.methods.rde import model as rde
from vos_jax.methods.stcn import model as stcn
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.runtime.python_file import run_python_file

METHODS: dict[str, Entry] = {
    **stm.ENTRIES,
    **hmmn.ENTRIES,
    **lcm.ENTRIES,
    **stcn.ENTRIES,
    **rde.ENTRIES,
    **dmn_aoa.ENTRIES,
}
"""The methods of the package by their names."""

_IN_FILE = re.compile(r"(?P<path>.+\.py)(:(?P<name>\w+))?", re.DOTALL)
_DEFAULT = "entry"


def find_entry(name: str) -> Entry:
    """What is known of a method.

    Args:
      name: One of `METHODS`, with `-` or `_`, or `FILE.py` for the `entry` of a Python
        file, or `FILE.py:NAME` for another `Entry` in it.

    Raises:
      InputError: There is none of that name, or the file has none that works.
    """
    name = known_name(name)
    if name in METHODS:
        return METHODS[name]
    place = _place(name)
    if place is None:
        raise unknown_method(name, METHODS)
    path, entry = place
    if not path.is_file():
        raise InputError(f"method {name!r}: there is no file {path}")
    return _entry_in(path, entry)


def known_name(name: str) -> str:
    """A name as in `METHODS`, where it is one of them with `_` for `-`."""
    hyphened = name.replace("_", "-")
    return hyphened if hyphened in METHODS else name


def unknown_method(name: str, known: Iterable[str]) -> InputError:
    """Makes the error of a name that stands for none of what is known, nor a file."""
    return InputError(
        f"unknown method {name!r}; choose one of: {', '.join(known)}; or give a"
        " Python file with an entry, FILE.py or FILE.py:NAME"
    )


def method_file(name: str) -> Path | None:
    """The Python file that a name stands for; None for a method of the package."""
    place = _place(name)
    return place and place[0]


def stored_name(name: str) -> str:
    """The name that weights remember: without the folders of a file."""
    place = _place(name)
    if place is None:
        return known_name(name)
    path, entry = place
    return path.name if entry == _DEFAULT else f"{path.name}:{entry}"


def _place(name: str) -> tuple[Path, str] | None:
    """A file and the name of an entry in it; None where a name stands for no file."""
    found = None if known_name(name) in METHODS else _IN_FILE.fullmatch(name)
    return found and (Path(found["path"]), found["name"] or _DEFAULT)


def create(name: str, **overrides: Any) -> Method:
    """A method by name.

    Args:
      name: One of `METHODS`, or a Python file that has one, as for `find_entry`.
      **overrides: Fields of its configuration to change.

    Raises:
      InputError: The name or a field is unknown, or a value out of range.
    """
    entry = find_entry(name)
    fields = {field.name: field.type for field in dataclasses.fields(entry.config)}
    unknown = sorted(set(overrides) - set(fields))
    if unknown:
        raise InputError(
            f"method {name!r} has no option {', '.join(unknown)};"
            f" it has: {', '.join(sorted(fields))}"
        )
    try:
        for field, value in overrides.items():
            _check_kind(field, fields[field], value)
        given = {
            field: _as_before(getattr(entry.config, field), value)
            for field, value in overrides.items()
        }
        config = dataclasses.replace(entry.config, **given)
    except (TypeError, ValueError) as error:
        raise InputError(f"method {name!r}: {error}") from error
    return entry.module(config=config)


def _entry_in(path: Path, name: str) -> Entry:
    """The entry of a Python file, checked."""
    module = run_python_file(path)
    entry = getattr(module, name, None)
    if not isinstance(entry, Entry):
        found = [x for x, value in vars(module).items() if isinstance(value, Entry)]
        others = f"; it has {', '.join(found)}: give {path}:NAME" if found else ""
        raise InputError(f"{path}: has no vos_jax.Entry called {name}{others}")
    _check_entry(f"{path}: {name}", entry)
    return entry


def _check_entry(place: str, entry: Entry) -> None:
    """Refuses what would fail later with an error about something else."""
    module, config = entry.module, entry.config
    if not (inspect.isclass(module) and issubclass(module, Method)):
        raise InputError(f"{place}: module {module!r} is no subclass of vos_jax.Method")
    if not isinstance(config, ReadConfig):
        raise InputError(
            f"{place}: config {config!r} is no vos_jax.methods.base.ReadConfig, or a"
            " configuration made from one"
        )
    try:
        hash(config)
    except TypeError as error:
        raise InputError(
            f"{place}: config cannot be hashed: {error}; make it a frozen dataclass of"
            " fields that can, tuples in place of lists"
        ) from error
    for other in {*entry.reads, *filter(None, [entry.extends])} - set(METHODS):
        raise InputError(
            f"{place}: reads or extends {other!r}, which is no method of the package;"
            f" use some of: {', '.join(METHODS)}"
        )


def _check_kind(field: str, kind: Any, value: Any) -> None:
    """Refuses what Python would take for a flag or a number without being one."""
    if kind is bool and not isinstance(value, bool):
        raise TypeError(f"{field}={value!r}: use True or False")
    if kind == int | None and value is None:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if kind in (int, int | None) and not whole:
        or_none = "" if kind is int else ", or None"
        raise TypeError(f"{field}={value!r}: use a whole number{or_none}")


def _as_before(default: Any, value: Any) -> Any:
    """A value as it was before JSON made it a dictionary or a list."""
    if isinstance(default, ResNetConfig) and isinstance(value, Mapping):
        return dataclasses.replace(default, **value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    return value
