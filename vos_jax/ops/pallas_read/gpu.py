"""The read for GPUs of compute capability 9.0: sizes, operands and what follows.

Letters beside the package's: `S` shares, into which the filled slots of an object are
divided, and `R` rows, one for each memory cell of all slots and objects.
"""

from functools import partial
from math import e, log2
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.ops.pallas_read import gpu_kernel
from vos_jax.ops.pallas_read.gpu_kernel import GROUPS, ROWS, TILE, Cells, Plan

MOST_CHANNELS = 256
"""Of a block: with more the sums, which stay in registers, find no room there."""

SHARED_BYTES = 208 << 10
"""For queries and copies under way, of the 227 KB that a block of threads may have."""

PROCESSORS = 132
"""Of an H100 or H200. With another number the read takes longer, and no less."""

MOST_SHARES = 8
"""At most into so many parts the cells of a memory are divided."""

OLDEST_JAX = (0, 10, 2)
"""Its kernels are declared by what they give and take, those of older ones are not."""


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

    What a slot holds beside whole blocks is gathered, which is little. The bank itself
    is copied only where its rows, `N O m`, are no whole number of tiles.

    Raises:
      InputError: JAX is too old.
    """
    if jax.__version_info__ < OLDEST_JAX:
        raise InputError(
            f"the kernel for GPUs needs JAX {'.'.join(map(str, OLDEST_JAX))} or newer,"
            f" and this is {jax.__version__}; use read='blocks'"
        )
    queries, channels = query.shape[0], values.shape[-1]
    query = jnp.pad(query, ((0, -queries % (GROUPS * ROWS)), (0, 0)))
    plan = _plan(query, keys, values, scale)
    cells = Cells(
        _rows(keys.reshape(-1, keys.shape[-1])),
        _rows(values.reshape(-1, channels)),
        None if offset is None else _rows(offset.reshape(-1) * log2(e)),
    )
    fringe = _fringe(cells, order, count, plan) if plan.fringe else None
    padded = plan.shares, plan.objects, len(query)
    found, highest, total = plgpu.kernel(
        partial(gpu_kernel.read_share, plan=plan, interpret=interpret),
        out_type=(
            jax.ShapeDtypeStruct((*padded, channels), jnp.float32),
            jax.ShapeDtypeStruct(padded, jnp.float32),
            jax.ShapeDtypeStruct(padded, jnp.float32),
        ),
        scratch_types=gpu_kernel.scratch(plan, query, cells),
        # The last one varies fastest: blocks that run at once read the same slots.
        grid=(
            plan.shares,
            plan.objects,
            channels // plan.width,
            len(query) // (GROUPS * ROWS),
        ),
        grid_names=("share", "object", "part", "queries"),
        num_threads=GROUPS + 1,
        thread_name="group",
        compiler_params=plgpu.CompilerParams(approx_math=True),
        interpret=_interpreter() if interpret else None,
    )(order, count, query, cells, fringe)
    return _joined(found, highest, total)[:, :queries]


def _joined(
    found: Float[Array, "S O q Cv"],
    highest: Float[Array, "S O q"],
    total: Float[Array, "S O q"],
) -> Float[Array, "O q Cv"]:
    """Mean of the values over all shares, of their sums and the weights' sums."""
    weights = jnp.exp2(highest - highest.max(0, keepdims=True))
    total = (weights * total).sum(0)
    found = (weights[..., None] * found).sum(0)
    return found / jnp.where(total > 0, total, 1)[..., None]


def _plan(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O m Ck"],
    values: Float[Array, "N O m Cv"],
    scale: float,
) -> Plan:
    slots, objects, cells, key_channels = keys.shape
    channels = values.shape[-1]
    width = max(x for x in range(ROWS, MOST_CHANNELS + 1, ROWS) if channels % x == 0)
    stage = 2 * ROWS * (key_channels + width) + 4 * ROWS
    room = SHARED_BYTES - 2 * GROUPS * ROWS * key_channels
    # A slot that starts within a tile has one whole one less.
    blocks = (cells - cells % TILE - TILE * bool(cells % TILE)) // ROWS
    fringe = pl.cdiv(slots * (cells - blocks * ROWS), ROWS)
    at_once = objects * (channels // width) * (len(query) // (GROUPS * ROWS))
    return Plan(
        shares=min(_shares(at_once), slots * blocks + fringe),
        width=width,
        stages=min(room // stage, 4),
        objects=objects,
        cells=cells,
        blocks=blocks,
        fringe=fringe * ROWS,
        scale=scale * log2(e),
    )


def _shares(blocks: int) -> int:
    """So many that processors are busy; each costs sums to write and to join."""

    def time(shares: int) -> float:
        return pl.cdiv(blocks * shares, PROCESSORS) / shares + 0.02 * shares

    return min(range(1, MOST_SHARES + 1), key=time)


def _rows(bank: Float[Array, "R ..."]) -> Float[Array, "R ..."]:
    """A whole number of tiles, or a bulk copy is refused."""
    missing = -len(bank) % TILE
    if not missing:
        return bank
    return jnp.pad(bank, ((0, missing), *((0, 0) for _ in bank.shape[1:])))


def _fringe(
    cells: Cells, order: Int[Array, "O N"], count: Int[Array, " O"], plan: Plan
) -> Cells:
    """What filled slots hold before and behind their blocks, as much of each of them.

    The rows of an object follow one another, those of filled slots first. What belongs
    to none is zero: a weight of zero does not undo a NaN.
    """
    which = jnp.arange(plan.objects, dtype=jnp.int32)[:, None]
    begin = (order * plan.objects + which) * plan.cells
    before = gpu_kernel.first_tile(order, which, plan) * TILE - begin
    place = jnp.arange(plan.left, dtype=jnp.int32)
    skipped = jnp.where(place[None, None] < before[..., None], 0, plan.blocks * ROWS)
    rows = begin[..., None] + place[None, None] + skipped
    rows = rows.reshape(plan.objects, -1)
    rows = jnp.pad(rows, ((0, 0), (0, plan.fringe - rows.shape[1])))
    is_filled = jnp.arange(plan.fringe)[None] < plan.left * count[:, None]
    rows, is_filled = rows.reshape(-1), is_filled.reshape(-1)

    def picked(bank: Array) -> Array:
        mask = is_filled.reshape(-1, *(1 for _ in bank.shape[1:]))
        return jnp.where(mask, bank[rows], jnp.zeros((), bank.dtype))

    return jax.tree.map(picked, cells)


def _interpreter() -> Any:
    """What runs a kernel on a CPU; before JAX 0.11 it had no public name."""
    if hasattr(plgpu, "InterpretGPUParams"):
        return plgpu.InterpretGPUParams()
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    return InterpretGPUParams()
