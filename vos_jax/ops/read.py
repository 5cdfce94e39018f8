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

Bias = Callable[[Int[Array, ""], Int[Array, ""]], Float[Array, "q m"]]
"""What to add to the scores of one slot (first argument) of one object (second)."""

LOWEST = float(jnp.finfo(jnp.float32).min)
"""A score that stands for none: no weight, and unlike infinity no NaN."""

_EPSILON = float(jnp.finfo(jnp.float32).eps)


def space_time_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    *,
    top_k: int | None = None,
    bias: Bias | None = None,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory at every query cell: softmax over space and time.

        out_q = sum_m w_qm value_m,   w_qm = softmax_m(query_q . key_m / sqrt(Ck))

    STM (Oh et al., ICCV 2019) sec. 3.2, the sum of eq. 1 and the weights of eq. 2. The
    division by sqrt(Ck) is the released program's; the paper does not show it. Costs
    2 N O (hw)^2 (Ck + Cv) FLOP over the slots that are filled.

    Args:
      query_key: One key per cell, shared by all objects.
      memory_key: Slots in any order; the order changes rounding only.
      memory_value: Same layout.
      filled: Slots with weight. An object with none reads zeros.
      top_k: Keep only the k best memory cells of each query cell before the softmax.
        Cells that tie with the k-th are kept too, in both implementations.
      bias: Added to the scores before all else, a finite logarithm of further weights.
      implementation: `reference` holds the whole `[O, hw, N hw]` affinity; `chunked`
        one slot of one object at a time. `auto` takes `chunked`, which is the faster
        one too.
      precision: Of the matrix products. "highest" is full float32 everywhere.

    Returns:
      float32 values; similarities and softmax are float32 whatever comes in.
    """
    height, width, key_channels = query_key.shape
    query = query_key.reshape(height * width, key_channels)
    read = IMPLEMENTATIONS[implementation]
    product = partial(product_of, precision)
    out = read(query, memory_key, memory_value, filled, top_k, bias, product)
    return out.reshape(-1, height, width, memory_value.shape[-1])


_Product = Callable[..., Array]


def product_of(
    precision: lax.PrecisionLike, equation: str, a: Array, b: Array
) -> Array:
    """A matrix product that is added up in float32, whatever the types."""
    return jnp.einsum(
        equation, a, b, precision=precision, preferred_element_type=jnp.float32
    )


def _reference(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O h w Ck"],
    values: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    top_k: int | None,
    bias: Bias | None,
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """The formula as written: one affinity of all slots, one softmax."""
    key, value = (x.reshape(*filled.shape, -1, x.shape[-1]) for x in (keys, values))
    scores = product("qc,nomc->oqnm", query, key) * query.shape[-1] ** -0.5
    if bias is not None:
        slots, objects = (jnp.arange(size) for size in filled.shape)
        each = jax.vmap(jax.vmap(bias, (0, None), 1), (None, 0))
        scores = scores + each(slots, objects)
    mask = filled.T[:, None, :, None]
    scores = jnp.where(mask, scores, LOWEST)
    if top_k is not None and top_k < scores.shape[-2] * scores.shape[-1]:
        flat = scores.reshape(*scores.shape[:2], -1)
        threshold = lax.top_k(flat, top_k)[0][..., -1]
        scores = jnp.where(scores < threshold[..., None, None], LOWEST, scores)
    weights = jnp.where(mask, jax.nn.softmax(scores, axis=(-2, -1)), 0)
    return product("oqnm,nomc->oqc", weights.astype(value.dtype), value)


class _Partial(NamedTuple):
    """Online softmax over the slots seen so far (Milakov & Gimelshein, 2018)."""

    highest: Float[Array, " q"]
    total: Float[Array, " q"]
    value: Float[Array, "q Cv"]


def _chunked(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O h w Ck"],
    values: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    top_k: int | None,
    bias: Bias | None,
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """One slot of one object at a time: only `[hw, hw]` of the affinity at once.

    Slots that are not filled are skipped, so the time follows what is filled and not
    the capacity. Rematerialised in the backward pass, which is bounded likewise.
    """
    slots, objects, height, width, _ = keys.shape
    if top_k is not None and top_k >= slots * height * width:
        top_k = None

    def read(own: tuple[Array, Array]) -> Float[Array, "q Cv"]:
        return _read_slots(query, keys, values, *own, top_k, bias, product)

    return lax.map(read, (jnp.arange(objects), filled.T))


def _read_slots(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O h w Ck"],
    values: Float[Array, "N O h w Cv"],
    which: Int[Array, ""],
    filled: Bool[Array, " N"],
    top_k: int | None,
    bias: Bias | None,
    product: _Product,
) -> Float[Array, "q Cv"]:
    """Reads the slots of one object that are filled."""
    queries, scale = query.shape[0], query.shape[-1] ** -0.5

    def scores_of(slot: Array) -> Float[Array, "q m"]:
        scores = product("qc,mc->qm", query, _entry(keys, slot, which)) * scale
        return scores if bias is None else scores + bias(slot, which)

    threshold = None
    if top_k is not None:
        best = _over_filled(
            lambda best, slot: lax.top_k(
                jnp.concatenate([best, scores_of(slot)], -1), top_k
            )[0],
            jnp.full((queries, top_k), LOWEST),
            filled,
        )
        threshold = best[:, -1:]

    def add(seen: _Partial, slot: Array) -> _Partial:
        scores, slot_value = scores_of(slot), _entry(values, slot, which)
        if threshold is not None:
            lowest = threshold
            if bias is not None:
                # The sum may be rounded in another way here than when it was ranked,
                # and the last cell must not be below itself.
                terms = jnp.abs(scores) + jnp.abs(bias(slot, which))
                lowest = threshold - 4 * _EPSILON * lax.stop_gradient(terms)
            # Also before the maximum, or exp overflows and its gradient is 0 * inf.
            scores = jnp.where(scores < lowest, LOWEST, scores)
        # The result does not depend on the maximum: it only keeps exp in range.
        highest = lax.stop_gradient(jnp.maximum(seen.highest, scores.max(-1)))
        weights = jnp.exp(scores - highest[:, None])
        if threshold is not None:
            weights = jnp.where(scores > LOWEST, weights, 0)
        fade = jnp.exp(seen.highest - highest)
        found = product("qm,mc->qc", weights.astype(slot_value.dtype), slot_value)
        return _Partial(
            highest,
            seen.total * fade + weights.sum(-1),
            seen.value * fade[:, None] + found,
        )

    nothing = _Partial(
        jnp.full((queries,), LOWEST),
        jnp.zeros((queries,)),
        jnp.zeros((queries, values.shape[-1])),
    )
    seen = _over_filled(add, nothing, filled)
    return seen.value / jnp.where(seen.total > 0, seen.total, 1)[:, None]


def _entry(
    bank: Float[Array, "N O h w C"], slot: Array, which: Array
) -> Float[Array, "m C"]:
    """One entry, taken inside the branch that needs it and held there.

    XLA's CPU backend would otherwise convert or copy the whole bank, filled or not,
    ahead of the loop. The same if the bank were reshaped before it is sliced.
    """
    sizes = (1, 1, *bank.shape[2:])
    entry = lax.dynamic_slice(bank, (slot, which, 0, 0, 0), sizes)
    return lax.optimization_barrier(entry).reshape(-1, bank.shape[-1])


def _over_filled(add, start, filled):  # type: ignore[no-untyped-def]
    """Folds `add` over the slots that are filled."""

    @partial(jax.checkpoint, prevent_cse=False)
    def body(seen, place):  # type: ignore[no-untyped-def]
        is_filled, slot = place
        return lax.cond(is_filled, add, lambda seen, _: seen, seen, slot), None

    return lax.scan(body, start, (filled, jnp.arange(filled.shape[0])))[0]


IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "auto": _chunked,
    "reference": _reference,
    "chunked": _chunked,
}
