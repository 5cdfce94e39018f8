"""Where training runs: a mesh of all devices of all hosts, and placing data on it.

There is one axis, `data`: the clips of a batch are split along it, everything else is
the same on every device.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vos_jax.errors import InputError
from vos_jax.types import ClipBatch

DATA = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the given devices; by default of all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    # By process, so that each one's clips stay together in the batch.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (DATA,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_clip(mesh: Mesh) -> NamedSharding:
    """The first axis split between the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies a tree of arrays to every device of the mesh.

    Args:
      mesh: From `make_mesh`.
      tree: NumPy or jax arrays, the same in every process.
    """
    sharding = replicated(mesh)

    def place(x: Any) -> jax.Array:
        # A copy: on CPUs a jax array may share the memory of a NumPy array, and a NumPy
        # array that of a jax array.
        host = np.array(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])

    return jax.tree.map(place, tree)


def check_batch(mesh: Mesh, clips: int, accumulation: int = 1) -> None:
    """Checks that a batch divides evenly.

    Args:
      mesh: From `make_mesh`.
      clips: In the batch of all processes.
      accumulation: Parts that a step computes one after the other.

    Raises:
      InputError: It does not.
    """
    parts = mesh.size * accumulation
    if clips < 1 or clips % parts:
        raise InputError(
            f"a batch of {clips} clips does not divide by {mesh.size} devices x"
            f" {accumulation} accumulated parts; use a multiple of {parts}"
        )


def shard_batch(mesh: Mesh, batch: ClipBatch, accumulation: int = 1) -> ClipBatch:
    """Places a batch of clips on the mesh, split between its devices.

    Args:
      mesh: From `make_mesh`.
      batch: This process's share of the clips, as NumPy arrays. The batch is the shares
        of all processes in their order, all of one shape.
      accumulation: Of the train step, to check that the batch divides.

    Raises:
      InputError: The batch does not divide by the devices.
    """
    check_batch(mesh, len(batch.frames) * _processes(mesh), accumulation)
    sharding = by_clip(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )


def _processes(mesh: Mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


def initialize_distributed(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> bool:
    """Joins the other processes of the run, if there are any.

    Call it before anything else of JAX. What is not given comes from the variables
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and what these do not
    say from the launcher: SLURM's srun, Open MPI's mpirun and Cloud TPU on Kubernetes
    say it in their own variables. Where variables do not tell (a Cloud TPU pod without
    Kubernetes, a Kubernetes job), the coordinator "auto" lets JAX ask the platform.

    Args:
      coordinator: `HOST:PORT` of process 0, or "auto".
      processes: How many there are.
      process: Which one this is, from 0.

    Returns:
      Whether the run has several processes.

    Raises:
      InputError: What is given is incomplete or makes no sense.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _from_environment(processes, "JAX_NUM_PROCESSES")
    process = _from_environment(process, "JAX_PROCESS_ID")
    launched = _launched_processes(os.environ)
    if coordinator is None and processes is None and process is None and launched < 2:
        return False
    _check_given(coordinator, processes, process, launched)
    try:
        jax.distributed.initialize(
            None if coordinator == "auto" else coordinator, processes, process
        )
    except (ValueError, KeyError) as error:
        raise InputError(
            f"coordinator {coordinator or 'of the launcher'}: {error}; give"
            " HOST:PORT, the number of processes, and which one this is"
        ) from error
    return jax.process_count() > 1


def _from_environment(given: int | None, variable: str) -> int | None:
    if given is not None or variable not in os.environ:
        return given
    try:
        return int(os.environ[variable])
    except ValueError as error:
        raise InputError(
            f"{variable}={os.environ[variable]!r}: use a whole number"
        ) from error


def _check_given(
    coordinator: str | None, processes: int | None, process: int | None, launched: int
) -> None:
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [name for name, value in given.items() if value is None]
    if missing and launched < 2 and coordinator != "auto":
        raise InputError(
            f"several processes: {' and '.join(missing)} not given; coordinator"
            " (HOST:PORT of process 0), processes and process (from 0) go together"
        )
    host, _, port = (coordinator or "").rpartition(":")
    if coordinator not in (None, "auto") and not (host and port.isdigit()):
        raise InputError(f"coordinator {coordinator!r}: use HOST:PORT, or auto")
    if processes is not None and processes < 1:
        raise InputError(f"processes={processes}: use 1 or more")
    if process is not None and not 0 <= process < (processes or process + 1):
        raise InputError(
            f"process={process}: use 0 to {(processes or 1) - 1}, one for each of"
            f" {processes} processes"
        )


def _launched_processes(environment: Mapping[str, str]) -> int:
    """How many processes a launcher that JAX knows has started; 0 without one.

    The variables are those that JAX itself needs to find its peers.
    """
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID")
    if all(name in environment for name in slurm):
        return int(environment.get("SLURM_NTASKS", 0))
    if "OMPI_MCA_orte_hnp_uri" in environment:
        return int(environment.get("OMPI_COMM_WORLD_SIZE", 0))
    workers = environment.get("TPU_PROCESS_ADDRESSES") or environment.get(
        "TPU_WORKER_HOSTNAMES", ""
    )
    slices = int(environment.get("MEGASCALE_NUM_SLICES", 1))
    return len([name for name in workers.split(",") if name]) * slices
