"""The read of an object memory: every object asks its own entries, in its own frame.

Letters beside the package's: `q` query cell and `m` memory cell of an object's map,
both `h * w` flattened row by row.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.ops.read import LOWEST, Implementation, product_of


def object_read(
    query_key: Float[Array, "O h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    readable: Bool[Array, "N O"],
    *,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory at every cell of its query.

        out_q = sum_m w_qm value_m,   w_qm = softmax_m(query_q . key_m / sqrt(Ck))

    DMN-AOA (ICCV 2021) sec. 3.2, eq. 1: the read of STM, for maps that are pooled in
    each object's box. Costs N O (hw)^2 (Ck + Cv) multiply-adds over the slots that
    any object may read.

    Args:
      query_key: Of each object.
      memory_key: Slots in any order; the order changes rounding only.
      memory_value: Same layout.
      readable: Slots with weight. An object with none reads zeros.
      implementation: `reference` holds the whole `[O, hw, N hw]` affinity; `chunked`
        one slot of all objects at a time. `auto` takes `chunked`.
      precision: Of the matrix products.

    Returns:
      float32 values; similarities and softmax are float32 whatever comes in.
    """
    objects, height, width, channels = query_key.shape
    query = query_key.reshape(objects, height * width, channels)
    read = _IMPLEMENTATIONS[implementation]
    product = partial(product_of, precision)
    out = read(query, memory_key, memory_value, readable, product)
    return out.reshape(objects, height, width, -1)


_Product = Callable[..., Array]


def _reference(
    query: Float[Array, "O q Ck"],
    keys: Float[Array, "N O h w Ck"],
    values: Float[Array, "N O h w Cv"],
    readable: Bool[Array, "N O"],
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """The formula as written: one affinity of all slots, one softmax."""
    key, value = (x.reshape(*readable.shape, -1, x.shape[-1]) for x in (keys, values))
    scores = product("oqc,nomc->oqnm", query, key) * query.shape[-1] ** -0.5
    mask = readable.T[:, None, :, None]
    scores = jnp.where(mask, scores, LOWEST)
    weights = jnp.where(mask, jax.nn.softmax(scores, axis=(-2, -1)), 0)
    return product("oqnm,nomc->oqc", weights.astype(value.dtype), value)


class _Partial(NamedTuple):
    """Online softmax over the slots seen so far (Milakov & Gimelshein, 2018)."""

    highest: Float[Array, "O q"]
    total: Float[Array, "O q"]
    value: Float[Array, "O q Cv"]


def _chunked(
    query: Float[Array, "O q Ck"],
    keys: Float[Array, "N O h w Ck"],
    values: Float[Array, "N O h w Cv"],
    readable: Bool[Array, "N O"],
    product: _Product,
) -> Float[Array, "O q Cv"]:
    """One slot of all objects at a time: maps are small, so objects share a step.

    Slots that no object may read are skipped, so that the time follows what is filled
    and not the capacity. Rematerialised in the backward pass.
    """
    objects, cells, channels = query.shape
    scale = channels**-0.5

    def add(seen: _Partial, slot: Array, may: Bool[Array, " O"]) -> _Partial:
        key, value = (_entry(bank, slot) for bank in (keys, values))
        may = may[:, None, None]
        scores = product("oqc,omc->oqm", query, key) * scale
        scores = jnp.where(may, scores, LOWEST)
        # The result does not depend on the maximum: it only keeps exp in range.
        highest = lax.stop_gradient(jnp.maximum(seen.highest, scores.max(-1)))
        weights = jnp.where(may, jnp.exp(scores - highest[..., None]), 0)
        fade = jnp.exp(seen.highest - highest)
        found = product("oqm,omc->oqc", weights.astype(value.dtype), value)
        return _Partial(
            highest,
            seen.total * fade + weights.sum(-1),
            seen.value * fade[..., None] + found,
        )

    @partial(jax.checkpoint, prevent_cse=False)
    def body(seen: _Partial, place: tuple[Array, Array]) -> tuple[_Partial, None]:
        slot, may = place
        return lax.cond(may.any(), add, lambda seen, *_: seen, seen, slot, may), None

    nothing = _Partial(
        jnp.full((objects, cells), LOWEST),
        jnp.zeros((objects, cells)),
        jnp.zeros((objects, cells, values.shape[-1])),
    )
    seen = lax.scan(body, nothing, (jnp.arange(len(readable)), readable))[0]
    return seen.value / jnp.where(seen.total > 0, seen.total, 1)[..., None]


def _entry(bank: Float[Array, "N O h w C"], slot: Array) -> Float[Array, "O m C"]:
    """One slot, taken and held where it is needed: see `vos_jax.ops.read`."""
    entry = lax.dynamic_index_in_dim(bank, slot, keepdims=False)
    entry = lax.optimization_barrier(entry)
    return entry.reshape(len(entry), -1, bank.shape[-1])


_IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "auto": _chunked,
    "reference": _reference,
    "chunked": _chunked,
}
