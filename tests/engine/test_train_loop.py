"""Runs from the first step to the last, stopped and gone on with."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from vos_jax.data import pipeline
from vos_jax.data.sampling import VideoRecipe
from vos_jax.engine import train_loop
from vos_jax.engine.checkpoint import Checkpoints
from vos_jax.engine.compilation_cache import use_compilation_cache
from vos_jax.engine.devices import make_mesh
from vos_jax.engine.experiment import DataConfig, Experiment
from vos_jax.engine.model import load_model, load_weights
from vos_jax.engine.optimizers import OptimizerConfig
from vos_jax.engine.train_log import read_log
from vos_jax.engine.train_loop import claim, open_data, train
from vos_jax.engine.train_step import StepConfig, create_train_state
from vos_jax.errors import InputError

pytest.importorskip("tensorflow")

OPTIONS = {"count": 4, "length": 6, "size": (32, 32), "objects": (1, 2)}
GENERATED = DataConfig(source="generated", options=OPTIONS)


@pytest.fixture(scope="module")
def experiment():
    return Experiment(
        method="stm",
        method_options={
            "backbone": {"depth": 18, "width": 4},
            "key_dim": 4,
            "value_dim": 4,
            "decoder_dim": 4,
        },
        twins=True,
        data=(GENERATED,),
        recipe=VideoRecipe(frames=2, size=(32, 32), objects=2),
        batch=2,
        steps=6,
        optimizer=OptimizerConfig(learning_rate=1e-3),
        step=StepConfig(norms="batch", ema_decay=0.9),
        log_every=2,
        checkpoint_every=2,
        validate_every=4,
    )


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Every run builds its own step; compile it once for all of them."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    use_compilation_cache(tmp_path_factory.mktemp("programs"))
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    """A run that was never stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train(experiment, workdir)


def assert_same_weights(found, expected):
    ours, theirs = load_weights(found), load_weights(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_leaves_weights_a_log_and_pictures(experiment, whole):
    workdir, trained = whole
    assert trained.steps == 6
    method, _ = load_model("stm", trained.weights)
    assert method.config.key_dim == 4
    rows = read_log(workdir)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert {"loss", "iou", "grad_norm", "clips_per_second", "data_wait"} <= set(rows[0])
    assert rows[0]["learning_rate"] == pytest.approx(1e-3)
    assert json.loads((workdir / "experiment.json").read_text())["steps"] == 6
    with Image.open(workdir / "batch.png") as picture:
        assert picture.width > 100
    assert any((workdir / "tensorboard").iterdir())


def test_the_exported_weights_are_the_average_of_the_last_checkpoint(experiment, whole):
    workdir, trained = whole
    variables = load_weights(trained.weights)
    optimizer = experiment.optimizer.build(6, variables["params"])
    like = create_train_state(variables, optimizer, make_mesh(), experiment.step)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.steps == (2, 4, 6)
        state = checkpoints.restore(like)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.average)
    jax.tree.map(
        np.testing.assert_array_equal, variables["batch_stats"], state.batch_stats
    )
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), state.params, state.average)
    assert any(jax.tree.leaves(moved))


def stop_after(monkeypatch, steps, action):
    """Lets `action` happen in the middle of a step's work on the host."""
    done = []

    def counted(mesh, batch, accumulation=1):
        done.append(1)
        if len(done) == steps:
            action()
        return shard(mesh, batch, accumulation)

    shard = train_loop.shard_batch
    monkeypatch.setattr(train_loop, "shard_batch", counted)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_stopped_by_a_signal_saves_and_ends_with_the_same_bits(
    experiment, whole, tmp_path, monkeypatch, steps
):
    stop = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    stop_after(monkeypatch, steps, stop)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path)
    monkeypatch.undo()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest == steps
    trained = train(experiment, tmp_path)
    assert trained.steps == 6 - steps
    assert_same_weights(trained.weights, whole[1].weights)
    steps_logged = [row["step"] for row in read_log(tmp_path)]
    assert steps_logged == [2, 4, 6]


def test_a_finished_run_has_nothing_to_do(experiment, whole, tmp_path):
    trained = train(experiment, whole[0])
    assert trained.steps == 0
    assert_same_weights(trained.weights, whole[1].weights)


def test_the_folder_of_another_experiment_is_refused(experiment, whole):
    other = dataclasses.replace(experiment, seed=1)
    with pytest.raises(InputError, match=r"belongs to an experiment with seed=0; use"):
        train(other, whole[0])


def test_a_run_that_never_saved_leaves_its_folder_to_another(experiment, tmp_path):
    bad = dataclasses.replace(
        experiment, optimizer=OptimizerConfig(warmup_steps=6), checkpoint_every=6
    )
    with pytest.raises(InputError, match="warmup_steps=6"):
        train(bad, tmp_path)
    claim(tmp_path, experiment)
    described = json.loads((tmp_path / "experiment.json").read_text())
    assert described["optimizer"]["warmup_steps"] == 0


def test_a_step_that_is_not_finite_stops_the_run_and_names_the_clips(
    experiment, tmp_path, monkeypatch
):
    def poisoned(*args):
        state, metrics = step(*args)
        if int(state.step) == 4:
            metrics = metrics | {"finite": jax.numpy.bool_(False)}
        return state, metrics

    make = train_loop.make_train_step

    def made(*args):
        nonlocal step
        step = make(*args)
        return poisoned

    step = None
    monkeypatch.setattr(train_loop, "make_train_step", made)
    with pytest.raises(InputError, match=r"step 4: .* not finite, on the clips") as e:
        train(experiment, tmp_path)
    source = open_data(experiment.data, None)
    clips = pipeline.Clips(source, experiment.recipe, seed=0, batch=2)
    for index in range(2):
        assert clips.example(3, index).name in str(e.value)
    assert "checkpoint is that of step 2" in str(e.value)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == (2,)


def test_validation_is_logged_drawn_and_keeps_the_best(experiment, tmp_path):
    watched = dataclasses.replace(
        experiment,
        validation=(dataclasses.replace(GENERATED, options=OPTIONS | {"seed": 1}),),
        keep=1,
        steps=5,
    )
    trained = train(watched, tmp_path)
    assert set(trained.scores) == {"J", "F", "J&F"}
    rows = [row for row in read_log(tmp_path) if "validation J&F" in row]
    assert [row["step"] for row in rows] == [4, 5]
    assert rows[-1]["validation J&F"] == pytest.approx(trained.scores["J&F"])
    assert sorted(p.name for p in (tmp_path / "validation").iterdir()) == [
        "step_4.png",
        "step_5.png",
    ]
    best = max(rows, key=lambda row: row["validation J&F"])["step"]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert set(checkpoints.steps) == {best, 5}


def test_missing_data_are_named_before_anything_is_made(experiment, tmp_path):
    real = DataConfig(source="davis2017", folder="DAVIS")
    missing = dataclasses.replace(experiment, data=(real,))
    with pytest.raises(InputError, match=r"say with --data where 'DAVIS' is"):
        train(missing, tmp_path / "run")
    with pytest.raises(InputError, match="DAVIS"):
        train(missing, tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()


def test_repeated_data_count_several_times():
    twice = dataclasses.replace(GENERATED, repeat=2)
    assert len(open_data((twice, GENERATED), None).videos) == 12
