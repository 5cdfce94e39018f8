"""What a training run is: a frozen description, written as Python."""

import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from vos_jax.data.literal import literal
from vos_jax.data.recipes import Recipe
from vos_jax.errors import InputError
from vos_jax.methods.objective import Objective, StepConfig
from vos_jax.training.optimizers import OptimizerConfig

_FOLDER = Path("experiments")
_CHECKOUT = Path(__file__).parents[2] / _FOLDER


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set to train on or to validate with.

    Attributes:
      source: Name for `vos_jax.data.sources.open_source`.
      folder: Its folder inside `--data`; None for data that are generated.
      options: What else the source takes: a split, a resolution.
      repeat: How many times it counts in an epoch beside the others.
    """

    source: str
    folder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One stage of training.

    Attributes:
      method: Name for `vos_jax.create`.
      method_options: Fields of its configuration to change.
      weights: `.safetensors` file to begin with; None begins at random.
      grown_from: `.safetensors` file of the same method in smaller, or of the one that
        it extends, to begin with: what it lacks, the kernel of one more input or a part
        of the network, begins at random.
      backbones: `.safetensors` files of ImageNet networks, for the encoders of a random
        start.
      twins: From a random start, begin the memory encoder as a copy of the query
        encoder, so that keys of the same appearance match from the first step.
      data: What to train on, mixed.
      recipe: How clips are drawn from it.
      batch: Clips in a step, over all devices.
      steps: Optimizer steps.
      seed: Of everything random.
      optimizer: Rates and schedule.
      objective: What is minimised, a configuration that is called; None for the mean
        over the frames of `clip_loss`, whose kind `step.loss` says.
      step: Loss of a frame, norms, averages.
      validation: Videos that are segmented whole and scored; empty for none.
      validate_every: Steps between validations.
      checkpoint_every: Steps between checkpoints.
      keep: Number of newest checkpoints that stay; the best one stays, too.
      log_every: Steps that a row of the log is the mean of.
    """

    method: str
    method_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    grown_from: str | None = None
    backbones: tuple[str, ...] = ()
    twins: bool = False
    data: tuple[DataConfig, ...]
    recipe: Recipe
    batch: int
    steps: int
    seed: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    objective: Objective | None = None
    step: StepConfig = StepConfig()
    validation: tuple[DataConfig, ...] = ()
    validate_every: int = 1000
    checkpoint_every: int = 500
    keep: int = 3
    log_every: int = 50

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("data=() trains on nothing; name at least one data set")
        if self.grown_from is not None and (self.weights or self.backbones):
            raise ValueError(
                f"grown_from={self.grown_from!r} is a beginning of its own; leave out"
                " either it or weights and backbones"
            )
        if self.weights is not None and self.backbones:
            raise ValueError(
                f"weights={self.weights!r} have encoders of their own; leave out either"
                " them or backbones"
            )
        for name in (
            "batch",
            "steps",
            "validate_every",
            "checkpoint_every",
            "keep",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: use at least 1")


# What may differ between the parts of a resumed run: it changes no parameter.
_PRESENTATION = (
    "validation",
    "validate_every",
    "checkpoint_every",
    "keep",
    "log_every",
)


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
    file, _, chosen = name.partition(":")
    path, function = _find(file), chosen or "experiment"
    make = getattr(_run(path), function, None)
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
        experiment = _changed(experiment, path_text.split("."), literal(text), change)
    return experiment


def describe(experiment: Experiment) -> dict[str, Any]:
    """The experiment as what JSON can hold."""
    described: dict[str, Any] = _plain(experiment)
    return described


def _plain(value: Any) -> Any:
    def simpler(part: Any) -> Any:
        is_config = dataclasses.is_dataclass(part) and not isinstance(part, type)
        return dataclasses.asdict(part) if is_config else repr(part)

    return json.loads(json.dumps(value, default=simpler))


def completed(config: Any, stored: Any) -> Any:
    """A description from before `config` got some of its fields, with their defaults.

    So that a run can be resumed with a later version of this package.

    Args:
      config: An `Experiment`, or a part of one.
      stored: What `describe` made of such a one, and JSON of it.
    """
    if not (dataclasses.is_dataclass(config) and isinstance(stored, Mapping)):
        return stored
    whole = dict(stored)
    for each in dataclasses.fields(config):
        if each.name in whole:
            whole[each.name] = completed(getattr(config, each.name), whole[each.name])
        elif each.default is not dataclasses.MISSING:
            whole[each.name] = _plain(each.default)
    return whole


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Fields of two descriptions that differ and matter, as `a.b=theirs`."""
    ours, theirs = (
        {name: x for name, x in each.items() if name not in _PRESENTATION}
        for each in (ours, theirs)
    )
    return list(_differing("", ours, theirs))


def _differing(path: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in {**ours, **theirs}:
            inside = f"{path}.{name}" if path else name
            yield from _differing(inside, ours.get(name), theirs.get(name))
    elif ours != theirs:
        yield f"{path}={theirs!r}"


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


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: {type(error).__name__}: {reason}") from error
    return module


def _changed(thing: Any, path: Sequence[str], value: Any, change: str) -> Any:
    """`thing` with the field at `path` replaced."""
    name, *rest = path
    if isinstance(thing, tuple) and not hasattr(thing, "_fields"):
        if not name.isdigit() or int(name) >= len(thing):
            raise InputError(f"--set {change}: {name!r} is not one of {len(thing)}")
        index = int(name)
        part = _changed(thing[index], rest, value, change) if rest else value
        return (*thing[:index], part, *thing[index + 1 :])
    if isinstance(thing, Mapping):
        part = _changed(thing.get(name, {}), rest, value, change) if rest else value
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
    new = _changed(old, rest, value, change) if rest else _fitting(old, value, change)
    try:
        return dataclasses.replace(thing, **{name: new})  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise InputError(f"--set {change}: {error}") from error


def _fitting(old: Any, new: Any, change: str) -> Any:
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
