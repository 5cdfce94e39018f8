"""Runs that are killed without warning."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.optional import needs
from vos_jax.methods.weights import load_weights

needs("tensorflow")

KILLS = 20
EXPERIMENT = """
from vos_jax.data.recipes import VideoRecipe
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig
from vos_jax.methods.objective import StepConfig

def experiment():
    options = {"count": 9, "length": 6, "size": (32, 32), "objects": (1, 2)}
    network = {"backbone": {"depth": 18, "width": 4}, "key_dim": 4, "value_dim": 4}
    return Experiment(
        method="stm",
        method_options=network | {"decoder_dim": 4},
        data=(DataConfig(source="generated", options=options),),
        recipe=VideoRecipe(frames=2, size=(32, 32), objects=2),
        batch=2,
        steps=150,
        optimizer=OptimizerConfig(learning_rate=1e-3, schedule="cosine"),
        step=StepConfig(norms="batch", ema_decay=0.9),
        checkpoint_every=4,
        log_every=3,
    )
"""


@pytest.fixture
def start(tmp_path):
    """Starts the run in a folder of the given name, in a process of its own."""
    file = tmp_path / "killed.py"
    file.write_text(EXPERIMENT)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start(name: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "vos_jax", "train", str(file)]
        command += ["--workdir", str(tmp_path / name), "--compilation-cache"]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def wait_for_steps(process: subprocess.Popen, log: Path) -> None:
    """Until the run has begun to step, or is over."""
    before = log.stat().st_mtime_ns if log.exists() else 0
    while process.poll() is None:
        if log.exists() and log.stat().st_mtime_ns != before:
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_with_the_bits_of_one_that_was_not(
    start, tmp_path
):
    def weights(name: str) -> Any:
        # Arrays, not bytes: the order of a file's metadata is random.
        return load_weights(tmp_path / name / "weights.safetensors")

    finish(start("whole"))
    expected = weights("whole")
    moments = random.Random(0)
    kills, runs = 0, 0
    while kills < KILLS:
        folder = f"killed{runs}"
        process = start(folder)
        # Some in the middle of the imports, most among steps and saves.
        if moments.random() < 0.8:
            wait_for_steps(process, tmp_path / folder / "log.jsonl")
        time.sleep(moments.uniform(0, 1.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            finish(process)
            jax.tree.map(np.testing.assert_array_equal, weights(folder), expected)
            runs += 1
    finish(start(folder))
    jax.tree.map(np.testing.assert_array_equal, weights(folder), expected)
