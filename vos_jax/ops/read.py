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
from jaxtyping import Array, Bool, Float

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
        one slot of it at a time. `auto` takes `chunked`, which is the faster one too.
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

    highest: Float[Array, "O q"]
    total: Float[Array, "O q"]
    value: Float[Array, "O q Cv"]


def _chunked(
    query: Float[Array, "q Ck"],
    key: Float[Array, "N O m Ck"],
    value: Float[Array, "N O m Cv"],
    filled: Bool[Array, "N O"],
    top_k: int | None,
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """Slot by slot: never more than `[O, hw, hw]` of the affinity at once.

    Slots that no object has filled are skipped, so the time follows what is filled and
    not the capacity. Rematerialised in the backward pass, which is bounded likewise.
    """
    objects, queries = filled.shape[1], query.shape[0]
    scale = query.shape[-1] ** -0.5

    def scores_of(slot_key: Array, slot_filled: Array) -> Float[Array, "O q m"]:
        scores = product("qc,omc->oqm", query, slot_key) * scale
        return jnp.where(slot_filled[:, None, None], scores, _LOWEST)

    threshold = None
    if top_k is not None and top_k < key.shape[0] * key.shape[2]:
        best = jnp.full((objects, queries, top_k), _LOWEST)
        best = _over_slots(
            lambda best, slot: lax.top_k(
                jnp.concatenate([best, scores_of(*slot)], -1), top_k
            )[0],
            best,
            (key, filled),
            filled,
        )
        threshold = best[..., -1:]

    def add(seen: _Partial, slot: tuple[Array, Array, Array]) -> _Partial:
        slot_key, slot_value, slot_filled = slot
        scores = scores_of(slot_key, slot_filled)
        used = slot_filled[:, None, None]
        if threshold is not None:
            used = used & (scores >= threshold)
            # Also before the maximum, or exp overflows and its gradient is 0 * inf.
            scores = jnp.where(used, scores, _LOWEST)
        # The result does not depend on the maximum: it only keeps exp in range.
        highest = lax.stop_gradient(jnp.maximum(seen.highest, scores.max(-1)))
        weights = jnp.where(used, jnp.exp(scores - highest[..., None]), 0)
        fade = jnp.exp(seen.highest - highest)
        read = product("oqm,omc->oqc", weights.astype(slot_value.dtype), slot_value)
        return _Partial(
            highest,
            seen.total * fade + weights.sum(-1),
            seen.value * fade[..., None] + read,
        )

    nothing = _Partial(
        jnp.full((objects, queries), _LOWEST),
        jnp.zeros((objects, queries)),
        jnp.zeros((objects, queries, value.shape[-1])),
    )
    seen = _over_slots(add, nothing, (key, value, filled), filled)
    return seen.value / jnp.where(seen.total > 0, seen.total, 1)[..., None]


def _over_slots(add, start, slots, filled):  # type: ignore[no-untyped-def]
    """Folds `add` over the leading axis of `slots`, leaving out slots nobody filled."""

    @partial(jax.checkpoint, prevent_cse=False)
    def body(seen, slot):  # type: ignore[no-untyped-def]
        any_filled, slot = slot
        return lax.cond(any_filled, add, lambda seen, _: seen, seen, slot), None

    return lax.scan(body, start, (filled.any(1), slots))[0]


IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "auto": _chunked,
    "reference": _reference,
    "chunked": _chunked,
}
