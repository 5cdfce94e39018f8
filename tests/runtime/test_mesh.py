"""Meshes, placement, and how several processes find one another."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.runtime.distributed import initialize_distributed
from vos_jax.runtime.mesh import check_batch, make_mesh, replicate, shard_batch
from vos_jax.types import ClipBatch

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}


@pytest.fixture
def joined(monkeypatch):
    """What JAX is asked to join, in an environment without a launcher."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "TPU_", "MEGASCALE_", "JAX_COORD")):
            monkeypatch.delenv(name)
    for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: calls.append(args))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    return calls


def make_batch(clips):
    frames = np.arange(clips, dtype=np.uint8).reshape(clips, 1, 1, 1, 1)
    frames = np.broadcast_to(frames, (clips, 2, 4, 4, 3))
    return ClipBatch(frames, frames[..., 0], np.ones((clips, 1), bool))


def test_a_batch_keeps_its_content_on_the_mesh():
    batch = make_batch(3)
    placed = shard_batch(make_mesh(), batch)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), batch)
    assert placed.frames.dtype == np.uint8


def test_a_replicated_array_is_a_copy():
    # Aligned as jax wants memory that it does not copy.
    memory = np.zeros(1 << 16, np.uint8)
    array = memory[-memory.ctypes.data % 64 :][: 1 << 12].view(np.float32)
    placed = replicate(make_mesh(), {"a": array, "b": 3})
    array += 1
    assert (placed["a"] == 0).all()
    assert placed["b"] == 3


EIGHT = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from tests.runtime.test_mesh import make_batch
from vos_jax.runtime.mesh import make_mesh, replicate, shard_batch
from vos_jax.errors import InputError
mesh = make_mesh(jax.devices()[::-1])
assert mesh.axis_names == ("data",) and mesh.size == 8
assert [device.id for device in mesh.devices.flat] == list(range(8))
placed = shard_batch(mesh, make_batch(16), accumulation=2)
assert placed.frames.shape == (16, 2, 4, 4, 3)
for leaf in jax.tree.leaves(placed):
    assert len(leaf.addressable_shards) == 8
for shard in placed.frames.addressable_shards:
    first = 2 * shard.device.id
    assert np.unique(shard.data).tolist() == [first, first + 1]
everywhere = replicate(mesh, np.arange(3))
assert [x.data.tolist() for x in everywhere.addressable_shards] == [[0, 1, 2]] * 8
four = make_mesh(jax.devices()[:4])
assert shard_batch(four, make_batch(4)).frames.sharding.num_devices == 4
try:
    shard_batch(mesh, make_batch(24), accumulation=2)
except InputError as error:
    print(error)
"""


def test_clips_are_split_between_eight_devices():
    done = subprocess.run(
        [sys.executable, "-c", EIGHT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "a batch of 24 clips does not divide by 8 devices x 2 accumulated parts;"
        " use a multiple of 16\n"
    )


@pytest.mark.parametrize(("clips", "accumulation"), [(0, 1), (3, 2), (4, 8)])
def test_a_batch_that_does_not_divide_is_named(clips, accumulation):
    message = f"{clips} clips.*1 devices x {accumulation}.*multiple of {accumulation}"
    with pytest.raises(InputError, match=message):
        check_batch(make_mesh(), clips, accumulation)
    check_batch(make_mesh(), 8, accumulation)


def test_a_process_without_launcher_is_alone(joined):
    assert not initialize_distributed()
    assert joined == []


def test_flags_say_whom_to_join(joined):
    assert initialize_distributed("host:1234", 2, 1)
    assert joined == [("host:1234", 2, 1)]


def test_variables_stand_in_for_flags(joined, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    initialize_distributed()
    initialize_distributed(process=2)
    assert joined == [("host:1234", 4, 3), ("host:1234", 4, 2)]


@pytest.mark.parametrize(
    "variables",
    [
        {**SLURM, "SLURM_NTASKS": "2"},
        {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:2", "OMPI_COMM_WORLD_SIZE": "2"},
        {"TPU_WORKER_HOSTNAMES": "a,b"},
        {"TPU_PROCESS_ADDRESSES": "a", "MEGASCALE_NUM_SLICES": "2"},
    ],
)
def test_launchers_are_left_to_jax(joined, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert initialize_distributed()
    assert joined == [(None, None, None)]


@pytest.mark.parametrize(
    "variables",
    [
        {**SLURM, "SLURM_NTASKS": "1"},
        # A batch script that did not start its program with srun.
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
        {"TPU_WORKER_HOSTNAMES": "a"},
        {"TPU_WORKER_HOSTNAMES": ""},
    ],
)
def test_a_single_launched_process_is_alone(joined, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not initialize_distributed()
    assert joined == []


def test_jax_asks_the_platform_when_told_so(joined):
    initialize_distributed("auto")
    assert joined == [(None, None, None)]


def test_a_platform_that_does_not_know_is_named(joined, monkeypatch):
    def nothing(*args):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nothing)
    with pytest.raises(InputError, match=r"coordinator auto: .*HOST:PORT"):
        initialize_distributed("auto")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1",), "processes and process not given"),
        ((None, 2, 0), "coordinator not given"),
        (("host", 2, 0), "coordinator 'host': use HOST:PORT"),
        (("host:abc", 2, 0), "coordinator 'host:abc'"),
        (("host:1", 0, 0), "processes=0"),
        (("host:1", 2, 2), "process=2: use 0 to 1"),
        (("host:1", 2, -1), "process=-1"),
    ],
)
def test_wrong_flags_are_named(joined, given, message):
    with pytest.raises(InputError, match=message):
        initialize_distributed(*given)
    assert joined == []


def test_a_variable_that_is_no_number_is_named(joined, monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "first")
    with pytest.raises(InputError, match="JAX_PROCESS_ID='first'"):
        initialize_distributed("host:1", 2)
