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
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vos_jax.ops.guidance import Kernel, kernel_log
from vos_jax.ops.read import LOWEST, Implementation, product_of

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
) -> Cells:
    """The `k` cells with most weight in a coarse read, the best first.

    Args:
      query_key: One coarse key per cell, shared by all objects.
      memory_key: Coarse keys of the slots that have fine entries.
      usable: Which of them count.
      kernel: Guidance of these slots, as in the coarse read.
      k: Number of candidates; there are never more than coarse memory cells.
      precision: Of the matrix products.
    """
    height, width, channels = query_key.shape
    query = query_key.reshape(height * width, channels)

    def choose(own: tuple[Array, ...]) -> tuple[Array, Array]:
        keys, is_usable, guide = own
        keys = keys.reshape(len(keys), -1, channels)
        scores = product_of(precision, "qc,smc->qsm", query, keys) * channels**-0.5
        if guide is not None:
            scores = scores + jax.vmap(kernel_log, out_axes=1)(*guide)
        return _highest(scores, is_usable, k)

    # One object at a time, which bounds the affinities.
    own = jax.tree.map(lambda x: x.swapaxes(0, 1), (memory_key, usable, kernel))
    return _cells(lax.map(choose, own), height, width)


def random_cells(
    key: PRNGKeyArray, usable: Bool[Array, "S O"], height: int, width: int, k: int
) -> Cells:
    """`k` different cells for every query cell, whatever they hold."""

    def choose(own: tuple[Array, Array]) -> tuple[Array, Array]:
        own_key, is_usable = own
        cells = height * width
        chance = jax.random.uniform(own_key, (cells, len(is_usable), cells))
        return _highest(chance, is_usable, k)

    own = jax.random.split(key, usable.shape[1]), usable.T
    return _cells(lax.map(choose, own), height, width)


def strided_cells(usable: Bool[Array, "S O"], height: int, width: int, k: int) -> Cells:
    """`k` cells at equal distances, the same for every query cell."""
    cells = height * width
    k = min(k, len(usable) * cells)

    def choose(is_usable: Bool[Array, " S"]) -> tuple[Array, Array]:
        rows = jnp.repeat(is_usable, cells)
        places = jnp.argsort(~rows, stable=True)
        total = rows.sum()
        rank = jnp.arange(k)
        # Fewer than k: each of them once.
        spread = jnp.where(total > k, rank * total // k, rank)
        index = jnp.broadcast_to(places[spread][None], (cells, k))
        return index, jnp.broadcast_to((rank < total)[None], (cells, k))

    return _cells(jax.vmap(choose)(usable.T), height, width)


def all_cells(usable: Bool[Array, "S O"], height: int, width: int) -> Cells:
    """Every cell: the dense read, by the sparse one's means."""
    return strided_cells(usable, height, width, len(usable) * height * width)


def _highest(
    scores: Float[Array, "q S m"], usable: Bool[Array, " S"], k: int
) -> tuple[Int[Array, "q k"], Bool[Array, "q k"]]:
    """Places of the highest scores among the slots that are usable."""
    scores = jnp.where(usable[None, :, None], scores, LOWEST)
    scores = scores.reshape(len(scores), -1)
    found, index = lax.top_k(scores, min(k, scores.shape[-1]))
    return index, found > LOWEST


def _cells(chosen: tuple[Array, Array], height: int, width: int) -> Cells:
    return Cells(*(x.reshape(len(x), height, width, -1) for x in chosen))


def guided_read(
    query_key: Float[Array, "rh rw D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
    *,
    implementation: Implementation = "auto",
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
        k times as much as there are queries; `chunked` those of a few query cells of
        one object, in the backward pass too. `auto` takes `chunked`, which is the
        faster one too.
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
    cells = jax.tree.map(lambda x: x.reshape(len(x), len(query), -1), cells)
    read = _IMPLEMENTATIONS[implementation]
    out = read(query, memory_key, memory_value, cells, ratio, precision)
    out = out.reshape(len(out), *coarse, ratio, ratio, -1).swapaxes(2, 3)
    return out.reshape(len(out), *fine, -1)


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
    query: Float[Array, "q i D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
    ratio: int,
    precision: lax.PrecisionLike,
) -> Float[Array, "O q i Dv"]:
    """The formula as written: all candidates of all query cells at once."""

    def read(own: Cells, *memory: Float[Array, "m i D"]) -> Float[Array, "q i Dv"]:
        taken = (jnp.take(x, own.index, axis=0, mode="clip") for x in memory)
        taken = (x.reshape(len(query), -1, x.shape[-1]) for x in taken)
        return _attend(precision, own.usable, query, *taken)

    blocks = (_blocks(x, ratio) for x in (memory_key, memory_value))
    return jax.vmap(read)(cells, *blocks)


def _chunked(
    query: Float[Array, "q i D"],
    memory_key: Float[Array, "S O rh rw D"],
    memory_value: Float[Array, "S O rh rw Dv"],
    cells: Cells,
    ratio: int,
    precision: lax.PrecisionLike,
) -> Float[Array, "O q i Dv"]:
    """Some query cells of one object after the others.

    Where there are no candidates it costs nothing, unless it is under `vmap`. The
    memory stays as it lies: a coarse cell is gathered as `ratio` pieces of as many fine
    cells side by side. Rematerialised in the backward pass, which is bounded likewise.
    """
    slots, objects, height, width, _ = memory_key.shape
    coarse = slots, height // ratio, width // ratio
    pieces = [x.reshape(-1, ratio * x.shape[-1]) for x in (memory_key, memory_value)]

    def take(index: Int[Array, "q k"], which: Array) -> list[Float[Array, "q k*i D"]]:
        slot, row, column = jnp.unravel_index(index[..., None], coarse)
        first = (slot * objects + which) * height + row * ratio
        places = (first + jnp.arange(ratio)[None, None]) * coarse[2] + column
        found = (jnp.take(x, places, axis=0, mode="clip") for x in pieces)
        return [x.reshape(len(index), -1, x.shape[-1] // ratio) for x in found]

    def read(own: tuple[Array, Cells]) -> Float[Array, "q i Dv"]:
        which, of_object = own

        def attend(query: Float[Array, "q i D"], cells: Cells) -> Array:
            return _attend(precision, cells.usable, query, *take(cells.index, which))

        def nothing(query: Float[Array, "q i D"], cells: Cells) -> Array:
            return jnp.zeros((*query.shape[:2], memory_value.shape[-1]))

        # The condition inside: otherwise it keeps a memory for every object's gradient.
        @partial(jax.checkpoint, prevent_cse=False)
        def read_part(part: tuple[Array, Cells]) -> Float[Array, "q i Dv"]:
            return lax.cond(part[1].usable.any(), attend, nothing, *part)

        out = lax.map(read_part, _parts((query, of_object), gathered))
        return out.reshape(-1, *out.shape[2:])[: len(query)]

    gathered = cells.index.shape[-1] * ratio * sum(x.shape[-1] for x in pieces)
    return lax.map(read, (jnp.arange(objects), cells))


def _parts(by_query: _T, numbers: int) -> _T:
    """Leaves `[q, ...]` as `[parts, q, ...]`, the last part padded with zeros.

    A part is as large as lets what it gathers, `numbers` for each query, stay in a
    core's cache, or on an accelerator keep it busy.
    """
    queries = len(jax.tree.leaves(by_query)[0])
    room = 2**18 if jax.default_backend() == "cpu" else 2**24
    count = -(-queries // max(room // numbers, 1))
    size = -(-queries // count)

    def split(x: Array) -> Array:
        pads = [(0, count * size - queries)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pads).reshape(count, size, *x.shape[1:])

    return jax.tree.map(split, by_query)


_IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "auto": _chunked,
    "reference": _reference,
    "chunked": _chunked,
}
