"""A memory bank that is divided between devices: each holds some of its slots.

A mesh has an axis `SLOTS`, along which the slots lie in their order, as many on each
device. It may have an axis `QUERIES`, along which the query cells of a read lie.
Everything else is the same on every device. Here is what a program says about the
places of arrays, and how a function runs on what each device has.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SLOTS, QUERIES = "slots", "queries"
"""Axes of a mesh: slots of a bank, and query cells of a read."""

WHOLE, BY_SLOT = PartitionSpec(), PartitionSpec(SLOTS)
"""Of arrays that every device has, and of those whose first axis is the slots'."""


def parts(mesh: Mesh | None) -> int:
    """Devices that the slots of a bank are divided between; 1 without a mesh."""
    return 1 if mesh is None else int(mesh.shape[SLOTS])


def query_parts(mesh: Mesh) -> int:
    """Devices that the query cells of a read are divided between."""
    return int(mesh.shape.get(QUERIES, 1))


def rounded_up(capacity: int, count: int) -> int:
    """The least number of slots that divides by so many devices and has this room."""
    return -(-capacity // count) * count


def keep_whole(mesh: Mesh | None, tree: Any) -> Any:
    """The same arrays, in a program as outside, on every device."""
    return _at(mesh, WHOLE, tree)


def keep_by_slot(mesh: Mesh | None, tree: Any) -> Any:
    """The same arrays `[N, ...]`, of which each device has its slots."""
    return _at(mesh, BY_SLOT, tree)


def _at(mesh: Mesh | None, spec: PartitionSpec, tree: Any) -> Any:
    if mesh is None:
        return tree
    place = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, place), tree)


def on_each(
    mesh: Mesh, function: Callable[..., Any], given: Any, made: Any
) -> Callable[..., Any]:
    """A function of what each device has.

    Inside of it `lax.psum` and its like speak of the axes of the mesh.

    Args:
      mesh: With the axis `SLOTS`.
      function: Of arrays of one device.
      given: Where its arguments lie, a `PartitionSpec` for each.
      made: Where its results lie. What is `WHOLE` it has made the same everywhere.
    """
    # Loops begin with constants and go on with what differs between devices, which the
    # check of such types refuses; that results are the same, tests say.
    return jax.shard_map(
        function, mesh=mesh, in_specs=given, out_specs=made, check_vma=False
    )


def by_slot(
    mesh: Mesh | None, function: Callable[..., Any], bank: Any, *whole: Any
) -> Any:
    """What a function makes of each slot, where the slot is.

    Args:
      mesh: That of the bank; None for one device.
      function: Of arrays `[N, ...]`, slot by slot, and others; makes arrays `[N, ...]`.
      bank: The first of its arguments, a pytree.
      *whole: The others.
    """
    if mesh is None:
        return function(bank, *whole)
    given = (BY_SLOT, *(WHOLE for _ in whole))
    return on_each(mesh, function, given, BY_SLOT)(bank, *whole)
