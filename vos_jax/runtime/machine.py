"""The machine that gave some figures."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import jax


class Machine(NamedTuple):
    """What figures depend on, and nothing that identifies a host or a user.

    Attributes:
      backend: "cpu", "gpu" or "tpu".
      device: The accelerator's name; "cpu" without one.
      devices: Number of them.
      processor: Name of the host's processor.
      cores: Cores that this process may use.
      jax: Version, as the next two.
      jaxlib: Version.
      python: Version.
      date: Day, in UTC.
    """

    backend: str
    device: str
    devices: int
    processor: str
    cores: int
    jax: str
    jaxlib: str
    python: str
    date: str


def machine() -> Machine:
    """The machine that this process runs on."""
    devices = jax.devices()
    return Machine(
        backend=jax.default_backend(),
        device=devices[0].device_kind,
        devices=len(devices),
        processor=_processor(),
        cores=_cores(),
        jax=jax.__version__,
        jaxlib=importlib.metadata.version("jaxlib"),
        python=platform.python_version(),
        date=datetime.now(UTC).date().isoformat(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
