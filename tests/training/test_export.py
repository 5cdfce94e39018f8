"""Weights out of a run's folder, without its data or devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vos_jax.cli import main
from vos_jax.convert.weights import load_weights as read_weights
from vos_jax.data.recipes import VideoRecipe
from vos_jax.errors import InputError
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.weights import load_model
from vos_jax.runtime.mesh import make_mesh
from vos_jax.training.checkpoints import SCORE, Checkpoints
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.export import export_weights
from vos_jax.training.start import write_claim
from vos_jax.training.step import TrainState, create_train_state

# Of readers that Orbax never awaited, where a checkpoint is damaged.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

SCORES = {2: 0.5, 4: 0.9, 6: 0.7}


def make_experiment(method: str = "stm") -> Experiment:
    """An experiment whose data were somewhere else."""
    return Experiment(
        method=method,
        data=(DataConfig(source="davis2017", folder="gone"),),
        recipe=VideoRecipe(),
        batch=2,
        steps=6,
    )


@jax.jit
def state_at(step: int, first: TrainState) -> TrainState:
    params = jax.tree.map(lambda x: x + step, first.params)
    return first._replace(step=jnp.int32(step), params=params)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_method, tiny_variables):
    """A folder with checkpoints whose parameters have grown by the step."""

    def make(name, ema_decay, scores):
        workdir = tmp_path_factory.mktemp(name)
        write_claim(workdir, make_experiment(), tiny_method)
        config = StepConfig(ema_decay=ema_decay)
        optimizer = optax.adam(1e-3)
        first = create_train_state(tiny_variables, optimizer, make_mesh(), config)
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            for step in SCORES:
                state = state_at(step, first)
                checkpoints.save(step, state, scores and {SCORE: scores[step]})
        return workdir

    return make


@pytest.fixture(scope="module")
def plain(run):
    return run("plain", None, SCORES)


@pytest.mark.parametrize(
    ("which", "step"),
    [
        ("best", 4),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (("newest", 6), (2, 2))),
    ],
)
def test_a_checkpoint_becomes_a_weights_file(
    plain, tiny_method, tiny_variables, tmp_path, which, step
):
    target = tmp_path / "out.safetensors"
    figures = export_weights(plain, target, which)
    assert figures["step"] == step
    assert figures["arrays"] == len(jax.tree.leaves(tiny_variables))
    # Also where the experiment does not name the network's fields.
    method, variables = load_model("stm", target)
    assert method == tiny_method
    grown = jax.tree.map(lambda x: x + step, tiny_variables["params"])
    jax.tree.map(np.testing.assert_array_equal, variables["params"], grown)
    jax.tree.map(
        np.testing.assert_array_equal,
        variables["batch_stats"],
        tiny_variables["batch_stats"],
    )
    notes = read_weights(target).notes
    assert notes["step"] == str(step)
    assert json.loads(notes["experiment"])["data"][0]["folder"] == "gone"


def test_half_of_the_space_is_enough(plain, tmp_path):
    """As the command does it, from a checkpoint to a file that segments."""
    whole, half = (tmp_path / f"{name}.safetensors" for name in ("whole", "half"))
    assert main(["export", str(plain), str(whole)]) == 0
    assert main(["export", str(plain), str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    variables = [load_model("stm", path)[1]["params"] for path in (whole, half)]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 2**-10), *variables)


@pytest.mark.slow
def test_averaged_parameters_are_preferred(run, tiny_variables, tmp_path):
    workdir = run("averaged", 0.9, None)
    export_weights(workdir, tmp_path / "out.safetensors")
    _, variables = load_model("stm", tmp_path / "out.safetensors")
    # The average has not moved.
    jax.tree.map(
        np.testing.assert_array_equal, variables["params"], tiny_variables["params"]
    )
    with pytest.raises(InputError, match="no checkpoint was validated"):
        export_weights(workdir, tmp_path / "out.safetensors", "best")


def test_a_run_that_is_still_saving_is_not_disturbed(plain, tmp_path):
    unfinished = plain / "checkpoints" / "step_8.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    assert export_weights(plain, tmp_path / "out.safetensors")["step"] == 6
    assert unfinished.exists()
    unfinished.rmdir()


def test_a_step_that_is_not_there_lists_those_that_are(plain, tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint of step 3; it has: 2, 4, 6"):
        export_weights(plain, tmp_path / "out.safetensors", 3)


def test_a_folder_without_run_or_checkpoint_is_named(tmp_path, tiny_method):
    target = tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=r"run/experiment.json: cannot be read"):
        export_weights(tmp_path / "run", target)
    write_claim(tmp_path, make_experiment(), tiny_method)
    with pytest.raises(InputError, match=r"checkpoints: no such folder"):
        export_weights(tmp_path, target)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        export_weights(tmp_path, target)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(run, tmp_path):
    workdir = run("damaged", None, SCORES)
    for file in (workdir / "checkpoints" / "step_6").rglob("*"):
        if file.is_file() and "d" in file.parts[-2]:
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(InputError, match=r"step_6: cannot be restored") as caught:
        export_weights(workdir, tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)


def test_a_target_that_cannot_be_written_is_named(plain, tmp_path):
    with pytest.raises(InputError, match=r"out.npz: weights are written as"):
        export_weights(plain, tmp_path / "out.npz")
    with pytest.raises(InputError, match="make the folder"):
        export_weights(plain, tmp_path / "gone" / "out.safetensors")
