"""Where training runs: a mesh of all devices of all hosts, and placing data on it.

There is one axis, `data`: the clips of a batch are split along it, everything else is
the same on every device. `jax.jit` with these shardings stands for `pjit`; `pmap` is a
`jax.shard_map` over the mesh, inside of the train step.
"""

from collections.abc import Sequence
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
