"""Joining the other processes of a run."""

import os
from collections.abc import Mapping

import jax

from vos_jax.errors import InputError


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
