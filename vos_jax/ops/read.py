"""Memory reads: softmax attention from the query's cells to all memory cells.

Letters beside the package's: `q` query cell and `m` memory cell, both `h * w` flattened
row by row.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Implementation = Literal["auto", "reference", "chunked"]
"""`reference`: the plain formula; `chunked`: bounded memory; `auto`: by platform."""

_LOWEST = float(jnp.finfo(jnp.float32).min)


def space_time_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    *,
    top_k: int | None = None,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory at every query cell: softmax over space and time.

    STM (Oh et al., ICCV 2019) eqs. (1)-(2), with the released program's division of
    the dot product by sqrt(Ck), which the paper does not show. Costs
    2 N O (hw)^2 (Ck + Cv) FLOP over the slots that are filled.

    Args:
      query_key: One key per cell, shared by all objects.
      memory_key: Slots in any order; the order changes rounding only.
      memory_value: Same layout.
      filled: Slots with weight. An object with none reads zeros.
      top_k: Keep only the k best memory cells of each query cell before the softmax.
        Cells that tie with the k-th are kept too, in both implementations.
      implementation: `reference` holds the whole `[O, hw, N hw]` affinity; `chunked`
        one slot of one object at a time. `auto` takes `chunked`, which is the faster
        one too.
      precision: Of the matrix products. "highest" is full float32 everywhere.

    Returns:
      float32 values; similarities and softmax are float32 whatever comes in.
    """
    height, width, key_channels = query_key.shape
    slots, objects = filled.shape
    query = query_key.reshape(height * width, key_channels)
    key = memory_key.reshape(slots, objects, height * width, key_channels)
    value = memory_value.reshape(slots, objects, height * width, -1)
    read = IMPLEMENTATIONS[implementation]
    out = read(query, key, value, filled, top_k, partial(_product, precision))
    return out.reshape(objects, height, width, -1)


_Product = Callable[..., Array]


def _product(precision: lax.PrecisionLike, equation: str, a: Array, b: Array) -> Array:
    return jnp.einsum(
        equation, a, b, precision=precision, preferred_element_type=jnp.float32
    )


def _reference(
    query: Float[Array, "q Ck"],
    key: Float[Array, "N O m Ck"],
    value: Float[Array, "N O m Cv"],
    filled: Bool[Array, "N O"],
    top_k: int | None,
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """The formula as written: one affinity of all slots, one softmax."""
    scores = product("qc,nomc->oqnm", query, key) * query.shape[-1] ** -0.5
    mask = filled.T[:, None, :, None]
    scores = jnp.where(mask, scores, _LOWEST)
    if top_k is not None and top_k < scores.shape[-2] * scores.shape[-1]:
        flat = scores.reshape(*scores.shape[:2], -1)
        threshold = lax.top_k(flat, top_k)[0][..., -1]
        scores = jnp.where(scores < threshold[..., None, None], _LOWEST, scores)
    weights = jnp.where(mask, jax.nn.softmax(scores, axis=(-2, -1)), 0)
    return product("oqnm,nomc->oqc", weights.astype(value.dtype), value)


class _Partial(NamedTuple):
    """Online softmax over the slots seen so far (Milakov & Gimelshein, 2018)."""

    highest: Float[Array, " q"]
    total: Float[Array, " q"]
    value: Float[Array, "q Cv"]


def _chunked(
    query: Float[Array, "q Ck"],
    key: Float[Array, "N O m Ck"],
    value: Float[Array, "N O m Cv"],
    filled: Bool[Array, "N O"],
    top_k: int | None,
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """One slot of one object at a time: only `[hw, hw]` of the affinity at once.

    Slots that are not filled are skipped, so the time follows what is filled and not
    the capacity. Rematerialised in the backward pass, which is bounded likewise.
    """
    slots, objects = filled.shape
    keys = key.reshape(slots * objects, *key.shape[2:])
    values = value.reshape(slots * objects, *value.shape[2:])
    if top_k is not None and top_k >= slots * keys.shape[1]:
        top_k = None

    def read(own: tuple[Array, Array]) -> Float[Array, "q Cv"]:
        return _read_slots(query, keys, values, *own, top_k, product)

    indices = jnp.arange(slots * objects).reshape(slots, objects)
    return lax.map(read, (indices.T, filled.T))


def _read_slots(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "E m Ck"],
    values: Float[Array, "E m Cv"],
    indices: Int[Array, " N"],
    filled: Bool[Array, " N"],
    top_k: int | None,
    product: _Product,
) -> Float[Array, "q Cv"]:
    """Reads those of the entries that `indices` names and that are filled."""
    queries, scale = query.shape[0], query.shape[-1] ** -0.5

    def scores_of(index: Array) -> Float[Array, "q m"]:
        return product("qc,mc->qm", query, _entry(keys, index)) * scale

    threshold = None
    if top_k is not None:
        best = _over_filled(
            lambda best, index: lax.top_k(
                jnp.concatenate([best, scores_of(index)], -1), top_k
            )[0],
            jnp.full((queries, top_k), _LOWEST),
            indices,
            filled,
        )
        threshold = best[:, -1:]

    def add(seen: _Partial, index: Array) -> _Partial:
        scores, slot_value = scores_of(index), _entry(values, index)
        if threshold is not None:
            # Also before the maximum, or exp overflows and its gradient is 0 * inf.
            scores = jnp.where(scores < threshold, _LOWEST, scores)
        # The result does not depend on the maximum: it only keeps exp in range.
        highest = lax.stop_gradient(jnp.maximum(seen.highest, scores.max(-1)))
        weights = jnp.exp(scores - highest[:, None])
        if threshold is not None:
            weights = jnp.where(scores > _LOWEST, weights, 0)
        fade = jnp.exp(seen.highest - highest)
        found = product("qm,mc->qc", weights.astype(slot_value.dtype), slot_value)
        return _Partial(
            highest,
            seen.total * fade + weights.sum(-1),
            seen.value * fade[:, None] + found,
        )

    nothing = _Partial(
        jnp.full((queries,), _LOWEST),
        jnp.zeros((queries,)),
        jnp.zeros((queries, values.shape[-1])),
    )
    seen = _over_filled(add, nothing, indices, filled)
    return seen.value / jnp.where(seen.total > 0, seen.total, 1)[:, None]


def _entry(bank: Float[Array, "E m C"], index: Array) -> Float[Array, "m C"]:
    """One entry, taken inside the branch that needs it and held there.

    XLA's CPU backend would otherwise convert or copy the whole bank, filled or not,
    ahead of the loop.
    """
    return lax.optimization_barrier(
        lax.dynamic_index_in_dim(bank, index, keepdims=False)
    )


def _over_filled(add, start, indices, filled):  # type: ignore[no-untyped-def]
    """Folds `add` over the indices of what is filled."""

    @partial(jax.checkpoint, prevent_cse=False)
    def body(seen, slot):  # type: ignore[no-untyped-def]
        is_filled, index = slot
        return lax.cond(is_filled, add, lambda seen, _: seen, seen, index), None

    return lax.scan(body, start, (filled, indices))[0]


IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "auto": _chunked,
    "reference": _reference,
    "chunked": _chunked,
}
