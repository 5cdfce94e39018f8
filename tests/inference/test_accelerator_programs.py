"""Programs for GPUs and TPUs, as a host without either lowers them.

What they may not have: a branch or a loop that waits for a value, which on a GPU stops
the host; a weight that is cast in every frame; anything that follows the devices of the
machine that builds them. The networks are narrow, which changes none of that.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.by_default import by_default
from tests.lowered import branches, converted, lower, open_loops
from tests.methods.every import NARROW, inputs_for, shallow, tiny
from vos_jax.inference.many import batch
from vos_jax.methods import create
from vos_jax.methods.base import Method
from vos_jax.methods.weights import variable_shapes
from vos_jax.runtime.mesh import by_clip, make_mesh, replicated
from vos_jax.training.experiment import describe
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.start import Claim, method_of_run, state_shapes
from vos_jax.training.step import make_train_step
from vos_jax.types import ClipBatch

SIZE = (64, 96)
SMALL = (32, 48)
PACKAGE = Path(vos_jax.__file__).parent

NOISE = 2e-5
"""Of the same network with its sums in another order, through six frames."""

# Of `jax`: what would make a program follow the machine that builds it.
ASKING = (
    "default_backend",
    "devices",
    "local_devices",
    "device_count",
    "local_device_count",
)


class Program(NamedTuple):
    """A lowered program.

    Attributes:
      module: Its StableHLO.
      weights: How many of its first arguments are weights.
      asked: What was asked about devices while it was built.
    """

    module: Any
    weights: int
    asked: list[str]


@contextmanager
def listening(asked: list[str]) -> Iterator[None]:
    """Notes who asks which devices there are; JAX itself asks another way."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ASKING:
            answer = getattr(jax, name)

            def ask(*args: Any, name: str = name, answer: Any = answer) -> Any:
                asked.append(name)
                return answer(*args)

            patch.setattr(jax, name, ask)
        yield


@cache
def step_program(name: str, platform: str) -> Program:
    """The public step of an inference form, whose state is given away."""
    asked: list[str] = []
    with listening(asked):
        method, variables = form_of(name, platform)
        frame = jax.ShapeDtypeStruct((*SIZE, 3), jnp.uint8)

        def step(variables: Any, state: Any, frame: Any, inputs: Any) -> Any:
            return vos_jax.step(method, variables, state, frame, inputs)

        state, inputs = started(method, variables), example_for(method)
        module = lower(step, (variables, state, frame, inputs), platform, donate=(1,))
    return Program(module, len(jax.tree.leaves(variables)), asked)


def started(method: Method, variables: Any) -> Any:
    """The shapes of the state of a first frame with two objects."""

    def start(variables: Any, frame: Any, labels: Any) -> Any:
        given = variables, frame, labels
        return vos_jax.start(method, *given, ids=(1, 2), frames=20)

    frame = jax.ShapeDtypeStruct((*SIZE, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct(SIZE, jnp.uint8)
    return jax.eval_shape(start, variables, frame, labels)


def example_for(method: Method) -> Any:
    """What a method takes with a frame; None for most."""
    if method.inputs is None:
        return None
    return jax.tree.map(np.asarray, method.inputs.example(SIZE))


@cache
def batch_module(name: str) -> Any:
    """The step of three places, as `--videos 3` has it."""
    method, variables = form_of(name, "cuda")

    def stacked(x: Any) -> Any:
        return jax.ShapeDtypeStruct((3, *x.shape), x.dtype)

    places = (jax.tree.map(stacked, started(method, variables)),)
    frames = (jax.ShapeDtypeStruct((*SIZE, 3), jnp.float32),) * 3
    given = variables, places, frames, (example_for(method),) * 3
    traced = batch.step_places.trace(method, *given)  # type: ignore[attr-defined]
    return traced.lower(lowering_platforms=("cuda",)).compiler_ir("stablehlo")


def form_of(name: str, platform: str) -> tuple[Method, Any]:
    """The inference form of a shallow network, with shapes for weights."""
    method = create(name, **{**NARROW[name], **shallow(name)}, dtype="bfloat16")
    made: list[Method] = []

    def form(variables: Any) -> Any:
        other, variables = vos_jax.inference_form(method, variables, platform=platform)
        made.append(other)
        return variables

    shapes = jax.eval_shape(form, variable_shapes(method))
    return made[0], shapes


@cache
def train_program() -> Program:
    """The step of an experiment for GPUs, with few channels."""
    options = {**NARROW["stm"], "dtype": "bfloat16"}
    experiment = replace(load_experiment("stm/main"), method_options=options)
    # Unrolled are only those for CPUs, and the mesh here is of one.
    config = replace(experiment.step, unroll=False)
    asked: list[str] = []
    mesh = make_mesh()
    with listening(asked):
        method = method_of_run(Claim(describe(experiment), {}))
        shapes = variable_shapes(method)
        optimizer = experiment.optimizer.build(experiment.steps, shapes["params"])
        step = make_train_step(method, optimizer, mesh, config)
        state = state_shapes(shapes, optimizer, mesh, config)
        clips = (2, 3, *SIZE)
        batch = ClipBatch(
            jax.ShapeDtypeStruct((*clips, 3), jnp.uint8),
            jax.ShapeDtypeStruct(clips, jnp.uint8),
            jax.ShapeDtypeStruct((2, 2), jnp.bool_),
        )
        key = jax.eval_shape(jax.random.key, 0)
        batch, key = _on(by_clip(mesh), batch), _on(replicated(mesh), key)
        module = lower(step, (state, batch, key), "cuda", donate=(0,))
    return Program(module, len(jax.tree.leaves(state)), asked)


def _on(where: Any, tree: Any) -> Any:
    return jax.tree.map(lambda x: x.update(sharding=where), tree)


def stem(value: str) -> str:
    """What a method or a file of one is called."""
    return Path(value).stem


# Steps that are nearly STM's or RDE-VOS's.
_ALIKE = [x for x in NARROW if x == "stcn" or x.endswith(".py")]

every_step = pytest.mark.parametrize(
    ("name", "platform"),
    [
        *((name, "cuda") for name in NARROW if name not in _ALIKE),
        *(pytest.param(name, "cuda", marks=pytest.mark.slow) for name in _ALIKE),
        # They are told apart in few places.
        ("stm", "tpu"),
        *(
            pytest.param(name, "tpu", marks=pytest.mark.slow)
            for name in ("rde", "dmn-aoa")
        ),
    ],
    ids=stem,
)


@every_step
def test_no_step_branches_on_a_value(name: str, platform: str) -> None:
    assert not branches(step_program(name, platform).module)


@every_step
def test_every_loop_of_a_step_turns_a_known_number_of_times(
    name: str, platform: str
) -> None:
    assert not open_loops(step_program(name, platform).module)


@every_step
def test_no_step_casts_its_weights(name: str, platform: str) -> None:
    program = step_program(name, platform)
    assert not converted(program.module, program.weights)


@every_step
def test_building_a_step_asks_for_no_device(name: str, platform: str) -> None:
    assert not step_program(name, platform).asked


@pytest.mark.parametrize("name", by_default(NARROW, {"stm"}), ids=stem)
def test_a_step_of_several_videos_neither_branches_nor_loops_openly(name: str) -> None:
    assert not branches(batch_module(name))
    assert not open_loops(batch_module(name))


def test_a_training_step_has_no_branch_and_only_loops_of_known_length() -> None:
    module = train_program().module
    assert not branches(module)
    assert not open_loops(module)


def test_building_a_training_step_asks_for_no_device() -> None:
    assert not train_program().asked


def asking(tree: ast.AST) -> list[int]:
    """Lines that ask which devices there are."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ASKING:
            owner = ast.unparse(node.value).split(".")[0]
            found += [node.lineno] if owner == "jax" else []
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            found += [node.lineno] if names & set(ASKING) else []
    return found


def test_no_operation_or_network_asks_for_devices() -> None:
    places = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for folder in ("ops", "nn", "methods")
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for line in asking(ast.parse(path.read_text()))
    ]
    assert not places


@pytest.mark.parametrize(
    "line",
    [
        "jax.default_backend()",
        "import jax\nx = [d for d in jax.devices()]",
        "from jax import local_devices as there",
    ],
)
def test_a_line_that_asks_for_devices_is_found(line: str) -> None:
    assert asking(ast.parse(line))
    assert not asking(ast.parse("x = mesh.devices.flat"))


def test_asking_while_a_program_is_built_is_noted() -> None:
    asked: list[str] = []
    with listening(asked):
        lower(lambda x: x * len(jax.default_backend()), (jnp.ones(3),), "cuda")
    assert asked == ["default_backend"]


# What they compute


_OFTEN = ("stm",)
"""Whose programs are compared in every run of the tests."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _OFTEN else pytest.mark.slow)
        for name in NARROW
    ],
    ids=[Path(name).stem for name in NARROW],
)
def test_programs_for_accelerators_find_what_those_for_cpus_find(name: str) -> None:
    """They run here as well; a frame that is not due, and an object that is late."""
    found, expected = (_video(name, platform) for platform in ("cuda", "cpu"))
    assert expected[-1][3].max() > 1e-3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=NOISE)


def _video(name: str, platform: str) -> list[np.ndarray]:
    model = vos_jax.inference_form(*tiny(name), platform=platform)
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (7, *SMALL, 3), np.uint8)
    labels = np.zeros(SMALL, np.uint8)
    labels[4:20, 4:24], labels[12:28, 28:44] = 1, 2
    inputs = inputs_for(model[0], labels)
    state = vos_jax.start(*model, frames[0], labels, objects=3, frames=7)
    probs = []
    for time, frame in enumerate(frames[1:], 1):
        state, out = vos_jax.step(*model, state, frame, inputs)
        probs.append(np.asarray(out.probs))
        if time == 3:
            late = np.where(labels == 0, 3, 0).astype(np.uint8)
            late[:, :40] = 0
            state = vos_jax.add_masks(*model, state, frame, late, ids=[3])
    return probs
