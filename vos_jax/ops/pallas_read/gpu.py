"""The read for GPUs of compute capability 9.0: tensor cores fed by bulk copies.

A block of threads holds two groups that compute and one that copies. It reads a share
of the filled slots for 128 query cells and some of the channels; shares are put
together afterwards.
"""

from functools import partial
from math import e, log2
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float, Int

from vos_jax.ops.read import LOWEST

ROWS = 64
"""Query cells of one group, and memory cells at once."""

TILE = 8
"""Rows of which tensor cores know where they lie."""

GROUPS = 2
"""That compute. Two share what is copied, and of three the sums find no registers."""

MOST_CHANNELS = 256
"""Of a block: with more the sums, which stay in registers, find no room there."""

SHARED_BYTES = 208 << 10
"""For the query and copies under way, of 227 KB in all."""

PROCESSORS = 132
"""Of an H100 or H200; with another number the read takes longer, and no less."""


class _Plan(NamedTuple):
    """Sizes of a program.

    Attributes:
      shares: Into how many parts the filled slots of an object are divided.
      width: Channels of a block.
      stages: Copies of memory cells that are there or under way.
      blocks: Of memory cells in a slot. The last one starts before the end of the one
        before where they do not divide the cells.
      cells: Memory cells of a slot, whole tiles and at least one block.
      blank: Of those at the front, which do not count.
      scale: Of the products, to scores in powers of two.
    """

    shares: int
    width: int
    stages: int
    blocks: int
    cells: int
    blank: int
    scale: float


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
    """Reads the first `count` slots of `order`."""
    objects = len(count)
    queries, channels = query.shape[0], values.shape[-1]
    # A bulk copy starts at a whole tile; where slots do not, the bank is copied here.
    cells = keys.shape[2]
    blank = max(pl.cdiv(cells, TILE) * TILE, ROWS) - cells
    if blank:
        pads = (0, 0), (0, 0), (blank, 0), (0, 0)
        keys, values = jnp.pad(keys, pads), jnp.pad(values, pads)
    query = jnp.pad(query, ((0, -queries % (GROUPS * ROWS)), (0, 0)))
    plan = _plan(query, keys, values, blank, scale)
    operands = [order, count, query, keys, values]
    if offset is not None:
        operands.append(jnp.pad(offset, ((0, 0), (0, 0), (blank, 0))))
    padded = plan.shares, objects, len(query)
    found, highest, total = plgpu.kernel(
        partial(_kernel, plan=plan, interpret=interpret),
        out_type=(
            jax.ShapeDtypeStruct((*padded, channels), jnp.float32),
            jax.ShapeDtypeStruct(padded, jnp.float32),
            jax.ShapeDtypeStruct(padded, jnp.float32),
        ),
        scratch_types=_scratch(plan, query, keys, values, offset is not None),
        # The last one varies fastest: blocks that run at once read the same slots.
        grid=(
            plan.shares,
            objects,
            channels // plan.width,
            len(query) // (GROUPS * ROWS),
        ),
        grid_names=("share", "object", "part", "queries"),
        num_threads=GROUPS + 1,
        thread_name="group",
        compiler_params=plgpu.CompilerParams(approx_math=True),
        interpret=_interpreter() if interpret else None,
    )(*operands)
    top = highest.max(0)
    weights = jnp.exp2(highest - top)
    total = (weights * total).sum(0)
    found = (weights[..., None] * found).sum(0)
    return (found / jnp.where(total > 0, total, 1)[..., None])[:, :queries]


def _plan(query: Array, keys: Array, values: Array, blank: int, scale: float) -> _Plan:
    slots, objects, cells, key_channels = keys.shape
    channels = values.shape[-1]
    width = max(
        x for x in range(ROWS, MOST_CHANNELS + 1, ROWS) if channels % x == 0
    )
    stage = 2 * ROWS * (key_channels + width) + 4 * ROWS
    room = SHARED_BYTES - 2 * GROUPS * ROWS * key_channels
    blocks = pl.cdiv(cells, ROWS)
    at_once = objects * (channels // width) * len(query) // (GROUPS * ROWS)
    return _Plan(
        shares=min(_shares(at_once), slots * blocks),
        width=width,
        stages=min(room // stage, 4),
        blocks=blocks,
        cells=cells,
        blank=blank,
        scale=scale * log2(e),
    )


def _shares(blocks: int) -> int:
    """So many that processors are busy; each costs a share of the sums to add up."""

    def time(shares: int) -> float:
        return pl.cdiv(blocks * shares, PROCESSORS) / shares + 0.02 * shares

    return min(range(1, 9), key=time)


def _scratch(
    plan: _Plan, query: Array, keys: Array, values: Array, with_offset: bool
) -> tuple[Any, ...]:
    """Shared memory and barriers, as `_kernel` takes them."""
    tiles = plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128)

    def shared(count: int, channels: int, like: Array) -> Any:
        shape = count, ROWS, channels
        return plgpu.SMEM(shape, like.dtype, transforms=tiles)

    return (
        shared(GROUPS, query.shape[-1], query),
        shared(plan.stages, keys.shape[-1], keys),
        shared(plan.stages, plan.width, values),
        plgpu.SMEM((plan.stages, ROWS), jnp.float32) if with_offset else None,
        plgpu.Barrier(num_barriers=GROUPS),
        plgpu.Barrier(num_barriers=plan.stages, num_arrivals=1 + with_offset),
        plgpu.Barrier(num_barriers=plan.stages),
        plgpu.Barrier(num_barriers=plan.stages, num_arrivals=GROUPS),
    )


def _kernel(order, count, query, keys, values, *rest, plan, interpret):  # type: ignore[no-untyped-def]
    """Scores of a share and the sums of what they weigh, one group for 64 queries."""
    *offset, found, highest, total = rest[:-8]
    query_s, keys_s, values_s, offset_s, query_in, keys_in, values_in, free = rest[-8:]
    share, which, part, place, group = (
        lax.axis_index(name)
        for name in ("share", "object", "part", "queries", "group")
    )
    steps = count[which] * plan.blocks
    first = lax.div(share * steps, plan.shares)
    steps = lax.div((share + 1) * steps, plan.shares) - first
    channels = pl.ds(part * plan.width, plan.width)

    def block_of(step):  # type: ignore[no-untyped-def]
        """Slot, where its block starts, and how many of its cells do not count."""
        block = lax.rem(first + step, plan.blocks)
        # In tiles, so that a compiler sees that it starts at one.
        tile = jnp.minimum(block * (ROWS // TILE), (plan.cells - ROWS) // TILE)
        slot = order[which, lax.div(first + step, plan.blocks)]
        return slot, tile * TILE, jnp.maximum(block * ROWS, plan.blank) - tile * TILE

    @pl.when(group == GROUPS)
    def _() -> None:
        plgpu.set_max_registers(40, action="decrease")

        @pl.loop(0, steps)
        def _(step: Array) -> None:
            stage = lax.rem(step, plan.stages)

            @pl.when(step >= plan.stages)
            def _() -> None:
                plgpu.barrier_wait(free.at[stage])

            slot, start, _ = block_of(step)
            cells = pl.ds(start, ROWS)
            plgpu.copy_gmem_to_smem(
                keys.at[slot, which, cells], keys_s.at[stage], keys_in.at[stage]
            )
            if offset:
                plgpu.copy_gmem_to_smem(
                    offset[0].at[slot, which, cells],
                    offset_s.at[stage],
                    keys_in.at[stage],
                )
            plgpu.copy_gmem_to_smem(
                values.at[slot, which, cells, channels],
                values_s.at[stage],
                values_in.at[stage],
            )

    @pl.when(group < GROUPS)
    def _() -> None:
        plgpu.set_max_registers(232, action="increase")
        rows = pl.ds((place * GROUPS + group) * ROWS, ROWS)
        plgpu.copy_gmem_to_smem(
            query.at[rows], query_s.at[group], query_in.at[group]
        )
        plgpu.barrier_wait(query_in.at[group])
        registers = _Registers(interpret)

        def add(step: Array, seen: tuple[Array, ...]) -> tuple[Array, ...]:
            sums, top, mass = seen
            stage = lax.rem(step, plan.stages)
            plgpu.barrier_wait(keys_in.at[stage])
            scores = registers.product(query_s.at[group], keys_s.at[stage])
            scores *= plan.scale
            if offset:
                more = registers.load_row(offset_s.at[stage]) * log2(e)
                scores += lax.broadcast_in_dim(more, scores.shape, [1])
            if plan.blank or plan.cells % ROWS:
                column = registers.columns(scores.shape)
                scores = jnp.where(column >= block_of(step)[2], scores, LOWEST)
            new_top = jnp.maximum(top, scores.max(axis=1))
            fade = jnp.exp2(top - new_top)
            weights = jnp.exp2(scores - lax.broadcast_in_dim(new_top, scores.shape, [0]))
            mass = mass * fade + weights.sum(axis=1)
            sums *= lax.broadcast_in_dim(fade, sums.shape, [0])
            plgpu.barrier_wait(values_in.at[stage])
            weights = weights.astype(values.dtype)
            sums = registers.add_product(sums, weights, values_s.at[stage])
            plgpu.barrier_arrive(free.at[stage])
            return sums, new_top, mass

        nothing = (
            registers.full((ROWS, plan.width), 0.0),
            registers.full((ROWS,), LOWEST),
            registers.full((ROWS,), 0.0),
        )
        sums, top, mass = lax.fori_loop(0, steps, add, nothing)
        found[share, which, rows, channels] = sums

        @pl.when(part == 0)
        def _() -> None:
            highest[share, which, rows] = top
            total[share, which, rows] = mass


class _Registers(NamedTuple):
    """Values in registers, in the layout of a product.

    Interpreted kernels know no layouts, before JAX 0.11 not even to ignore them, and of
    tensor cores too little: there a product is one of arrays.
    """

    interpret: bool

    def full(self, shape: tuple[int, ...], value: float) -> Array:
        out = jnp.full(shape, value, jnp.float32)
        if self.interpret:
            return out
        layout: Any = plgpu.Layout.WGMMA
        return plgpu.layout_cast(out, layout if len(shape) == 2 else layout.reduce(1))

    def columns(self, shape: tuple[int, int]) -> Array:
        if self.interpret:
            return lax.broadcasted_iota(jnp.int32, shape, 1)
        return plgpu.broadcasted_iota(jnp.int32, shape, 1, layout=plgpu.Layout.WGMMA)

    def load_row(self, row: Any) -> Array:
        if self.interpret:
            return row[...]
        return plgpu.load(row, (), layout=plgpu.Layout.WGMMA.reduce(0))

    def product(self, query: Any, keys: Any) -> Array:
        if self.interpret:
            return _product(query[...], keys[...].T)

        def multiply(scores: Any) -> Array:
            plgpu.wgmma(scores, query, keys.transpose((1, 0)))
            return scores[...]

        return pl.run_scoped(multiply, plgpu.ACC((ROWS, ROWS), jnp.float32))

    def add_product(self, sums: Array, weights: Array, values: Any) -> Array:
        if self.interpret:
            return sums + _product(weights, values[...])

        def add(total: Any) -> None:
            plgpu.wgmma(total, weights, values)

        return pl.run_state(add)(plgpu.ACC.init(sums))


def _product(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _interpreter() -> Any:
    if hasattr(plgpu, "InterpretGPUParams"):
        return plgpu.InterpretGPUParams()
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    return InterpretGPUParams()
