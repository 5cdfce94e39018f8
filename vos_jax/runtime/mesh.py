"""Meshes of devices, and placing data on them.

That of training has all devices of all hosts and one axis, `data`: the clips of a batch
are split along it, everything else is the same on every device. `jax.jit` with these
shardings stands for `pjit`; `pmap` is a `jax.shard_map` over the mesh, inside of the
train step. That of a divided memory has devices of one process, see
`vos_jax.ops.divided`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vos_jax.errors import InputError
from vos_jax.ops.divided import QUERIES, SLOTS
from vos_jax.types import ClipBatch

DATA = "data"
"""The axis of a mesh along which the clips of a batch are divided."""


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the given devices; by default of all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    # By process, so that each one's clips stay together in the batch.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (DATA,), axis_types=(AxisType.Auto,))


def memory_mesh(devices: int | Sequence[jax.Device], queries: int = 1) -> Mesh:
    """A mesh for a memory that is divided between devices of this process.

    Args:
      devices: These, or how many of its first.
      queries: Parts of the query cells of a read, an axis of its own if there are two
        or more.

    Raises:
      InputError: There are not so many devices, or they do not divide.
    """
    if isinstance(devices, int):
        there = jax.local_devices()
        if not 1 <= devices <= len(there):
            raise InputError(
                f"a memory divided between {devices} devices: use 1 to {len(there)},"
                f" for {len(there)} {'is' if len(there) == 1 else 'are'} here"
            )
        chosen = there[:devices]
    else:
        chosen = list(devices)
    if queries < 1 or not chosen or len(chosen) % queries:
        raise InputError(
            f"{len(chosen)} devices do not divide into {queries} parts of query cells"
        )
    axes = (SLOTS,) if queries == 1 else (SLOTS, QUERIES)
    grid = np.array(chosen).reshape(-1, *[queries] * (len(axes) - 1))
    return Mesh(grid, axes, axis_types=(AxisType.Auto,) * len(axes))


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
