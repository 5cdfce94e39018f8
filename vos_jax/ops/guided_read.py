"""Sparse reads of fine grids at the cells that a coarse read prefers.

HMMN (Seong et al., ICCV 2021) sec. 3.2. A coarse cell stands for the `r * r` fine cells
that it covers. The fine queries of a coarse query cell read the fine cells of the `k`
coarse memory cells that are best for it, and nothing else.

Letters beside the package's: `S` slots that have fine entries, `q` coarse query cell,
`m` coarse memory cell of all slots (slot by slot, each row by row), `k` candidates,
`i j` place within a coarse cell, `D Dv` channels of the fine grid, `rh rw` its size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vos_jax.ops.guidance import Kernel, kernel_log
from vos_jax.ops.platform import Platform, by_platform
from vos_jax.ops.read_forms import Implementation, form_of
from vos_jax.ops.read_forms.top_k import grouped_top_k
from vos_jax.ops.scores import LOWEST, product_of

_T = TypeVar("_T")


class Cells(NamedTuple):
    """Candidates of every coarse query cell.

    Attributes:
      index: Coarse memory cells among the `S * h * w` of all slots.
      usable: Whether there is such a candidate; where not, its index means nothing.
    """

    # It hides the method of tuples, which nobody asks for.
    index: Int[Array, "O h w k"]  # type: ignore[assignment]
    usable: Bool[Array, "O h w k"]

    def first(self, count: int) -> "Cells":
        """The first `count` candidates of each query cell: its best where sorted."""
        return Cells(self.index[..., :count], self.usable[..., :count])


def best_cells(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "S O h w Ck"],
    usable: Bool[Array, "S O"],
    kernel: Kernel | None,
    k: int,
    precision: lax.PrecisionLike = "highest",
    platform: Platform | None = None,
) -> Cells:
    """The `k` cells with most weight in a coarse read, the best first.

    Args:
      query_key: One coarse key per cell, shared by all objects.
      memory_key: Coarse keys of the slots that have fine entries.
      usable: Which of them count.
      kernel: Guidance of these slots, as in the coarse read.
      k: Number of candidates; there are never more than coarse memory cells.
      precision: Of the matrix products.
      platform: What the program is built for; None leaves it to the lowering.
    """
    height, width, channels = query_key.shape
    query = query_key.reshape(height * width, channels)

    def choose(
        top_k: Callable[..., Any], keys: Array, is_usable: Array, guide: Any
    ) -> tuple[Array, Array]:
        keys = keys.reshape(keys.shape[0], -1, channels)
        scores = product_of(precision, "qc,smc->qsm", query, keys) * channels**-0.5
        if guide is not None:
            scores = scores + jax.vmap(kernel_log, out_axes=1)(*guide)
        return _highest(scores, is_usable, k, top_k)

    def one_by_one(*own: Any) -> tuple[Array, Array]:
        return lax.map(lambda own: choose(lax.top_k, *own), own)

    together = jax.vmap(partial(choose, grouped_top_k))
    own = jax.tree.map(lambda x: x.swapaxes(0, 1), (memory_key, usable, kernel))
    # One object at a time bounds the affinities, which fit the cache of a core so.
    return _cells(by_platform(platform, one_by_one, together, *own), height, width)


def random_cells(
    key: PRNGKeyArray, usable: Bool[Array, "S O"], height: int, width: int, k: int
) -> Cells:
    """`k` different cells for every query cell, whatever they hold."""

    def choose(own: tuple[Array, Array]) -> tuple[Array, Array]:
        own_key, is_usable = own
        cells = height * width
        chance = jax.random.uniform(own_key, (cells, is_usable.shape[0], cells))
        return _highest(chance, is_usable, k)

    own = jax.random.split(key, usable.shape[1]), usable.T
    return _cells(lax.map(choose, own), height, width)


def strided_cells(
    usable: Bool[Array, "S O"], height: int, width: int, side: int
) -> Cells:
    """A grid of `side` x `side` cells of each slot, the same for every query cell.

    Row i of the grid is row `floor((i + 1/2) height / side)`, and columns likewise;
    all of them where there are fewer.
    """
    rows, columns = (_spread(n, side) for n in (height, width))
    grid = (rows[:, None] * width + columns[None]).reshape(-1)
    return _same_for_all(usable, height, width, grid)


def _spread(size: int, count: int) -> Int[Array, " n"]:
    count = min(size, count)
    return (2 * jnp.arange(count) + 1) * size // (2 * count)


def all_cells(usable: Bool[Array, "S O"], height: int, width: int) -> Cells:
    """Every cell: the dense read, by the sparse one's means."""
    return _same_for_all(usable, height, width, jnp.arange(height * width))


def _same_for_all(
    usable: Bool[Array, "S O"], height: int, width: int, places: Int[Array, " n"]
) -> Cells:
    """These cells of all slots that are usable, for every query cell."""
    cells = height * width
    index = (jnp.arange(usable.shape[0])[:, None] * cells + places[None]).reshape(-1)
    is_usable = jnp.repeat(usable.T, places.shape[0], axis=1)
    shape = is_usable.shape[0], cells, index.shape[0]
    index = jnp.broadcast_to(index[None, None], shape)
    is_usable = jnp.broadcast_to(is_usable[:, None], shape)
    return _cells((index, is_usable), height, width)


def _highest(
    scores: Float[Array, "q S m"],
    usable: Bool[Array, " S"],
    k: int,
    top_k: Callable[..., Any] = lax.top_k,
) -> tuple[Int[Array, "q k"], Bool[Array, "q k"]]:
    """Places of the highest scores among the slots that are usable."""
    scores = jnp.where(usable[None, :, None], scores, LOWEST)
    scores = scores.reshape(scores.shape[0], -1)
    found, index = top_k(scores, min(k, scores.shape[-1]))
    return index, found > LOWEST


def _cells(chosen: tuple[Array, Array], height: int, width: int) -> Cells:
    return Cells(*(x.reshape(x.shape[0], height, width, -1) for x in chosen))


def guided_read(
    query_key: Float[Array, "rh rw D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
    *,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O rh rw Dv"]:
    """Reads a fine memory at the candidates of every coarse query cell.

        out_f = sum_n w_fn value_n,   w_fn = softmax_n(query_f . key_n / sqrt(D))

    HMMN sec. 3.2: n goes over the fine cells of the candidates of the coarse cell that
    the fine cell f is in. The division by sqrt(D) is the released program's; the paper
    shows none. The coarse weights only choose. Costs 2 O (hw) k r^4 (D + Dv) FLOP.

    Args:
      query_key: One fine key per cell, shared by all objects.
      memory_key: Fine entries, in the order of slots that `cells` counts in.
      memory_value: Same layout.
      cells: Candidates; their grid says how much coarser it is.
      implementation: `reference` gathers the candidates of all query cells at once,
        k times as much as there are queries. `slots` gathers as many as a core's cache
        holds and none where none is usable, `blocks` as many as keep an accelerator
        busy; both so in the backward pass. `auto` takes `slots` on CPUs, else `blocks`.
      platform: What the program is built for; None leaves it to the lowering.
      precision: Of the matrix products.

    Returns:
      float32 values; zeros where no candidate is usable.

    Raises:
      ValueError: The fine grid does not divide into coarse cells, or is not that of
        the memory.
    """
    fine, coarse = query_key.shape[:2], cells.index.shape[1:3]
    ratio = fine[0] // coarse[0]
    if not ratio or fine != (ratio * coarse[0], ratio * coarse[1]):
        raise ValueError(
            f"a grid of {fine[0]} x {fine[1]} cells is no whole multiple of the"
            f" candidates' {coarse[0]} x {coarse[1]}"
        )
    if memory_key.shape[2:4] != fine or memory_value.shape[2:4] != fine:
        raise ValueError(
            f"a memory of {memory_key.shape[2:4]} keys and {memory_value.shape[2:4]}"
            f" values for a query of {fine}: use one grid"
        )
    query = _blocks(query_key[None, None], ratio)[0]
    cells = jax.tree.map(lambda x: x.reshape(x.shape[0], query.shape[0], -1), cells)
    read = form_of(
        {
            "reference": partial(_reference, ratio, precision),
            "slots": partial(_slots, ratio, precision),
            "blocks": partial(_by_blocks, ratio, precision),
        },
        implementation,
        platform,
    )
    out = read(query, memory_key, memory_value, cells)
    out = out.reshape(out.shape[0], *coarse, ratio, ratio, -1).swapaxes(2, 3)
    return out.reshape(out.shape[0], *fine, -1)


def _blocks(x: Float[Array, "S O rh rw D"], ratio: int) -> Float[Array, "O m i D"]:
    """The fine cells of every coarse cell, side by side."""
    slots, objects, height, width, channels = x.shape
    down, right = height // ratio, width // ratio
    x = x.reshape(slots, objects, down, ratio, right, ratio, channels)
    x = x.transpose(1, 0, 2, 4, 3, 5, 6)
    return x.reshape(objects, slots * down * right, ratio**2, channels)


def _attend(
    precision: lax.PrecisionLike,
    usable: Bool[Array, "q k"],
    query: Float[Array, "q i D"],
    key: Float[Array, "q k*i D"],
    value: Float[Array, "q k*i Dv"],
) -> Float[Array, "q i Dv"]:
    """The softmax of every fine query over the fine cells of its candidates."""
    product = partial(product_of, precision)
    mask = jnp.repeat(usable, key.shape[1] // usable.shape[1], -1)[:, None]
    scores = product("qid,qnd->qin", query, key) * query.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, LOWEST), axis=-1)
    # Not uniform where no candidate is usable, but zero.
    weights = jnp.where(mask, weights, 0).astype(value.dtype)
    return product("qin,qnc->qic", weights, value)


def _reference(
    ratio: int,
    precision: lax.PrecisionLike,
    query: Float[Array, "q i D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
) -> Float[Array, "O q i Dv"]:
    """The formula as written: all candidates of all query cells at once."""

    def read(own: Cells, *memory: Float[Array, "m i D"]) -> Float[Array, "q i Dv"]:
        taken = (jnp.take(x, own.index, axis=0, mode="clip") for x in memory)
        taken = (x.reshape(query.shape[0], -1, x.shape[-1]) for x in taken)
        return _attend(precision, own.usable, query, *taken)

    blocks = (_blocks(x, ratio) for x in (memory_key, memory_value))
    return jax.vmap(read)(cells, *blocks)


class _Pieces(NamedTuple):
    """A memory as it lies: a coarse cell is `ratio` pieces of fine cells side by side.

    Attributes:
      pieces: Keys and values, `ratio` cells in a row.
      grid: Slots, coarse rows and coarse columns.
      objects: Of each slot.
      ratio: Fine cells along a coarse one.
    """

    pieces: tuple[Float[Array, "p n"], ...]
    grid: tuple[int, int, int]
    objects: int
    ratio: int

    @classmethod
    def of(
        cls, memory: tuple[Float[Array, "S O rh rw D"], ...], ratio: int
    ) -> "_Pieces":
        slots, objects, height, width, _ = memory[0].shape
        pieces = tuple(x.reshape(-1, ratio * x.shape[-1]) for x in memory)
        grid = slots, height // ratio, width // ratio
        return cls(pieces, grid, objects, ratio)

    def take(
        self, index: Int[Array, "q k"], which: Int[Array, "q 1"]
    ) -> list[Float[Array, "q k*i D"]]:
        """Keys and values of coarse cells of some objects."""
        slot, row, column = jnp.unravel_index(index, self.grid)
        first = ((slot * self.objects + which) * self.grid[1] + row) * self.ratio
        down = jnp.arange(self.ratio)[None, None]
        places = (first[..., None] + down) * self.grid[2] + column[..., None]
        found = (jnp.take(x, places, axis=0, mode="clip") for x in self.pieces)
        return [x.reshape(index.shape[0], -1, x.shape[-1] // self.ratio) for x in found]

    def numbers(self, cells: int) -> int:
        """Numbers of so many coarse cells."""
        return cells * self.ratio * sum(x.shape[-1] for x in self.pieces)


def _slots(
    ratio: int,
    precision: lax.PrecisionLike,
    query: Float[Array, "q i D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
) -> Float[Array, "O q i Dv"]:
    """Some query cells of one object after the others.

    Where there are no candidates it costs nothing, unless it is under `vmap`.
    Rematerialised in the backward pass, which is bounded likewise.
    """
    pieces = _Pieces.of((memory_key, memory_value), ratio)

    def read(own: tuple[Array, Cells]) -> Float[Array, "q i Dv"]:
        which, of_object = own

        def attend(query: Float[Array, "q i D"], cells: Cells) -> Array:
            taken = pieces.take(cells.index, which[None, None])
            return _attend(precision, cells.usable, query, *taken)

        def nothing(query: Float[Array, "q i D"], cells: Cells) -> Array:
            return jnp.zeros((*query.shape[:2], memory_value.shape[-1]))

        # The condition inside: otherwise it keeps a memory for every object's gradient.
        @partial(jax.checkpoint, prevent_cse=False)
        def read_part(part: tuple[Array, Cells]) -> Float[Array, "q i Dv"]:
            return lax.cond(part[1].usable.any(), attend, nothing, *part)

        out = lax.map(read_part, _parts((query, of_object), CACHE // numbers))
        return out.reshape(-1, *out.shape[2:])[: query.shape[0]]

    numbers = pieces.numbers(cells.index.shape[-1])
    return lax.map(read, (jnp.arange(pieces.objects), cells))


def _by_blocks(
    ratio: int,
    precision: lax.PrecisionLike,
    query: Float[Array, "q i D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
) -> Float[Array, "O q i Dv"]:
    """Many query cells at once, of all objects; rematerialised if there are parts."""
    pieces = _Pieces.of((memory_key, memory_value), ratio)
    objects, queries = cells.index.shape[0], query.shape[0]
    which = jnp.repeat(jnp.arange(objects), queries)[:, None]
    asked = jnp.broadcast_to(query, (objects, *query.shape))
    each = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (asked, cells))

    def attend(part: tuple[Array, tuple[Array, Cells]]) -> Float[Array, "q i Dv"]:
        which, (asked, cells) = part
        taken = pieces.take(cells.index, which)
        return _attend(precision, cells.usable, asked, *taken)

    parts = _parts((which, each), ROOM // pieces.numbers(cells.index.shape[-1]))
    if parts[0].shape[0] == 1:
        out = attend(jax.tree.map(lambda x: x[0], parts))
    else:
        out = lax.map(jax.checkpoint(attend, prevent_cse=False), parts)
        out = out.reshape(-1, *out.shape[2:])[: objects * queries]
    return out.reshape(objects, queries, *out.shape[1:])


CACHE, ROOM = 2**18, 2**27
"""Numbers gathered at once: that a core's cache holds, that accelerators have room for.
"""


def _parts(by_query: _T, most: int) -> _T:
    """Leaves `[q, ...]` as `[parts, q, ...]`, the last part padded with zeros.

    A part has at most so many queries, and at least one.
    """
    queries = jax.tree.leaves(by_query)[0].shape[0]
    count = -(-queries // max(most, 1))
    size = -(-queries // count)

    def split(x: Array) -> Array:
        pads = [(0, count * size - queries)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pads).reshape(count, size, *x.shape[1:])

    return jax.tree.map(split, by_query)
