"""How a training run begins: its data, its working folder, its first state."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vos_jax.data.clips import batch_at
from vos_jax.data.source import Source
from vos_jax.data.sources import ConcatSource, open_source
from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path
from vos_jax.media.text import read_text
from vos_jax.methods import create
from vos_jax.methods.base import Method
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.weights import architecture, load_model, variable_shapes
from vos_jax.runtime.mesh import replicated
from vos_jax.training.checkpoints import Checkpoints
from vos_jax.training.experiment import (
    DataConfig,
    Experiment,
    describe,
    differences,
    with_defaults,
)
from vos_jax.training.initial_weights.backbones import with_backbone
from vos_jax.training.initial_weights.grow import load_into_larger
from vos_jax.training.initial_weights.shared import with_shared
from vos_jax.training.initial_weights.twins import twins
from vos_jax.training.optimizers import Optimizer
from vos_jax.training.step import TrainState, create_train_state

_EXPERIMENT = "experiment.json"
_ARCHITECTURE, _INPUTS = "architecture", "inputs"
_TWIN_CLIPS = 16
# The plain read has the gradients.
_SETTINGS = {"read": "reference"}


def open_data(configs: tuple[DataConfig, ...], data: Path | None) -> Source:
    """Opens the data sets of an experiment as one source.

    Raises:
      InputError: One of them is missing or damaged.
    """
    sources: dict[str, Source] = {}
    for config in configs:
        root = None
        if config.folder is not None:
            if data is None:
                raise InputError(
                    f"data set {config.source!r} is a folder; say with --data where"
                    f" {config.folder!r} is"
                )
            root = data / config.folder
        source = open_source(config.source, root, **config.options)
        for copy in range(config.repeat):
            name = f"{config.source}{len(sources)}" if sources else config.source
            sources[name if not copy else f"{name}-{copy}"] = source
    return ConcatSource(sources) if len(sources) > 1 else next(iter(sources.values()))


class Claim(NamedTuple):
    """Whose a working folder is.

    Attributes:
      experiment: As `describe` gives it.
      architecture: Fields of the method's configuration that its weights depend on.
      inputs: Identity of what comes with the frames; None where nothing does.
    """

    experiment: dict[str, Any]
    architecture: dict[str, Any]
    inputs: str | None = None


def claim(workdir: Path, experiment: Experiment) -> Claim | None:
    """Makes the working folder, or checks that it is this experiment's.

    One without a checkpoint belongs to nobody: nothing is lost with it.

    Returns:
      What is written there; None where it belonged to nobody.

    Raises:
      InputError: It is another one's, or cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        begun = any(workdir.glob("checkpoints/step_*"))
    except OSError as error:
        raise InputError(f"{workdir}: cannot be made: {error.strerror}") from error
    if not (begun and (workdir / _EXPERIMENT).exists()):
        return None
    theirs = read_claim(workdir)
    stored = with_defaults(experiment, theirs.experiment)
    if others := differences(describe(experiment), stored):
        raise InputError(
            f"{workdir}: belongs to an experiment with {', '.join(others)}; use"
            " another --workdir, or the same settings"
        )
    return theirs


def read_claim(workdir: Path) -> Claim:
    """Reads what `write_claim` has written.

    Raises:
      InputError: It is missing or damaged.
    """
    path = workdir / _EXPERIMENT
    try:
        described = json.loads(read_text(path))
        parts = described.pop(_ARCHITECTURE, {}), described.pop(_INPUTS, None)
        begun = Claim(described, *parts)
        _check_claim(begun)
        return begun
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; name the working folder of a"
            " training run"
        ) from error
    except (ValueError, AttributeError, TypeError, LookupError) as error:
        raise InputError(f"{path}: damaged; use another --workdir") from error


def _check_claim(begun: Claim) -> None:
    """Whether a method can be made of it."""
    kinds = {"method": str, "method_options": dict}
    fits = [isinstance(begun.experiment[name], kind) for name, kind in kinds.items()]
    if not (all(fits) and isinstance(begun.architecture, dict)):
        raise TypeError(f"{begun}: is no description of a run")


def check_inputs_claim(workdir: Path, begun: Claim | None, inputs: str | None) -> None:
    """Checks that a run goes on with what came with its frames before.

    Raises:
      InputError: It is another one, whatever its name.
    """
    if begun is not None and begun.inputs != inputs:
        raise InputError(
            f"{workdir}: belongs to a run with inputs {begun.inputs!r}, not {inputs!r};"
            " use another --workdir, or the same inputs"
        )


def write_claim(
    workdir: Path, experiment: Experiment, method: Method, inputs: str | None = None
) -> None:
    """Writes whose a working folder is from now on.

    Raises:
      InputError: The file cannot be written.
    """
    described = {**describe(experiment), _ARCHITECTURE: architecture(method)}
    if inputs is not None:
        described[_INPUTS] = inputs
    with atomic_path(workdir / _EXPERIMENT) as temporary:
        temporary.write_text(json.dumps(described, indent=1) + "\n")


def begin(
    experiment: Experiment, source: Source, *, skip_bad: bool = False
) -> tuple[Method, dict[str, Any]]:
    """The method and the variables that training begins with.

    Args:
      experiment: What to do.
      source: Its data, whose first clips `twins` looks at.
      skip_bad: Take other clips where a file cannot be read.

    Raises:
      InputError: The weights file is not one of the method.
    """
    options = {**_SETTINGS, **experiment.method_options}
    if experiment.weights is not None:
        return load_model(experiment.method, experiment.weights, **options)
    method = create(experiment.method, **options)
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    key = jax.random.key(experiment.seed)
    variables: Any = method.init(key, frame, masks)
    more = jax.random.fold_in(key, 1)
    if experiment.grown_from is not None:
        path = experiment.grown_from
        variables = load_into_larger(experiment.method, variables, path, more)
    if experiment.shared_from is not None:
        path = experiment.shared_from
        variables = with_shared(experiment.method, variables, path)
    for path in experiment.backbones:
        variables = with_backbone(variables, path, more)
    if experiment.twins:
        recipe, seed = experiment.recipe, experiment.seed
        clips = batch_at(source, recipe, seed, 0, _TWIN_CLIPS, skip_bad=skip_bad)
        variables = twins(method, variables, clips)
    return method, variables


def method_of_run(begun: Claim) -> Method:
    """The method of a run that has begun; the weights it began with may be gone.

    Raises:
      InputError: There is no such method any more.
    """
    options = {**_SETTINGS, **begun.architecture}
    options |= begun.experiment["method_options"]
    return create(begun.experiment["method"], **options)


class Start(NamedTuple):
    """What a run goes on from.

    Attributes:
      method: The network.
      optimizer: Its optimizer.
      state: On the devices.
    """

    method: Method
    optimizer: Optimizer
    state: TrainState


def start_or_resume(
    experiment: Experiment,
    source: Source,
    mesh: Mesh,
    checkpoints: Checkpoints,
    begun: Claim | None,
    *,
    skip_bad: bool = False,
) -> Start:
    """The state of the newest checkpoint; without one, that before the first step.

    Args:
      experiment: What to do.
      source: Its data.
      mesh: Where the state is to be.
      checkpoints: Of the working folder.
      begun: From `claim`.
      skip_bad: As for `begin`.

    Raises:
      InputError: The weights to begin with, the optimizer or the checkpoint do not fit.
    """
    steps, config = experiment.steps, experiment.step
    if begun is None or checkpoints.latest is None:
        method, variables = begin(experiment, source, skip_bad=skip_bad)
        optimizer = experiment.optimizer.build(steps, variables["params"])
        state = create_train_state(variables, optimizer, mesh, config)
        return Start(method, optimizer, state)
    method = method_of_run(begun)
    shapes = variable_shapes(method)
    optimizer = experiment.optimizer.build(steps, shapes["params"])
    like = state_shapes(shapes, optimizer, mesh, config)
    return Start(method, optimizer, checkpoints.restore(like))


def state_shapes(
    shapes: Any, optimizer: Optimizer, mesh: Mesh, config: StepConfig
) -> TrainState:
    """What `create_train_state` makes of variables of these shapes, uncomputed."""
    params = shapes["params"]
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(
        step=step,
        params=params,
        batch_stats=shapes.get("batch_stats", {}),
        opt_state=jax.eval_shape(optimizer.init, params),
        average=None if config.ema_decay is None else params,
    )
    placement = replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), state
    )
