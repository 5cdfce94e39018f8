"""The read for TPUs: one pass over the filled slots for each block of query cells."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from vos_jax.ops.scores import LOWEST

QUERIES = 256
"""The most query cells at once. Each block of them reads the whole memory."""

LANES = 128
"""Rows of a block are a multiple of it: of no tile does a part count."""

MOST_BYTES = 9 << 20
"""For two blocks of keys and values and what is computed of one, of 16 MB in all."""


def read(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O m Ck"],
    values: Float[Array, "N O m Cv"],
    order: Int[Array, "O N"],
    count: Int[Array, " O"],
    *,
    scale: float,
    offset: Float[Array, "N O m"] | None,
    interpret: bool,
) -> Float[Array, "O q Cv"]:
    """Reads the first `count` slots of `order`.

    The innermost steps go through the slots and through blocks of their cells. Steps
    without a slot ask for the block that is already there, which moves nothing.
    """
    slots, objects, cells, key_channels = keys.shape
    queries, channels = query.shape[0], values.shape[-1]
    rows = min(QUERIES, _up(queries, 16))
    query = jnp.pad(query, ((0, -queries % rows), (0, 0)))
    row_bytes = key_channels * keys.dtype.itemsize + channels * values.dtype.itemsize
    columns = _columns(cells, 2 * row_bytes + 3 * 4 * rows)
    blocks = pl.cdiv(cells, columns)

    def place(o: Any, s: Any, b: Any, order: Any, count: Any) -> tuple[Any, Any]:
        there = s < count[o]
        slot = order[o, jnp.where(there, s, jnp.maximum(count[o] - 1, 0))]
        return slot, jnp.where(there, b, blocks - 1)

    def cell_block(o: Any, i: Any, s: Any, b: Any, *table: Any) -> tuple[Any, ...]:
        slot, block = place(o, s, b, *table)
        return slot, o, block, 0

    def offset_block(o: Any, i: Any, s: Any, b: Any, *table: Any) -> tuple[Any, ...]:
        slot, block = place(o, s, b, *table)
        return slot, o, 0, block

    operands = [query, keys, values]
    in_specs = [
        pl.BlockSpec((rows, key_channels), lambda o, i, s, b, *_: (i, 0)),
        pl.BlockSpec((None, None, columns, key_channels), cell_block),
        pl.BlockSpec((None, None, columns, channels), cell_block),
    ]
    if offset is not None:
        operands.append(offset[:, :, None])
        in_specs.append(pl.BlockSpec((None, None, 1, columns), offset_block))
    out = pl.pallas_call(
        partial(_kernel, scale=scale, cells=cells),
        out_shape=jax.ShapeDtypeStruct((objects, len(query), channels), jnp.float32),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(objects, len(query) // rows, slots, blocks),
            in_specs=in_specs,
            out_specs=pl.BlockSpec(
                (None, rows, channels), lambda o, i, s, b, *_: (o, i, 0)
            ),
            scratch_shapes=[
                pltpu.VMEM((rows, LANES), jnp.float32),
                pltpu.VMEM((rows, LANES), jnp.float32),
                pltpu.VMEM((rows, channels), jnp.float32),
            ],
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary")
        ),
        interpret=interpret,
    )(order, count, *operands)
    return out[:, :queries]


def _up(size: int, multiple: int) -> int:
    return pl.cdiv(size, multiple) * multiple


def _columns(cells: int, row_bytes: int) -> int:
    """Cells of a block: as many as there is room for, in blocks of about one size."""
    most = max(MOST_BYTES // row_bytes // LANES * LANES, LANES)
    return _up(pl.cdiv(cells, pl.cdiv(cells, most)), LANES)


def _kernel(order, count, query, key, value, *rest, scale, cells):  # type: ignore[no-untyped-def]
    """One block of one slot: the online softmax of Milakov & Gimelshein (2018)."""
    *offset, out, highest, total, found = rest
    o, s, b = (pl.program_id(axis) for axis in (0, 2, 3))
    slots, blocks = pl.num_programs(2), pl.num_programs(3)

    @pl.when((s == 0) & (b == 0))
    def _() -> None:
        highest[...] = jnp.full_like(highest, LOWEST)
        total[...] = jnp.zeros_like(total)
        found[...] = jnp.zeros_like(found)

    @pl.when(s < count[o])
    def _() -> None:
        scores = _product(query[...], key[...], 1) * scale
        if offset:
            scores = scores + offset[0][...]
        columns = scores.shape[1]
        left = cells - b * columns
        if cells % columns:
            # What lies behind the last cell may be anything, NaN included.
            column = lax.broadcasted_iota(jnp.int32, scores.shape, 1)
            scores = jnp.where(column < left, scores, LOWEST)
        top = jnp.maximum(highest[:, :1], scores.max(-1, keepdims=True))
        weights = jnp.exp(scores - top)
        fade = jnp.exp(highest[:, :1] - top)
        sums = total[:, :1] * fade + weights.sum(-1, keepdims=True)
        weights = weights.astype(value.dtype)
        tail = columns - _up(-cells % columns, LANES)
        more = found[...] * fade
        if tail:
            more += _product(weights[:, :tail], value[:tail], 0)
        if tail < columns:
            last = value[tail:]
            row = lax.broadcasted_iota(jnp.int32, last.shape, 0)
            last = jnp.where(tail + row < left, last, jnp.zeros_like(last))
            more += _product(weights[:, tail:], last, 0)
        found[...] = more
        highest[...] = jnp.broadcast_to(top, highest.shape)
        total[...] = jnp.broadcast_to(sums, total.shape)

    @pl.when((s == slots - 1) & (b == blocks - 1))
    def _() -> None:
        sums = total[:, :1]
        out[...] = found[...] / jnp.where(sums > 0, sums, 1)


def _product(a: Array, b: Array, axis: int) -> Array:
    """The last axis of `a` by one of `b`; float32 is never rounded to bfloat16."""
    full = b.dtype == jnp.float32
    return lax.dot_general(
        a,
        b,
        (((1,), (axis,)), ((), ())),
        precision=lax.Precision.HIGHEST if full else lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )
