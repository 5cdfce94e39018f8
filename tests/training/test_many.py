"""Whole runs on several devices and in several processes."""

import signal
import time

import jax
import numpy as np
import pytest

from tests import small_run
from tests.optional import needs
from tests.training.test_step import assert_near
from vos_jax.methods import METHODS
from vos_jax.methods.weights import load_weights
from vos_jax.training.checkpoints import Checkpoints
from vos_jax.training.log import read_log
from vos_jax.training.loop import train
from vos_jax.training.start import begin, open_data

needs("tensorflow")

STEPS = 6
# Of runs that are stopped in between.
MANY = 14


@pytest.fixture(scope="module")
def experiment():
    METHODS["small"] = small_run.ENTRY
    yield small_run.experiment(**CHANGES)
    del METHODS["small"]


# Without Adam, which makes steps of full length of gradients that are mere noise.
CHANGES = {
    "steps": STEPS,
    "log_every": 1,
    "optimizer": small_run.SGD,
    "step": small_run.BATCH_NORMS,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all runs are, for they share compiled programs."""
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def alone(experiment, folder):
    """One process with one device."""
    return train(experiment, folder / "alone")


LONGER = {**CHANGES, "steps": MANY}


def finish(processes, status=0):
    """Waits for all of them; returns what they said."""
    try:
        said = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == status, text
    return said


def wait_for_step(workdir, step, processes):
    """Until a run that logs every step has done so many."""
    while len(read_log(workdir)) < step:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def assert_same_run(found, expected, experiment):
    """Losses, the rest of the log, and what was added to the parameters."""
    names = ("step", "loss", "iou", "grad_norm", "learning_rate")
    ours, theirs = (
        [{name: row[name] for name in names} for row in read_log(workdir)]
        for workdir in (found, expected)
    )
    assert len(ours) == len(theirs) == STEPS
    # Sums over some thousand pixels in another order; what that does to a step, the
    # next ones start from.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, theirs)
    _, before = begin(experiment, open_data(experiment.data, None))
    changes = [
        jax.tree.map(lambda a, b: a - b, weights["params"], before["params"])
        for weights in (
            load_weights(workdir / "weights.safetensors")
            for workdir in (found, expected)
        )
    ]
    assert_near(*changes, tolerance=1e-3)


def assert_same_weights(found, expected):
    """Bit by bit: a sum of two numbers has no order."""
    ours, theirs = (
        load_weights(path / "weights.safetensors") for path in (found, expected)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_eight_devices_of_two_processes_do_what_one_does_and_one_goes_on(
    experiment, alone, folder
):
    workdir = folder / "eight"
    finish(small_run.start_run(workdir, processes=2, devices=4, changes=CHANGES))
    assert_same_run(workdir, folder / "alone", experiment)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        first, *later = checkpoints.steps
    for step in later:
        (workdir / "checkpoints" / f"step_{step}").rename(folder / f"later_{step}")
    assert train(experiment, workdir).steps == STEPS - first > 3
    assert_same_run(workdir, folder / "alone", experiment)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(folder):
    whole, workdir, steps = folder / "whole", folder / "stopped", [0]
    finish(small_run.start_run(whole, 2, changes=LONGER))
    for number, process in ((signal.SIGTERM, 1), (signal.SIGINT, 0)):
        started = small_run.start_run(workdir, 2, changes=LONGER, pause=0.7)
        wait_for_step(workdir, steps[-1] + 1, started)
        started[process].send_signal(number)
        for said in finish(started, 130):
            assert said.endswith("vos-jax: interrupted; what is written is whole\n")
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            steps.append(checkpoints.latest)
        logged = [row["step"] for row in read_log(workdir)]
        assert logged == list(range(1, steps[-1] + 1))
    assert 0 < steps[1] < steps[2] < MANY
    finish(small_run.start_run(workdir, 2, changes=LONGER))
    assert_same_weights(workdir, whole)


@pytest.mark.slow
def test_a_fault_or_the_death_of_one_process_ends_both(folder):
    workdir = folder / "fault"
    started = small_run.start_run(workdir, 2, changes=LONGER, fault=5)
    lost, said = finish(started, 2)
    assert said.endswith("vos-jax: error: a.png: is corrupt\n")
    assert "(0 of 2) lost another one, whose own message says why" in lost
    assert lost.endswith("to go on from step 4\n")
    started = small_run.start_run(workdir, 2, changes=LONGER, pause=0.7)
    # Beyond what the run before has logged.
    wait_for_step(workdir, 7, started)
    started[1].kill()
    lost, _ = started[0].communicate(timeout=300)
    assert started[0].returncode == 2
    assert "(0 of 2) lost another one" in lost
