"""What a run begins with, and whose its folder is."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from vos_jax.data.recipes import VideoRecipe
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.weights import variable_shapes
from vos_jax.runtime.mesh import make_mesh
from vos_jax.training.experiment import DataConfig, Experiment, describe
from vos_jax.training.optimizers import OptimizerConfig
from vos_jax.training.start import (
    Claim,
    begin,
    claim,
    method_of_run,
    open_data,
    read_claim,
    state_shapes,
    write_claim,
)
from vos_jax.training.step import create_train_state

OPTIONS = {"count": 4, "length": 6, "size": (32, 32), "objects": (1, 2)}
GENERATED = DataConfig(source="generated", options=OPTIONS)
NETWORK = {
    "backbone": {"depth": 18, "width": 4},
    "key_dim": 4,
    "value_dim": 4,
    "decoder_dim": 4,
}


@pytest.fixture
def experiment():
    return Experiment(
        method="stm",
        method_options=NETWORK,
        data=(GENERATED,),
        recipe=VideoRecipe(frames=2, size=(32, 32), objects=2),
        batch=2,
        steps=6,
    )


@pytest.fixture
def weights(tmp_path, tiny_method, tiny_variables):
    path = tmp_path / "begin.safetensors"
    vos_jax.save_weights(path, "stm", tiny_method, tiny_variables)
    return path


def test_repeated_data_count_several_times():
    twice = dataclasses.replace(GENERATED, repeat=2)
    assert len(open_data((twice, GENERATED), None).videos) == 12


@pytest.mark.slow
def test_a_run_begins_with_another_network(experiment, tmp_path):
    path = tmp_path / "begin.safetensors"
    method = create(experiment.method, **experiment.method_options)
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), variable_shapes(method))
    vos_jax.save_weights(path, "stm", method, ones)
    for beginning in ("shared_from", "grown_from"):
        begun = dataclasses.replace(experiment, **{beginning: str(path)})
        _, variables = begin(begun, None)
        jax.tree.map(np.testing.assert_array_equal, variables, ones)


def test_there_is_one_beginning(experiment):
    for two in (
        {"weights": "a", "grown_from": "b"},
        {"shared_from": "a", "grown_from": "b"},
        {"shared_from": "a", "backbones": ("b",)},
    ):
        with pytest.raises(ValueError, match=r"_from='.' is a beginning of its own"):
            dataclasses.replace(experiment, **two)


def test_a_run_that_began_with_weights_goes_on_without_them(
    experiment, weights, tmp_path, tiny_variables
):
    ours = dataclasses.replace(
        experiment, method_options={"dtype": "bfloat16"}, weights=str(weights)
    )
    method, variables = begin(ours, open_data(ours.data, None))
    jax.tree.map(np.testing.assert_array_equal, variables, dict(tiny_variables))
    write_claim(tmp_path, ours, method)
    weights.unlink()
    begun = read_claim(tmp_path)
    assert begun.experiment == describe(ours)
    assert method_of_run(begun) == method
    assert method.config.dtype == "bfloat16"
    assert method.config.key_dim == 8


def test_the_shapes_of_a_state_are_those_of_one(tiny_method, tiny_variables):
    config = StepConfig(ema_decay=0.9)
    frozen = OptimizerConfig(frozen=("query_encoder/*",))
    optimizer = frozen.build(9, tiny_variables["params"])
    mesh = make_mesh()
    state = create_train_state(tiny_variables, optimizer, mesh, config)
    found = state_shapes(variable_shapes(tiny_method), optimizer, mesh, config)
    assert jax.tree.structure(found) == jax.tree.structure(state)

    def same(shape, x):
        assert (shape.shape, shape.dtype) == (x.shape, x.dtype)
        assert shape.sharding == x.sharding

    jax.tree.map(same, found, state)


def test_a_folder_with_a_checkpoint_belongs_to_its_experiment(experiment, tmp_path):
    method = vos_jax.create("stm", **NETWORK)
    assert claim(tmp_path / "run", experiment) is None
    write_claim(tmp_path / "run", experiment, method)
    (tmp_path / "run" / "checkpoints" / "step_2").mkdir(parents=True)
    begun = claim(tmp_path / "run", experiment)
    assert isinstance(begun, Claim)
    assert begun.architecture["key_dim"] == 4
    more = dataclasses.replace(experiment, log_every=1)
    assert claim(tmp_path / "run", more) == begun
    with pytest.raises(InputError, match=r"run: belongs to .* with seed=0; use"):
        claim(tmp_path / "run", dataclasses.replace(experiment, seed=3))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "{}", '{"method": 3, "method_options": {}}'),
        *('{"method": "stm"}', '{"method": "stm", "method_options": 3}'),
        '{"method": "stm", "method_options": {}, "architecture": [1]}',
    ],
)
def test_a_damaged_description_is_named(experiment, tmp_path, text):
    (tmp_path / "checkpoints" / "step_2").mkdir(parents=True)
    (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(InputError, match=r"experiment.json: damaged; use another"):
        claim(tmp_path, experiment)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_description_that_an_editor_has_saved_is_read(experiment, tmp_path, encoding):
    write_claim(tmp_path, experiment, vos_jax.create("stm", **NETWORK))
    (tmp_path / "checkpoints" / "step_2").mkdir(parents=True)
    path = tmp_path / "experiment.json"
    path.write_text(path.read_text(), encoding=encoding, newline="\r\n")
    begun = claim(tmp_path, experiment)
    assert begun is not None
    assert begun.experiment == describe(experiment)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"experiment.json: cannot be read: .* a train"
    ):
        read_claim(tmp_path / "gone")


def test_a_folder_that_cannot_be_made_is_named(experiment, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run: cannot be made"):
        claim(tmp_path / "file" / "run", experiment)


def test_weights_of_another_method_are_refused(experiment, weights, tmp_path):
    other = dataclasses.replace(
        experiment, method="stm-tiny", method_options={}, weights=str(weights)
    )
    with pytest.raises(InputError, match="weights of 'stm', not of 'stm-tiny'"):
        begin(other, open_data(other.data, None))
    missing = dataclasses.replace(other, weights=str(tmp_path / "gone.safetensors"))
    with pytest.raises(InputError, match=r"gone\.safetensors"):
        begin(missing, open_data(other.data, None))


def test_a_seed_gives_one_beginning(experiment, monkeypatch):
    """Without computing it: what is drawn depends on the key alone."""
    keys = []

    def init(method, key, frame, masks):
        keys.append(jax.random.key_data(key).tolist())
        return {"params": {"w": jnp.zeros(1)}}

    monkeypatch.setattr("vos_jax.methods.stm.STM.init", init)
    for seed in (0, 0, 1):
        begin(dataclasses.replace(experiment, seed=seed), open_data((GENERATED,), None))
    assert keys[0] == keys[1] != keys[2]


def test_the_description_of_a_run_is_text(experiment, tmp_path):
    write_claim(tmp_path, experiment, vos_jax.create("stm", **NETWORK))
    described = json.loads((tmp_path / "experiment.json").read_text())
    assert described["recipe"]["size"] == [32, 32]
    assert described["architecture"]["backbone"]["depth"] == 18
