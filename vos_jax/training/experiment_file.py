"""An experiment from a Python file: found, run, and changed by `--set`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vos_jax.data.literal import literal
from vos_jax.errors import InputError
from vos_jax.runtime.python_file import run_python_file
from vos_jax.training.experiment import Experiment

_FOLDER = Path("experiments")
_CHECKOUT = Path(__file__).parents[2] / _FOLDER


def load_experiment(name: str, changes: Sequence[str] = ()) -> Experiment:
    """Runs an experiment file and changes some fields.

    Args:
      name: Path of a Python file with a function `experiment() -> Experiment`, or its
        name under `experiments/`, as in `stm/main`. `stm/tiny:long_clips` calls another
        function of the file.
      changes: `field=value` each, from `--set`; `optimizer.learning_rate=1e-4` reaches
        inside, `data.0.folder=here` into a tuple. Values are Python literals, else
        text.

    Raises:
      InputError: No such file, no such function, no such field, a value that does not
        fit.
    """
    file, _, function = name.partition(":")
    path, function = _find(file), function or "experiment"
    make = getattr(run_python_file(path), function, None)
    if not callable(make):
        raise InputError(f"{path}: has no function {function}(), which a run calls")
    try:
        experiment = make()
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {function}() fails: {error}") from error
    if not isinstance(experiment, Experiment):
        raise InputError(
            f"{path}: {function}() gives a {type(experiment).__name__}, not an"
            " Experiment"
        )
    for change in changes:
        path_text, equals, text = change.partition("=")
        if not equals:
            raise InputError(f"--set {change}: write field=value")
        fields = path_text.strip().split(".")
        experiment = _replace(experiment, fields, literal(text), change)
    return experiment


def _find(name: str) -> Path:
    given = Path(name)
    inside = given if given.suffix == ".py" else given.with_suffix(".py")
    for path in (given, _FOLDER / inside, _CHECKOUT / inside):
        if path.is_file():
            return path
    known = sorted(
        str(path.relative_to(_CHECKOUT).with_suffix(""))
        for path in _CHECKOUT.glob("*/*.py")
        if "def experiment(" in path.read_text()
    )
    raise InputError(
        f"{name}: no such experiment; give a Python file, or one of: {', '.join(known)}"
    )


def _replace(thing: Any, path: Sequence[str], value: Any, change: str) -> Any:
    """`thing` with the field at `path` replaced."""
    name, *rest = path
    if isinstance(thing, tuple) and not hasattr(thing, "_fields"):
        if not name.isdigit() or int(name) >= len(thing):
            raise InputError(f"--set {change}: {name!r} is not one of {len(thing)}")
        index = int(name)
        part = _replace(thing[index], rest, value, change) if rest else value
        return (*thing[:index], part, *thing[index + 1 :])
    if isinstance(thing, Mapping):
        part = _replace(thing.get(name, {}), rest, value, change) if rest else value
        return {**thing, name: part}
    if not dataclasses.is_dataclass(thing):
        raise InputError(f"--set {change}: {name!r} is inside of a plain value")
    fields = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    if name not in fields:
        raise InputError(
            f"--set {change}: {type(thing).__name__} has no field {name!r};"
            f" it has: {', '.join(fields)}"
        )
    old = fields[name]
    new = _replace(old, rest, value, change) if rest else _like(old, value, change)
    try:
        return dataclasses.replace(thing, **{name: new})  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise InputError(f"--set {change}: {error}") from error


def _like(old: Any, new: Any, change: str) -> Any:
    """`new` as the type of the value it replaces, where that has one."""
    # None stands for "not given", of whatever type the field is then.
    if old is None or new is None:
        return new
    if isinstance(old, str):
        return str(new)
    if isinstance(old, tuple) and isinstance(new, list):
        return tuple(new)
    # A bool is an int to Python, and an int is as good as a float.
    kinds = (int, float) if isinstance(old, float) else type(old)
    if isinstance(new, bool) != isinstance(old, bool) or not isinstance(new, kinds):
        raise InputError(
            f"--set {change}: needs a value like {old!r} ({type(old).__name__})"
        )
    return new
