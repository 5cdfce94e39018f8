"""The train step on several devices and processes: nothing but rounding differs.

Other numbers of devices than one are processes of their own, for JAX takes them at its
start.
"""

import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.training.test_step import (
    Small,
    assert_near,
    changes,
    make_batch,
    small_variables,
    train,
)
from vos_jax.errors import InputError
from vos_jax.methods.objective import StepConfig
from vos_jax.runtime.distributed import initialize_distributed
from vos_jax.runtime.mesh import make_mesh, shard_batch

CLIPS = 16
# As accelerators compute it by default.
LOOPS = {"unroll": False}
RUNS = {
    "plain": StepConfig(),
    "parts": StepConfig(accumulation=2, **LOOPS),
    "norms-parts": StepConfig(
        norms="batch", statistics_rate=0.1, accumulation=2, **LOOPS
    ),
    "hardest-remat": StepConfig(
        loss="bootstrapped",
        bootstrap_start=0,
        bootstrap_end=0,
        bootstrap_fraction=0.2,
        remat=True,
        **LOOPS,
    ),
}

# The other one has nearly all that is in these: parts, norms that follow, loops.
SLOW = ("plain", "parts", "hardest-remat")
NAMES = [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in RUNS]


def run_alone(
    out: str,
    names: Sequence[str],
    devices: int,
    process: int = 0,
    processes: int = 1,
    coordinator: str = "",
) -> None:
    """What a process of the tests below does."""
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if processes > 1:
        assert initialize_distributed(coordinator, processes, process)
        with pytest.raises(InputError, match=f"a batch of {processes} clips"):
            shard_batch(make_mesh(), make_batch(1), accumulation=2)
    assert jax.device_count() == devices * processes
    run(out, names, process, processes)


def run(out: str, names: Sequence[str], process: int = 0, processes: int = 1) -> None:
    """Two steps of a process's share of the batch."""
    share = slice(process * CLIPS // processes, (process + 1) * CLIPS // processes)
    batch = jax.tree.map(lambda x: x[share], make_batch(CLIPS))
    variables = small_variables()
    for name in names:
        program = Path(out, f"{name}.txt")
        state, metrics = train(
            Small(), variables, batch, RUNS[name], steps=2, check=program.write_text
        )
        found = changes(state, variables), state.batch_stats
        losses = np.array([each["loss"] for each in metrics])
        np.savez(Path(out, f"{name}.npz"), *jax.tree.leaves(found), losses=losses)


def start_process(*arguments: Any) -> subprocess.Popen[str]:
    program = "from tests.training.test_step_devices import run_alone; "
    return subprocess.Popen(
        [sys.executable, "-c", program + f"run_alone{arguments!r}"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    try:
        for process in processes:
            said, _ = process.communicate(timeout=300)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


Results = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Folders of what one device and eight devices compute, by the name of a run."""

    @cache
    def together(names: tuple[str, ...]) -> tuple[Path, Path]:
        one, eight = (tmp_path_factory.mktemp(each) for each in ("one", "eight"))
        process = start_process(str(eight), names, 8)
        try:
            run(str(one), names)
        finally:
            finish(process)
        return one, eight

    fast = tuple(name for name in RUNS if name not in SLOW)
    return lambda name: together(SLOW if name in SLOW else fast)


def assert_same_run(found, expected):
    found, expected = dict(np.load(found)), dict(np.load(expected))
    assert_near(found.pop("losses"), expected.pop("losses"), 1e-5)
    assert_near(found, expected)


# One test, so that no two workers run the same processes.
@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_do_what_one_does_and_only_sums_move_once(name, results):
    one, eight = results(name)
    assert_same_run(eight / f"{name}.npz", one / f"{name}.npz")
    program = (eight / f"{name}.txt").read_text()
    assert_nothing_moves_but_sums(program)
    assert_gradients_meet_once_and_outside_of_the_loops(program, RUNS[name])


@pytest.mark.slow
def test_two_processes_do_what_one_does(results, tmp_path):
    one, _ = results("plain")
    coordinator = f"localhost:{free_port()}"
    outs = [tmp_path / f"{process}" for process in range(2)]
    for out in outs:
        out.mkdir()
    finish(
        *(
            start_process(str(out), ("plain",), 1, i, 2, coordinator)
            for i, out in enumerate(outs)
        )
    )
    for out in outs:
        assert_same_run(out / "plain.npz", one / "plain.npz")


def assert_nothing_moves_but_sums(program):
    assert f"u8[{CLIPS // 8},3,32,32,3]" in program
    assert "all-reduce" in program
    for moved in ("all-gather", "all-to-all", "collective-permute"):
        assert moved not in program


def all_reduced(program: str) -> dict[bool, int]:
    """Numbers that a compiled program adds up: outside (False), inside of loops."""
    found = {False: 0, True: 0}
    # A computation's first line is not indented: its name, or ENTRY.
    for computation in re.split(r"\n(?=%|ENTRY)", program):
        for types in re.findall(r" = (.*?) all-reduce(?:-start)?\(", computation):
            shapes = re.findall(r"f32\[([\d,]*)\]", types)
            numbers = [math.prod(map(int, filter(None, x.split(",")))) for x in shapes]
            found[not computation.startswith("ENTRY")] += sum(numbers)
    return found


def assert_gradients_meet_once_and_outside_of_the_loops(program, config):
    found = all_reduced(program)
    shapes = jax.eval_shape(small_variables)
    params, stats = (
        sum(x.size for x in jax.tree.leaves(shapes[group]))
        for group in ("params", "batch_stats")
    )
    sums = 4
    # Statistics of norms meet in each part, and so do their gradients.
    in_loop = 2 * stats if config.norms == "batch" else 0
    assert found == {False: params + sums, True: in_loop}
