"""The read of a bank that is divided between devices.

Each device reads its own slots, by a form for one device. What travels is as large as
the result and not as the bank: for a read of all cells the highest score of each query
cell, and the sums that are divided; for one of the k best cells their scores, from each
device, and the sum of their values. Letters are those of `problem`; `D` devices.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from vos_jax.ops.divided import (
    BY_SLOT,
    QUERIES,
    SLOTS,
    WHOLE,
    keep_whole,
    on_each,
    query_parts,
)
from vos_jax.ops.read_forms.problem import (
    Best,
    Bias,
    Partial,
    Problem,
    Reading,
    SlotBias,
    divided,
)

_BY_QUERY = PartitionSpec(None, QUERIES)


class Form(NamedTuple):
    """What one device does, in a form of the read.

    Attributes:
      softmax_parts: Of a problem and a threshold, if there is one.
      best_cells: Of a problem, so many.
      weighted_sum: Of the values of some cells of a problem, with their weights.
    """

    softmax_parts: Callable[..., Partial]
    best_cells: Callable[..., Best]
    weighted_sum: Callable[..., Float[Array, "K G q Cv"]]


def read(problem: Problem, form: Form, mesh: Mesh) -> Reading:
    """All objects, each device its own slots and its own part of the query cells.

    Args:
      problem: The read, of all slots.
      form: Of what each device does.
      mesh: Its devices; the slots divide by them.

    Raises:
      ValueError: The bias is not a `SlotBias`, so that it cannot be divided.
    """
    query, keys, values, copies, rules = problem
    bias = rules.bias
    if not (bias is None or isinstance(bias, SlotBias)):
        raise ValueError("a bank that is divided between devices takes a SlotBias")
    given = () if bias is None else bias.given
    cells = query.shape[1]
    at_once = -(-cells // query_parts(mesh))
    query = _padded(query, at_once * query_parts(mesh))
    by_query = _BY_QUERY if query_parts(mesh) > 1 else WHOLE

    def own(
        query: Array, keys: Array, values: Array, copies: Array, given: tuple
    ) -> Float[Array, "O q Cv"]:
        local = None if bias is None else _of_part(SlotBias(bias.of, given), at_once)
        part = Problem(query, keys, values, copies, rules._replace(bias=local))
        find = _all_cells if rules.exactly is None else _best
        value = find(part, problem, form)
        return value.reshape(-1, *value.shape[2:])

    specs = by_query, BY_SLOT, BY_SLOT, BY_SLOT, BY_SLOT
    value = on_each(mesh, own, specs, by_query)(query, keys, values, copies, given)
    return Reading(keep_whole(mesh, value)[:, :cells], None)


def _padded(query: Float[Array, "Q q Ck"], cells: int) -> Float[Array, "Q q Ck"]:
    extra = cells - query.shape[1]
    return jnp.pad(query, ((0, 0), (0, extra), (0, 0))) if extra else query


def _of_part(bias: SlotBias, at_once: int) -> Bias:
    """The bias for the query cells of this device."""

    def of(slot: Array, which: Array) -> Float[Array, "q m"]:
        found = bias(slot, which)
        if found.shape[0] == at_once:
            return found
        first = lax.axis_index(QUERIES) * at_once
        extra = -found.shape[0] % at_once
        found = jnp.pad(found, ((0, extra), (0, 0)))
        return lax.dynamic_slice_in_dim(found, first, at_once)

    return of


def _all_cells(part: Problem, problem: Problem, form: Form) -> Float[Array, "K G q Cv"]:
    """Two sums over the devices: the highest scores, and what is to be divided."""
    threshold = _threshold(part, problem.best, form)
    own = form.softmax_parts(part, threshold)
    highest = lax.pmax(lax.stop_gradient(own.highest), SLOTS)
    # A device without a slot that counts has the lowest number: no share.
    share = jnp.exp(own.highest - highest)[:, None, :, None]
    total = jnp.broadcast_to(own.total[:, None, :, None], (*own.value.shape[:-1], 1))
    both = lax.psum(jnp.concatenate([own.value, total], -1) * share, SLOTS)
    return divided(both[:, 0, :, -1], both[..., :-1])


def _threshold(
    part: Problem, best: int | None, form: Form
) -> Float[Array, "K q 1"] | None:
    """The k-th best score of all devices' k best."""
    if best is None:
        return None
    own = form.best_cells(part, min(best, _cells(part)))
    scores = lax.stop_gradient(own.scores)
    scores = lax.all_gather(scores, SLOTS, axis=-1, tiled=True)
    return lax.top_k(scores, best)[0][..., -1:]


def _best(part: Problem, problem: Problem, form: Form) -> Float[Array, "K G q Cv"]:
    """The k best of all devices' k best; each adds up the values that are its own.

    Lists come in the order of devices, which is that of slots, and the best come first
    in each: so of cells that tie those in the lower slot are before the others, as on
    one device.
    """
    top_k = part.rules.exactly
    assert top_k is not None
    count = min(top_k, _cells(part))
    own = form.best_cells(part, count)
    # As one array. Copies are small numbers, which float32 has.
    told = jnp.stack([own.scores, own.copies.astype(jnp.float32)])
    scores, copies = lax.all_gather(told, SLOTS, axis=-1, tiled=True)
    scores, at = lax.top_k(scores, min(top_k, _cells(problem)))
    copies = jnp.take_along_axis(copies, at, -1).astype(own.copies.dtype)
    weights = Best(scores, at, copies).weights(top_k)
    rank = at - lax.axis_index(SLOTS) * count
    is_own = (rank >= 0) & (rank < count)
    cells = jnp.take_along_axis(own.cells, jnp.where(is_own, rank, 0), -1)
    weights = jnp.where(is_own, weights, 0)
    return lax.psum(form.weighted_sum(part, cells, weights), SLOTS)


def _cells(problem: Problem) -> int:
    """Memory cells of all slots."""
    return problem.keys.shape[0] * problem.cells
