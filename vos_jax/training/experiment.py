"""What a training run is: a frozen description, and how two of them differ.

`vos_jax.training.experiment_file` makes one from a Python file.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vos_jax.data.literal import literal
from vos_jax.data.recipes import Recipe
from vos_jax.methods.objective import Objective, StepConfig
from vos_jax.training.optimizers import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set to train on or to validate with.

    Attributes:
      source: Name for `vos_jax.data.sources.open_source`.
      folder: Its folder inside `--data`; None for data that are generated.
      options: What else the source takes: a split, a resolution.
      repeat: How many times it counts in an epoch beside the others.
      inputs: What else the method takes with its frames: what `InputKind.open` of its
        `inputs` takes, a path inside of `--data`. Without, what can be made of frames
        alone comes with those that are generated, and a method that takes more asks.
    """

    source: str
    folder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 1
    inputs: str | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One stage of training.

    Attributes:
      method: Name for `vos_jax.create`.
      method_options: Fields of its configuration to change.
      weights: `.safetensors` file to begin with; None begins at random.
      grown_from: `.safetensors` file of the same method in smaller, or of the one that
        it extends, to begin with, or the name of one whose weights ship: what it lacks,
        the kernel of one more input or a part of the network, begins at random.
      shared_from: `.safetensors` file of another method, or of this one with other
        parts, or the name of one whose weights ship: arrays of the same name (or that
        the method's `Entry` knows by another one) and shape begin with it, all others
        at random, or with zeros where the `Entry` says so.
      backbones: `.safetensors` files of ImageNet networks, for the encoders of a random
        start. Or of a method, as `stm-tiny`, whose query encoder is such a network.
      twins: From a random start, begin the memory encoder as a copy of the query
        encoder, so that keys of the same appearance match from the first step.
        DMN-AOA's templates begin as the features that they are read from.
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
    shared_from: str | None = None
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
        for name in ("grown_from", "shared_from"):
            others = {"weights", "grown_from", "shared_from", "backbones"} - {name}
            if getattr(self, name) and any(getattr(self, other) for other in others):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is a beginning of its own; leave"
                    f" out either it or {', '.join(sorted(others))}"
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


def describe(experiment: Experiment) -> dict[str, Any]:
    """The experiment as what JSON can hold."""
    described: dict[str, Any] = _plain(experiment)
    return described


def _plain(value: Any) -> Any:
    def simpler(part: Any) -> Any:
        is_config = dataclasses.is_dataclass(part) and not isinstance(part, type)
        return dataclasses.asdict(part) if is_config else repr(part)

    return json.loads(json.dumps(value, default=simpler))


def list_fields(experiment: Experiment) -> Iterator[str]:
    """Every field in a line of its own, `a.b = value`, which `--set` takes again.

    Lines with a `#` name what `--set` cannot write: the class of the fields that
    follow, and values that are no Python literals.
    """
    return _list_fields("", experiment)


def _list_fields(path: str, value: Any) -> Iterator[str]:
    parts: Mapping[Any, Any] = {}
    if dataclasses.is_dataclass(value):
        if path:
            yield f"# {path}: {type(value).__name__}"
        parts = {x.name: getattr(value, x.name) for x in dataclasses.fields(value)}
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        parts = dict(enumerate(value))
    elif isinstance(value, Mapping) and not any(set(".=") & set(x) for x in value):
        parts = value
    for name, part in parts.items():
        yield from _list_fields(f"{path}.{name}" if path else str(name), part)
    if not parts:
        mark = "" if literal(repr(value)) == value else "# "
        yield f"{mark}{path} = {value!r}"


def with_defaults(config: Any, stored: Any) -> Any:
    """A description from before `config` got some of its fields, with their defaults.

    So that a run can be resumed with a later version of this package.

    Args:
      config: An `Experiment`, or a part of one.
      stored: What `describe` made of such a one, and JSON of it.
    """
    if isinstance(config, tuple) and isinstance(stored, list):
        if len(config) != len(stored):
            return stored
        return [with_defaults(*pair) for pair in zip(config, stored, strict=True)]
    if not (dataclasses.is_dataclass(config) and isinstance(stored, Mapping)):
        return stored
    whole = dict(stored)
    for each in dataclasses.fields(config):
        if each.name in whole:
            part = getattr(config, each.name)
            whole[each.name] = with_defaults(part, whole[each.name])
        elif each.default is not dataclasses.MISSING:
            whole[each.name] = _plain(each.default)
    return whole


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Fields of two descriptions that differ and matter, as `a.b=theirs`."""
    ours, theirs = (
        {name: x for name, x in each.items() if name not in _PRESENTATION}
        for each in (ours, theirs)
    )
    return list(_walk("", ours, theirs))


def _walk(path: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in {**ours, **theirs}:
            inside = f"{path}.{name}" if path else name
            yield from _walk(inside, ours.get(name), theirs.get(name))
    elif ours != theirs:
        yield f"{path}={theirs!r}"
