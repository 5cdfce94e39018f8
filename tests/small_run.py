"""A training run that compiles in seconds, alone or as one of several processes."""

import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from tests.training.test_step import Small, SmallConfig
from vos_jax.cli import main
from vos_jax.data.recipes import VideoRecipe
from vos_jax.errors import InputError
from vos_jax.methods import METHODS, Entry
from vos_jax.methods.objective import StepConfig
from vos_jax.training import loop as train_loop
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.optimizers import OptimizerConfig

SGD = OptimizerConfig(name="sgd", learning_rate=0.01)
BATCH_NORMS = StepConfig(norms="batch")
OPTIONS = {"count": 8, "length": 6, "size": (32, 32), "objects": (1, 2)}
GENERATED = DataConfig(source="generated", options=OPTIONS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallRunConfig(SmallConfig):
    """With the field that training sets, and one that its first line names."""

    read: str = "reference"
    precision: str = "highest"


ENTRY = Entry(Small, SmallRunConfig(), lambda config: {}, ())


def experiment(**changes: Any) -> Experiment:
    """Six steps of eight clips; two of them are validated if asked for."""
    fields = {
        "method": "small",
        "data": (GENERATED,),
        "recipe": VideoRecipe(frames=2, size=(32, 32), objects=2),
        "batch": 8,
        "steps": 6,
        "optimizer": OptimizerConfig(learning_rate=1e-3),
        "step": StepConfig(norms="batch", ema_decay=0.9),
        "log_every": 2,
        "checkpoint_every": 2,
    }
    return Experiment(**{**fields, **changes})


def start_run(
    workdir: Path,
    processes: int = 1,
    devices: int = 1,
    changes: Mapping[str, Any] | None = None,
    pause: float = 0.0,
    fault: int | None = None,
) -> list[subprocess.Popen[str]]:
    """Starts `vos-jax train` with the experiment above, in processes of their own.

    With a pause in every step something can happen to them in the middle; a fault
    happens to the last one, in the step of that number.
    """
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port = server.getsockname()[1]
    file = workdir.with_suffix(".py")
    file.write_text(
        "from vos_jax.training.optimizers import OptimizerConfig\n"
        "from vos_jax.methods.objective import StepConfig\n"
        "from tests.small_run import experiment as make\n"
        f"def experiment(): return make(**{dict(changes or {})!r})\n"
    )
    program = "from tests.small_run import run_alone; run_alone{}"
    command = ["train", str(file), "--workdir", str(workdir), "--compilation-cache"]
    joined = ["--coordinator", f"localhost:{port}", "--processes", str(processes)]
    started = []
    for process in range(processes):
        several = [*joined, "--process", str(process)] if processes > 1 else []
        is_last = process == processes - 1
        arguments = (command + several, devices, pause, fault if is_last else None)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", program.format(arguments)],
                cwd=Path(__file__).parents[1],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={
                    **os.environ,
                    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                    "XDG_CACHE_HOME": str(workdir.parent / "cache"),
                },
            )
        )
    return started


def run_alone(
    arguments: list[str], devices: int, pause: float, fault: int | None
) -> None:
    """What such a process does."""
    steps = []

    def slow(*given: Any) -> Any:
        if len(steps) == fault:
            raise InputError("a.png: is corrupt")
        steps.append(time.sleep(pause))
        return shard_batch(*given)

    shard_batch = train_loop.shard_batch
    train_loop.shard_batch = slow
    jax.config.update("jax_num_cpu_devices", devices)
    METHODS["small"] = ENTRY
    sys.exit(main(arguments))
