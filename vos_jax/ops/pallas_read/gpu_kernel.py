"""The kernel for GPUs of compute capability 9.0: tensor cores fed by bulk copies.

A block of threads holds two groups that compute and one that copies. It reads a share
of the filled slots of one object for 128 query cells and some of the channels.
"""

from inspect import signature
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array

from vos_jax.ops.scores import LOWEST

ROWS = 64
"""Query cells of one group, and memory cells at once."""

TILE = 8
"""Rows that tensor cores take as one; a bulk copy starts at such a one."""

GROUPS = 2
"""That compute. They share what is copied; three would lack registers for sums."""

# What of a reference is loaded; JAX 0.12 always loads what it is given.
_WHOLE = ((),) if "idx" in signature(plgpu.load).parameters else ()


class Plan(NamedTuple):
    """Sizes of a program.

    Attributes:
      shares: Into how many parts the filled slots of an object are divided.
      width: Channels of a block of threads.
      stages: Copies of memory cells that are there or under way.
      objects: Whose slots follow one another.
      cells: Memory cells of a slot.
      blocks: Of a slot, those that are read where they are.
      fringe: Rows for the cells that are left, of all slots of an object.
      scale: Of the products, to scores in powers of two.
    """

    shares: int
    width: int
    stages: int
    objects: int
    cells: int
    blocks: int
    fringe: int
    scale: float

    @property
    def left(self) -> int:
        """Cells of a slot that are not read where they are."""
        return self.cells - self.blocks * ROWS


class Cells(NamedTuple):
    """Keys `[R, Ck]`, values `[R, Cv]` and, or None, offsets `[R]` of memory cells.

    Offsets are in powers of two, like scores.
    """

    keys: Any
    values: Any
    offset: Any


def first_tile(slot: Array, which: Array, plan: Plan) -> Array:
    """The first whole tile of a slot of an object among all of the bank."""
    return lax.div((slot * plan.objects + which) * plan.cells + TILE - 1, TILE)


def scratch(plan: Plan, query: Array, cells: Cells) -> tuple[Any, ...]:
    """Shared memory and barriers, as `read_share` takes them."""
    tiles = plgpu.TilingTransform((TILE, 64)), plgpu.SwizzleTransform(128)
    with_offset = cells.offset is not None

    def shared(count: int, channels: int, like: Array) -> Any:
        return plgpu.SMEM((count, ROWS, channels), like.dtype, transforms=tiles)

    return (
        shared(GROUPS, query.shape[-1], query),
        Cells(
            shared(plan.stages, query.shape[-1], cells.keys),
            shared(plan.stages, plan.width, cells.values),
            plgpu.SMEM((plan.stages, ROWS), jnp.float32) if with_offset else None,
        ),
        _Barriers(
            plgpu.Barrier(num_barriers=GROUPS),
            plgpu.Barrier(num_barriers=plan.stages, num_arrivals=1 + with_offset),
            plgpu.Barrier(num_barriers=plan.stages),
            plgpu.Barrier(num_barriers=plan.stages, num_arrivals=GROUPS),
        ),
    )


class _Barriers(NamedTuple):
    """What has arrived, of each group or stage; and what no group needs any more."""

    query: Any
    keys: Any
    values: Any
    free: Any


class _Share(NamedTuple):
    """What one block of threads reads of an object.

    Attributes:
      which: The object.
      steps: Blocks of memory cells.
      first: The first of them among all that are filled.
      filled: How many of all lie in slots; those of the fringe follow.
      fringe: Filled rows of the fringe.
    """

    which: Array
    steps: Array
    first: Array
    filled: Array
    fringe: Array


def _share(count: Any, plan: Plan) -> _Share:
    share, which = lax.axis_index("share"), lax.axis_index("object")
    filled, fringe = count[which] * plan.blocks, count[which] * plan.left
    blocks = filled + lax.div(fringe + ROWS - 1, ROWS)
    first = lax.div(share * blocks, plan.shares)
    last = lax.div((share + 1) * blocks, plan.shares)
    return _Share(which, last - first, first, filled, fringe)


def read_share(  # type: ignore[no-untyped-def]
    order, count, query, cells, fringe, *rest, plan, interpret
) -> None:
    """Sums of values by their weights, the sum of these and the highest score.

    The online softmax of Milakov & Gimelshein (2018).
    """
    found, highest, total, query_here, here, barriers = rest
    share = _share(count, plan)
    group = lax.axis_index("group")
    part, place = lax.axis_index("part"), lax.axis_index("queries")
    channels = pl.ds(part * plan.width, plan.width)

    @pl.when(group == GROUPS)
    def _() -> None:
        plgpu.set_max_registers(40, action="decrease")
        banks = cells, fringe
        _copy_share(share, order, banks, here, barriers, channels, plan)

    @pl.when(group < GROUPS)
    def _() -> None:
        plgpu.set_max_registers(232, action="increase")
        rows = pl.ds((place * GROUPS + group) * ROWS, ROWS)
        own, arrived = query_here.at[group], barriers.query.at[group]
        plgpu.copy_gmem_to_smem(query.at[rows], own, arrived)
        plgpu.barrier_wait(arrived)
        sums, top, mass = _add_share(share, own, here, barriers, plan, interpret)
        at = lax.axis_index("share"), share.which, rows
        found[*at, channels] = sums

        @pl.when(part == 0)
        def _() -> None:
            highest[at] = top
            total[at] = mass


def _copy_share(share, order, banks, here, barriers, channels, plan):  # type: ignore[no-untyped-def]
    """Copies one block of memory cells after the other, as stages get free."""
    cells, fringe = banks

    def copy(bank: Cells, tile: Array, stage: Array) -> None:
        # A compiler sees by the product that it starts at a tile.
        rows = pl.ds(tile * TILE, ROWS)
        keys_in, values_in = barriers.keys.at[stage], barriers.values.at[stage]
        plgpu.copy_gmem_to_smem(bank.keys.at[rows], here.keys.at[stage], keys_in)
        if bank.offset is not None:
            plgpu.copy_gmem_to_smem(
                bank.offset.at[rows], here.offset.at[stage], keys_in
            )
        plgpu.copy_gmem_to_smem(
            bank.values.at[rows, channels], here.values.at[stage], values_in
        )

    @pl.loop(0, share.steps)
    def _(step: Array) -> None:
        stage = lax.rem(step, plan.stages)
        block = share.first + step
        if plan.blocks:
            # Looked up before the wait, which it would otherwise make longer.
            at = jnp.minimum(lax.div(block, plan.blocks), order.shape[1] - 1)
            tile = first_tile(order[share.which, at], share.which, plan)

        @pl.when(step >= plan.stages)
        def _() -> None:
            plgpu.barrier_wait(barriers.free.at[stage])

        if plan.blocks:

            @pl.when(block < share.filled)
            def copy_of_slot() -> None:
                before = lax.rem(block, plan.blocks) * (ROWS // TILE)
                copy(cells, tile + before, stage)

        if plan.fringe:

            @pl.when(block >= share.filled)
            def copy_of_fringe() -> None:
                before = (block - share.filled) * (ROWS // TILE)
                copy(fringe, share.which * (plan.fringe // TILE) + before, stage)

    # A barrier may not end before its last phase is seen.
    for last in range(plan.stages):

        @pl.when(last < share.steps)
        def _(last: int = last) -> None:
            plgpu.barrier_wait(barriers.free.at[last])


def _add_share(share, query, here, barriers, plan, interpret):  # type: ignore[no-untyped-def]
    """Goes through the blocks of memory cells as they arrive."""
    registers = _Registers(interpret)

    def add(step: Array, seen: tuple[Array, ...]) -> tuple[Array, ...]:
        sums, top, mass = seen
        stage = lax.rem(step, plan.stages)
        plgpu.barrier_wait(barriers.keys.at[stage])
        scores = registers.product(query, here.keys.at[stage]) * plan.scale
        if here.offset is not None:
            offset = registers.load_row(here.offset.at[stage])
            scores += lax.broadcast_in_dim(offset, scores.shape, [1])
        if plan.fringe:
            block = share.first + step - share.filled
            left = jnp.where(block < 0, ROWS, share.fringe - block * ROWS)
            scores = jnp.where(registers.columns(scores.shape) < left, scores, LOWEST)
        new_top = jnp.maximum(top, scores.max(axis=1))
        fade = jnp.exp2(top - new_top)
        weights = jnp.exp2(scores - lax.broadcast_in_dim(new_top, scores.shape, [0]))
        mass = mass * fade + weights.sum(axis=1)
        sums *= lax.broadcast_in_dim(fade, sums.shape, [0])
        weights = weights.astype(here.values.dtype)
        plgpu.barrier_wait(barriers.values.at[stage])
        sums = registers.add_product(sums, weights, here.values.at[stage])
        if interpret or here.offset is not None:
            # What was loaded, and not taken by a product, must be before the next copy.
            plgpu.commit_smem()
        plgpu.barrier_arrive(barriers.free.at[stage])
        return sums, new_top, mass

    nothing = (
        registers.full((ROWS, plan.width), 0.0),
        registers.full((ROWS,), LOWEST),
        registers.full((ROWS,), 0.0),
    )
    return lax.fori_loop(0, share.steps, add, nothing)


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

    def columns(self, shape: tuple[int, ...]) -> Array:
        if self.interpret:
            return lax.broadcasted_iota(jnp.int32, shape, 1)
        return plgpu.broadcasted_iota(jnp.int32, shape, 1, layout=plgpu.Layout.WGMMA)

    def load_row(self, row: Any) -> Array:
        if self.interpret:
            return row[...]
        return plgpu.load(row, *_WHOLE, layout=plgpu.Layout.WGMMA.reduce(0))

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
