"""A memory divided between devices, for videos whose memory is too large for one."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from vos_jax.inference.state import State
from vos_jax.methods.base import Method
from vos_jax.ops.divided import BY_SLOT, WHOLE, parts, rounded_up
from vos_jax.ops.memory_bank import EMPTY, Bank
from vos_jax.runtime.mesh import memory_mesh


def over_devices(
    method: Method, devices: int | Sequence[jax.Device], *, queries: int = 1
) -> Method:
    """The same method with its memory divided between devices.

    Each device holds as many slots of the memory as the others, reads them, and tells
    the others sums of the size of a frame's features; all else is computed alike on
    every device. `start`, `step`, `VideoSegmenter`, `segment_video` and `state_bytes`
    take the method as any other, and find the same up to rounding. `inference_form`
    puts the weights on the devices; the functions that take whole videos call it.

    Args:
      method: From `create`.
      devices: Some of this process, or how many of its first; 1 divides nothing.
      queries: Parts that the query cells of a read are divided into, each for
        `devices / queries` devices which divide the slots. It bounds what a read of
        large frames needs at once; each part has all slots.

    Raises:
      InputError: There are not so many devices, they do not divide by `queries`, or the
        memory of the method cannot be divided.
    """
    mesh = memory_mesh(devices, queries)
    if mesh.size == 1:
        return method.divided(None)
    return method.divided(mesh)


def placed_state(method: Method, state: State) -> State:
    """A state of host arrays where the method's programs want it.

    Args:
      method: With its memory divided, or not.
      state: Of NumPy arrays, from any number of devices. Its memory gets the empty
        slots that it lacks to divide by the devices.
    """
    mesh = method.mesh
    if mesh is None:
        return jax.tree.map(jnp.asarray, state)
    bank = state.memory.bank
    extra = rounded_up(bank.capacity, parts(mesh)) - bank.capacity

    def put(x: Any, spec: Any, fill: int | None = None) -> jax.Array:
        if fill is not None:
            pads = [(0, extra)] + [(0, 0)] * (x.ndim - 1)
            x = np.pad(x, pads, constant_values=fill)
        return jax.device_put(x, NamedSharding(mesh, spec))

    bank = Bank(
        jax.tree.map(lambda x: put(x, BY_SLOT, 0), bank.entries),
        put(bank.time, WHOLE, EMPTY),
        put(bank.kept, WHOLE),
    )
    rest = state._replace(memory=state.memory._replace(bank=None))
    rest = jax.tree.map(lambda x: put(x, WHOLE), rest)
    return rest._replace(memory=rest.memory._replace(bank=bank))
