"""Runs from the first step to the last, stopped and gone on with."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from tests import small_run
from tests.optional import needs
from vos_jax.data import pipeline
from vos_jax.errors import InputError
from vos_jax.methods import METHODS
from vos_jax.methods.weights import load_model, load_weights
from vos_jax.training import loop as train_loop
from vos_jax.training import start as train_start
from vos_jax.training.checkpoints import SCORE, Checkpoints
from vos_jax.training.log import read_log
from vos_jax.training.loop import train
from vos_jax.training.optimizers import OptimizerConfig
from vos_jax.training.start import open_data

needs("tensorflow")


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Runs here have one optimizer: the step of the first one serves all."""
    make, steps = train_loop.make_train_step, {}

    def make_once(method, optimizer, mesh, config, objective):
        key = (method, mesh, config, objective)
        if key not in steps:
            steps[key] = make(method, optimizer, mesh, config, objective)
        return steps[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_loop, "make_train_step", make_once)
        yield


@pytest.fixture(autouse=True)
def few_pictures(whole, monkeypatch):
    """Curves are drawn by the run that was never stopped."""
    monkeypatch.setattr(train_loop, "draw_curves", lambda *_: None)


@pytest.fixture(scope="module", autouse=True)
def small_method():
    """A method that compiles in a second."""
    METHODS["small"] = small_run.ENTRY
    yield
    del METHODS["small"]


@pytest.fixture(scope="module")
def experiment(small_method):
    return small_run.experiment()


@pytest.fixture(scope="module")
def whole(experiment, compiled_once, tmp_path_factory):
    """A run that was never stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train(experiment, workdir)


def assert_same_weights(found, expected):
    ours, theirs = load_weights(found), load_weights(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_leaves_weights_a_log_and_pictures(whole):
    workdir, trained = whole
    assert trained.steps == 6
    assert trained.best is None
    method, _ = load_model("small", trained.weights)
    assert method.config.dtype == "float32"
    rows = read_log(workdir)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert {"loss", "iou", "grad_norm", "clips_per_second", "data_wait"} <= set(rows[0])
    assert rows[0]["learning_rate"] == pytest.approx(1e-3)
    assert json.loads((workdir / "experiment.json").read_text())["steps"] == 6
    with Image.open(workdir / "batch.png") as picture:
        assert picture.width > 100
    with Image.open(workdir / "curves.png") as picture:
        assert picture.width > 100
    assert any((workdir / "tensorboard").iterdir())


def test_the_weights_are_the_average_of_the_last_checkpoint(whole):
    workdir, trained = whole
    weights = load_weights(trained.weights)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.steps == (2, 4, 6)
        jax.tree.map(
            np.testing.assert_array_equal, weights, checkpoints.read_variables(6)
        )


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


def test_memory_that_runs_out_in_the_first_step_leaves_the_folder_free(
    experiment, tmp_path, monkeypatch
):
    def short():
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3.00GiB."
        )

    stop_after(monkeypatch, 1, short)
    with pytest.raises(InputError) as caught:
        train(experiment, tmp_path)
    message = str(caught.value)
    assert "3221225472 bytes (3.22 GB)" in message
    for field in ("batch=8", "recipe.size=(32, 32)", "step.accumulation=1", "remat"):
        assert field in message
    assert "\n" not in message
    smaller = dataclasses.replace(experiment, batch=4)
    assert train_start.claim(tmp_path, smaller) is None


@pytest.mark.slow
def test_memory_that_runs_out_later_loses_no_step(
    experiment, whole, tmp_path, monkeypatch
):
    def short():
        raise MemoryError

    stop_after(monkeypatch, 4, short)
    with pytest.raises(InputError, match="out of memory; lower batch=8"):
        train(experiment, tmp_path)
    monkeypatch.undo()
    assert train(experiment, tmp_path).steps == 3
    assert_same_weights(tmp_path / "weights.safetensors", whole[1].weights)


@pytest.mark.parametrize("steps", [1, pytest.param(3, marks=pytest.mark.slow)])
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
    # What a run begins with is of no use to one that goes on.
    monkeypatch.delattr(train_start, "begin")
    trained = train(experiment, tmp_path)
    assert trained.steps == 6 - steps
    assert_same_weights(trained.weights, whole[1].weights)
    ours, theirs = read_log(tmp_path), read_log(whole[0])
    assert [row["step"] for row in ours] == [2, 4, 6]
    assert [row["loss"] for row in ours][steps // 2 + steps % 2 :] == [
        row["loss"] for row in theirs
    ][steps // 2 + steps % 2 :]


def test_a_fault_in_the_middle_of_an_epoch_saves_what_was_done(
    experiment, tmp_path, monkeypatch
):
    def corrupt(clips, step, index):
        if step == 3:
            raise InputError("JPEGImages/bear/00004.jpg: is corrupt")
        return example(clips, step, index)

    example = pipeline.Clips.example
    monkeypatch.setattr(pipeline.Clips, "example", corrupt)
    with pytest.raises(InputError, match=r"00004\.jpg: is corrupt"):
        train(experiment, tmp_path)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == (2, 3)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_keeps_what_was_saved(
    experiment, whole, tmp_path, monkeypatch
):
    def full(manager, step, **options):
        if step >= 4:
            raise OSError(28, "No space left on device")
        return save(manager, step, **options)

    manager = train_loop.Checkpoints.__init__.__globals__["ocp"].CheckpointManager
    save = manager.save
    monkeypatch.setattr(manager, "save", full)
    with pytest.raises(InputError, match=r"No space left .* step 2 is whole; free"):
        train(experiment, tmp_path)
    monkeypatch.undo()
    trained = train(experiment, tmp_path)
    assert trained.steps == 4
    assert_same_weights(trained.weights, whole[1].weights)


def test_a_finished_run_has_nothing_to_do(experiment, whole):
    trained = train(experiment, whole[0])
    assert trained.steps == 0
    assert_same_weights(trained.weights, whole[1].weights)


def test_the_folder_of_another_experiment_is_refused(experiment, whole):
    other = dataclasses.replace(experiment, seed=1)
    with pytest.raises(InputError, match=r"belongs to an experiment with seed=0; use"):
        train(other, whole[0])


def test_a_run_that_never_saved_leaves_its_folder_to_another(experiment, tmp_path):
    bad = dataclasses.replace(experiment, optimizer=OptimizerConfig(warmup_steps=6))
    with pytest.raises(InputError, match="warmup_steps=6"):
        train(bad, tmp_path)
    assert train_start.claim(tmp_path, experiment) is None


def test_a_step_that_is_not_finite_stops_the_run_and_names_the_clips(
    experiment, tmp_path, monkeypatch
):
    def poisoned(*args):
        state, metrics = step(*args)
        if int(state.step) == 4:
            metrics = metrics | {"finite": jax.numpy.bool_(False)}
        return state, metrics

    make = train_loop.make_train_step

    def make_poisoned(*args):
        nonlocal step
        step = make(*args)
        return poisoned

    step = None
    monkeypatch.setattr(train_loop, "make_train_step", make_poisoned)
    with pytest.raises(InputError, match=r"step 4: .* not finite, on the clips") as e:
        train(experiment, tmp_path)
    source = open_data(experiment.data, None)
    clips = pipeline.Clips(source, experiment.recipe, seed=0, batch=8)
    for index in range(8):
        assert clips.example(3, index).name in str(e.value)
    assert "checkpoint is that of step 2" in str(e.value)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == (2,)


def test_validation_is_logged_drawn_and_keeps_the_best(
    experiment, tmp_path, monkeypatch
):
    scores = iter([0.7, 0.6])

    def validate(method, variables, source, inputs):
        assert inputs is None
        assert len(source.videos) == 8
        return {"J": 0.1, "F": 0.2, SCORE: next(scores)}, np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(train_loop, "validate", validate)
    watched = dataclasses.replace(
        experiment,
        validation=(small_run.GENERATED,),
        validate_every=4,
        checkpoint_every=2,
        keep=1,
        steps=5,
    )
    trained = train(watched, tmp_path)
    assert trained.scores == {"J": 0.1, "F": 0.2, SCORE: 0.6}
    rows = [row for row in read_log(tmp_path) if "validation J&F" in row]
    assert [(row["step"], row["validation J&F"]) for row in rows] == [
        (4, 0.7),
        (5, 0.6),
    ]
    assert sorted(p.name for p in (tmp_path / "validation").iterdir()) == [
        "step_4.png",
        "step_5.png",
    ]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == (4, 5)
        best = checkpoints.read_variables(4)
    assert trained.best == tmp_path / "best.safetensors"
    jax.tree.map(np.testing.assert_array_equal, load_weights(trained.best), best)
    with pytest.raises(AssertionError):
        assert_same_weights(trained.best, trained.weights)


def test_missing_data_are_named_before_anything_is_made(experiment, tmp_path):
    real = dataclasses.replace(
        small_run.GENERATED, source="davis2017", folder="DAVIS", options={}
    )
    missing = dataclasses.replace(experiment, data=(real,))
    with pytest.raises(InputError, match=r"say with --data where 'DAVIS' is"):
        train(missing, tmp_path / "run")
    with pytest.raises(InputError, match="DAVIS"):
        train(missing, tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()
