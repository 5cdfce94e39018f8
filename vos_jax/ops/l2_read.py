"""The memory read of STCN and RDE-VOS: L2 similarity, the k best cells, all objects.

Letters beside the package's: `q` query cell, `m` memory cell of one slot and `M` of all
slots, both `h * w` flattened row by row; `k` cells that are read.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.ops.read import LOWEST, Implementation, product_of, space_time_read


def l2_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"],
    *,
    top_k: int | None = None,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w Cv"]:
    """Reads the values of all objects with one affinity.

    The similarity is the negative squared distance of the keys over sqrt(Ck), without
    the part that is the same for all memory cells: `(2 <m, q> - <m, m>) / sqrt(Ck)`
    (STCN, NeurIPS 2021; RDE-VOS, CVPR 2022, sec. 3.2, eq. 2). It is never expanded to
    differences of keys. What is read is the mean of the values by the softmax of the
    similarities (eq. 3).

    Args:
      query_key: One key per cell.
      memory_key: Slots in any order, shared by all objects.
      memory_value: Of each object.
      copies: How often each slot counts, 0 for not at all. Two are what a slot that is
        in the memory twice gives, with half the work.
      top_k: Keep the k best cells of each query cell, counted with their copies, before
        the softmax: exactly k where that many are there, all of them otherwise. Of
        cells that tie the one in the lower slot, and there the earlier one, comes
        first; of the last one only as many copies count as still fit. None keeps all.
      implementation: `reference` holds the whole `[hw, N hw]` affinity; `chunked` one
        slot of it, merges the best k from slot to slot and gathers their values. `auto`
        takes `chunked`.
      precision: Of the matrix products.

    Returns:
      float32 values; zeros if no slot counts.
    """
    height, width, _ = query_key.shape
    copies = jnp.asarray(copies)
    read = _reference if implementation == "reference" else _chunked
    value = read(query_key, memory_key, memory_value, copies, top_k, precision)
    return value.reshape(-1, height, width, memory_value.shape[-1])


def l2_similarity(
    query_key: Float[Array, "q Ck"],
    memory_key: Float[Array, "M Ck"],
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "q M"]:
    """`(2 <m, q> - <m, m>) / sqrt(Ck)`: RDE-VOS eq. 2 up to a constant of q."""
    squares = jnp.square(memory_key.astype(jnp.float32)).sum(-1)
    product = product_of(precision, "qc,mc->qm", query_key, memory_key)
    scores = 2 * product - squares[None]
    return scores * query_key.shape[-1] ** -0.5


class _Best(NamedTuple):
    """The best cells seen so far, best first.

    Attributes:
      scores: Their similarities; the lowest number where there is none.
      cells: Their indices among all cells.
      copies: How often each counts.
    """

    scores: Float[Array, "q k"]
    cells: Int[Array, "q k"]
    copies: Int[Array, "q k"]


def _weights(best: _Best, top_k: int) -> Float[Array, "q k"]:
    """Softmax over the cells with their copies, at most `top_k` of them."""
    before = jnp.cumsum(best.copies, axis=-1) - best.copies
    taken = jnp.clip(top_k - before, 0, best.copies)
    return _softmax(best.scores, taken)


def _softmax(
    scores: Float[Array, "q n"], copies: Int[Array, "q n"]
) -> Float[Array, "q n"]:
    """Weights of cells that count `copies` times; zeros where none does."""
    highest = lax.stop_gradient(scores.max(-1, keepdims=True))
    # What is not taken must not reach exp: its gradient would be 0 * inf.
    shifted = jnp.where(copies > 0, scores - highest, 0)
    weights = copies * jnp.exp(shifted)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def _reference(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"],
    top_k: int | None,
    precision: lax.PrecisionLike,
) -> Float[Array, "O q Cv"]:
    """The formula as written: one affinity of all slots, dense weights."""
    _, height, width, channels = memory_key.shape
    query, keys = (x.reshape(-1, channels) for x in (query_key, memory_key))
    counts = jnp.repeat(copies, height * width)[None]
    scores = l2_similarity(query, keys, precision)
    scores = jnp.where(counts > 0, scores, LOWEST)
    counts = jnp.broadcast_to(counts, scores.shape)
    if top_k is None:
        weights = _softmax(scores, counts)
    else:
        scores, cells = lax.top_k(scores, min(top_k, scores.shape[-1]))
        picked = _Best(scores, cells, jnp.take_along_axis(counts, cells, -1))
        rows = jnp.arange(len(cells))[:, None]
        weights = jnp.zeros(counts.shape).at[rows, cells].set(_weights(picked, top_k))
    values = memory_value.swapaxes(0, 1)
    values = values.reshape(len(values), len(keys), -1)
    return product_of(precision, "qm,omc->oqc", weights.astype(values.dtype), values)


def _chunked(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"],
    top_k: int | None,
    precision: lax.PrecisionLike,
) -> Float[Array, "O q Cv"]:
    """Slot by slot; what is not filled costs nothing."""
    cells = memory_key.shape[1] * memory_key.shape[2]
    if top_k is None:
        return _read_all(query_key, memory_key, memory_value, copies, precision)
    best = _best_cells(
        query_key, memory_key, copies, min(top_k, len(copies) * cells), precision
    )
    return _gathered(best, _weights(best, top_k), memory_value)


def _best_cells(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"],
    copies: Int[Array, " N"],
    count: int,
    precision: lax.PrecisionLike,
) -> _Best:
    """The `count` best cells of all slots that are filled."""
    slots, height, width, channels = memory_key.shape
    query = query_key.reshape(-1, channels)
    cells = height * width

    def add(best: _Best, slot: Array) -> _Best:
        # Inside of the branch, so that XLA does not convert the whole bank before it.
        keys = lax.optimization_barrier(
            lax.dynamic_index_in_dim(memory_key, slot, keepdims=False)
        )
        scores = l2_similarity(query, keys.reshape(cells, channels), precision)
        joined = jnp.concatenate([best.scores, scores], axis=-1)
        scores, at = lax.top_k(joined, count)
        old = jnp.minimum(at, count - 1)
        is_old = at < count

        def kept(of_old: Array, of_new: Array) -> Array:
            return jnp.where(is_old, jnp.take_along_axis(of_old, old, -1), of_new)

        return _Best(
            scores,
            kept(best.cells, slot * cells + at - count),
            kept(best.copies, copies[slot]),
        )

    @partial(jax.checkpoint, prevent_cse=False)
    def body(best: _Best, slot: Array) -> tuple[_Best, None]:
        return lax.cond(copies[slot] > 0, add, lambda best, _: best, best, slot), None

    shape = (query.shape[0], count)
    nothing = _Best(
        jnp.full(shape, LOWEST), jnp.zeros(shape, int), jnp.zeros(shape, copies.dtype)
    )
    return lax.scan(body, nothing, jnp.arange(slots))[0]


def _gathered(
    best: _Best,
    weights: Float[Array, "q k"],
    memory_value: Float[Array, "N O h w Cv"],
) -> Float[Array, "O q Cv"]:
    """Weighted sum of the best cells' values, one cell of every query at a time."""
    _, objects, height, width, channels = memory_value.shape
    slot, cell = jnp.divmod(best.cells, height * width)
    row, column = jnp.divmod(cell, width)

    def add(total: Array, which: tuple[Array, ...]) -> tuple[Array, None]:
        weight, slot, row, column = which
        found = memory_value[slot, :, row, column].astype(jnp.float32)
        return total + weight[:, None, None] * found, None

    ranks = jax.tree.map(lambda x: x.T, (weights, slot, row, column))
    nothing = jnp.zeros((best.cells.shape[0], objects, channels))
    return lax.scan(add, nothing, ranks)[0].swapaxes(0, 1)


def _read_all(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"],
    precision: lax.PrecisionLike,
) -> Float[Array, "O q Cv"]:
    """A dot product of longer keys.

    `<(2 q, 1), (m, sqrt(Ck) log copies - <m, m>)>`
    """
    channels, objects = query_key.shape[-1], memory_value.shape[1]
    scale = ((channels + 1) / channels) ** 0.5
    query = jnp.concatenate([2 * query_key, jnp.ones_like(query_key[..., :1])], -1)
    keys = memory_key.astype(jnp.float32)
    bias = jnp.log(jnp.maximum(copies, 1)) * channels**0.5
    last = bias[:, None, None] - jnp.square(keys).sum(-1)
    keys = jnp.concatenate([keys, last[..., None]], -1)
    value = space_time_read(
        query.astype(jnp.float32) * scale,
        jnp.broadcast_to(keys[:, None], (len(keys), objects, *keys.shape[1:])),
        memory_value,
        jnp.broadcast_to(copies[:, None] > 0, (len(keys), objects)),
        precision=precision,
    )
    return value.reshape(objects, -1, value.shape[-1])
