"""Every read of `vos_jax.ops`, as the tests of all of them need it.

A read joins by an entry of `READS`. Floats are what gradients are of, the rest says
which of them count.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from vos_jax.ops.guidance import Kernel, kernel_guided_read
from vos_jax.ops.guided_read import Cells, guided_read
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.object_read import object_read
from vos_jax.ops.position_map import position_map
from vos_jax.ops.read import space_time_read

IMPLEMENTATIONS = ("reference", "slots", "blocks")

Floats = tuple[np.ndarray, ...]
Args = tuple[Floats, tuple[np.ndarray, ...]]


def inner_programs(equation: Any) -> Iterator[Jaxpr]:
    """Programs that an operation of a program runs: its branches, its body."""
    for value in equation.params.values():
        for program in value if isinstance(value, tuple | list) else [value]:
            if isinstance(program, ClosedJaxpr):
                yield program.jaxpr
            elif isinstance(program, Jaxpr):
                yield program


class Read(NamedTuple):
    """A read of two slots or more, three objects, and what is known of it.

    Attributes:
      read: Of floats and the rest.
      random: Its arguments by a seed; sizes as of the function that makes them.
      loops: The formula in NumPy, one cell after the other, in a given type.
      options: All that it is compared with loops for; the first are its own, which the
        other tests take, too.
      differentiated: Arguments of which no cell is about to be exchanged for another.
      ordered: Arguments of the objects in another order.
      emptied: The rest where nothing is there to be read of object 1, or of any object;
        none where there is always something.
      hidden: The same but for what does not count, or None where all does.
      longer: The same with more that does not count, or None.
      parts: Arguments that a bounded read takes apart.
      large: Arguments of which the formula has `whole` numbers at once.
      whole: More than a bounded read has.
    """

    read: Callable[..., Any]
    random: Callable[..., Args]
    loops: Callable[..., np.ndarray]
    options: tuple[Mapping[str, Any], ...]
    differentiated: Callable[[], Args]
    ordered: Callable[[Args, np.ndarray], Args]
    emptied: tuple[Callable[..., tuple[np.ndarray, ...]], ...]
    hidden: Callable[[Args], Args] | None
    longer: Callable[[Args], Args] | None
    parts: Callable[[], Args]
    large: Callable[[], Args]
    whole: int


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


# Dot products


def bank(slots=4, objects=3, cells=(2, 3), dims=(5, 6), seed=0) -> Args:
    """Query, keys and values; which slots are filled: not the last one."""
    rng = np.random.default_rng(seed)
    query = _normal(rng, *cells, dims[0])
    key = _normal(rng, slots, objects, *cells, dims[0])
    value = _normal(rng, slots, objects, *cells, dims[1])
    filled = rng.random((slots, objects)) < 0.6
    filled[0] = True
    filled[-1] = False
    return (query, key, value), (filled,)


def attention(
    query, key, value, filled, kernel=None, top_k=None, dtype=np.float64
) -> np.ndarray:
    """Softmax attention of one query cell of one object; times a kernel, over its sum.

    As the released program of HMMN has it; cells that tie with the last are kept.
    """
    objects, channels = filled.shape[1], query.shape[-1]
    out = np.zeros((objects, *query.shape[:2], value.shape[-1]), dtype)
    for o, row, column in np.ndindex(out.shape[:3]):
        slots = np.flatnonzero(filled[:, o])
        if not len(slots):
            continue
        keys = key[slots, o].reshape(-1, channels).astype(dtype)
        values = value[slots, o].reshape(len(keys), -1).astype(dtype)
        scores = keys @ query[row, column].astype(dtype) / np.sqrt(dtype(channels))
        if top_k is not None and top_k < len(scores):
            kept = scores >= np.sort(scores)[-top_k]
            scores, values = scores[kept], values[kept]
        weights = np.exp(scores - scores.max())
        if kernel is not None:
            weights *= gaussian(kernel, o, slots, row, column).astype(dtype)
        out[o, row, column] = weights @ values / weights.sum()
    return out


def gaussian(kernel, o, slots, row, column) -> np.ndarray:
    """Weights of one query cell for all memory cells of some slots."""
    width = kernel.centre.shape[-1]
    there = np.divmod(kernel.centre[slots, o].reshape(len(slots), -1), width)
    distance = (there[0] - row) ** 2.0 + (there[1] - column) ** 2.0
    return np.exp(-distance / (2 * kernel.sigma[slots, o][:, None] ** 2.0)).reshape(-1)


def object_bank(slots=4, objects=3, cells=(2, 3), dims=(5, 6), seed=0) -> Args:
    """A bank whose objects have queries of their own."""
    (_, key, value), rest = bank(slots, objects, cells, dims, seed)
    rng = np.random.default_rng((seed, 1))
    return (_normal(rng, objects, *cells, dims[0]), key, value), rest


def _object_loops(query, key, value, filled, dtype=np.float64):
    """Each object by itself."""
    return np.concatenate(
        [
            attention(own, key[:, [o]], value[:, [o]], filled[:, [o]], dtype=dtype)
            for o, own in enumerate(query)
        ]
    )


def _object_bank_ordered(args, order):
    (query, *bank), rest = args
    (_, *bank), rest = _banks_ordered(((query, *bank), rest), order)
    return (query[order], *bank), rest


def guided_bank(slots=4, objects=3, cells=(3, 4), dims=(5, 6), seed=0) -> Args:
    """A bank; widths of kernels beside its floats, their centres beside the rest."""
    floats, rest = bank(slots, objects, cells, dims, seed)
    rng = np.random.default_rng((seed, 1))
    centre = rng.integers(0, np.prod(cells), (slots, objects, *cells), np.int32)
    sigma = rng.uniform(0.7, 3, (slots, objects)).astype(np.float32)
    return (*floats, sigma), (*rest, centre)


def _kernel_read(query, key, value, sigma, filled, centre, **options):
    kernel = Kernel(centre, sigma)
    return kernel_guided_read(query, key, value, filled, kernel, **options)


def _kernel_loops(query, key, value, sigma, filled, centre, dtype=np.float64):
    kernel = Kernel(centre, sigma)
    return attention(query, key, value, filled, kernel, dtype=dtype)


def _without_one(filled, *more):
    return np.where(np.arange(3) == 1, False, filled), *more


def _without_all(filled, *more):
    return np.zeros_like(filled), *more


def _hidden_slots(args):
    (query, key, value, *sigma), (filled, *centre) = args
    hole = ~filled[:, :, None, None, None]
    key, value = np.where(hole, -1e3 * key, key), np.where(hole, np.float32(1e6), value)
    sigma = [np.where(filled, x, np.float32(0.1)) for x in sigma]
    centre = [np.where(hole[..., 0], 11 - x, x) for x in centre]
    return (query, key, value, *sigma), (filled, *centre)


def _more_slots(args):
    """The first of what follows the query says that they do not count."""
    (query, *floats), (counts, *rest) = args
    floats = [np.concatenate([x, np.ones_like(x[:2])]) for x in floats]
    rest = [np.concatenate([x, np.ones_like(x[:2])]) for x in rest]
    counts = np.concatenate([counts, np.zeros_like(counts[:2])])
    return (query, *floats), (counts, *rest)


def _banks_ordered(args, order):
    (query, *floats), rest = args
    return (query, *(x[:, order] for x in floats)), tuple(x[:, order] for x in rest)


# Distances


def counted(slots=4, objects=3, cells=(2, 3), dims=(5, 6), seed=0) -> Args:
    """Query, keys that objects share, and values; how often each slot counts."""
    rng = np.random.default_rng(seed)
    query = _normal(rng, *cells, dims[0])
    key = _normal(rng, slots, *cells, dims[0])
    value = _normal(rng, slots, objects, *cells, dims[1])
    copies = np.resize(np.array([1, 2, 0, 1], np.int32), slots)
    return (query, key, value), (copies,)


def distances(query, key, dtype=np.float64) -> np.ndarray:
    """Similarities by the differences of the keys, with the query's own part."""
    query, key = query.astype(dtype), key.astype(dtype)
    apart = np.square(query[:, None] - key[None]).sum(-1)
    squares = np.square(query).sum(-1)
    return (squares[:, None] - apart) / np.sqrt(dtype(query.shape[-1]))


def counted_weights(query, key, copies, top_k=None, dtype=np.float64) -> np.ndarray:
    """Weights `[q, M]`, one query cell and one memory cell at a time."""
    channels, cells = query.shape[-1], key.shape[1] * key.shape[2]
    scores = distances(query.reshape(-1, channels), key.reshape(-1, channels), dtype)
    weights = np.zeros_like(scores)
    for row, line in zip(weights, scores, strict=True):
        left = np.inf if top_k is None else top_k
        for m in np.argsort(-line, kind="stable"):
            taken = min(copies[m // cells], left)
            if not taken:
                continue
            left -= taken
            row[m] = taken * np.exp(line[m] - line[np.repeat(copies, cells) > 0].max())
        row /= row.sum() or 1
    return weights


def _counted_loops(query, key, value, copies, top_k=None, dtype=np.float64):
    weights = counted_weights(query, key, copies, top_k, dtype)
    values = value.astype(dtype).swapaxes(0, 1)
    values = values.reshape(len(values), len(weights.T), -1)
    out = np.einsum("qm,omc->oqc", weights, values)
    return out.reshape(-1, *query.shape[:2], value.shape[-1])


def _hidden_counts(args):
    (query, key, value), (copies,) = args
    key, value = key.copy(), value.copy()
    key[copies == 0], value[copies == 0] = query, 1e6
    return (query, key, value), (copies,)


def _values_ordered(args, order):
    (query, key, value), rest = args
    return (query, key, value[:, order]), rest


# Candidates


def fine(ratio=2, k=5, objects=3, cells=(3, 4), dims=(6, 7), seed=0) -> Args:
    """Fine grids; candidates and which of them are usable: not all."""
    rng = np.random.default_rng(seed)
    grid = ratio * cells[0], ratio * cells[1]
    query = _normal(rng, *grid, dims[0])
    key = _normal(rng, 2, objects, *grid, dims[0])
    value = _normal(rng, 2, objects, *grid, dims[1])
    chance = rng.random((objects, *cells, 2 * np.prod(cells)))
    index = np.argsort(chance, -1)[..., :k].astype(np.int32)
    usable = rng.random(index.shape) < 0.8
    usable[..., 0] = True
    return (query, key, value), (index, usable)


def _fine_read(query, key, value, index, usable, **options):
    return guided_read(query, key, value, Cells(index, usable), **options)


def fine_loops(query, key, value, index, usable, dtype=np.float64) -> np.ndarray:
    """One fine query of one object at a time."""
    objects, height, width, _ = index.shape
    ratio = len(query) // height
    out = np.zeros((objects, *query.shape[:2], value.shape[-1]), dtype)
    for o, row, column in np.ndindex(out.shape[:3]):
        at = o, row // ratio, column // ratio
        keys, values = [], []
        for m in index[at][usable[at]]:
            slot, cell = divmod(m, height * width)
            y, x = ratio * (cell // width), ratio * (cell % width)
            place = slot, o, slice(y, y + ratio), slice(x, x + ratio)
            keys.extend(key[place].reshape(-1, key.shape[-1]).astype(dtype))
            values.extend(value[place].reshape(-1, value.shape[-1]).astype(dtype))
        if keys:
            scores = np.array(keys) @ query[row, column].astype(dtype)
            scores /= np.sqrt(dtype(query.shape[-1]))
            weights = np.exp(scores - scores.max())
            out[o, row, column] = weights @ np.array(values) / weights.sum()
    return out


def _fine_ordered(args, order):
    (query, key, value), rest = args
    # Candidates in another order, too.
    rest = tuple(x[order, ..., ::-1] for x in rest)
    return (query, key[:, order], value[:, order]), rest


def _without_candidates(index, usable):
    return index, np.where(np.arange(3)[:, None, None, None] == 1, False, usable)


def _without_any_candidates(index, usable):
    return index, np.zeros_like(usable)


def _hidden_candidates(args):
    floats, (index, usable) = args
    return floats, (np.where(usable, index, 23 - index), usable)


def _more_candidates(args):
    (query, *memory), (index, usable) = args
    memory = [np.concatenate([x, np.ones_like(x)]) for x in memory]
    more = np.full_like(index[..., :2], 30)
    rest = (
        np.concatenate([index, more], -1),
        np.concatenate([usable, np.zeros_like(more, bool)], -1),
    )
    return (query, *memory), rest


def _many_candidates() -> Args:
    """In four parts of nine query cells, the last of which lacks one."""
    floats, (index, usable) = fine(4, 12, 2, (5, 7), (64, 64), seed=3)
    # Many repeat each other, and each adds its own gradient.
    index[0, :, :, :4] = 3
    usable[1, 2] = False
    return floats, (index, usable)


# Position maps


def places(objects=3, cells=(5, 7), channels=6, seed=0) -> Args:
    """Query, memory, and how much of each cell the mask covers."""
    rng = np.random.default_rng(seed)
    query = _normal(rng, *cells, channels)
    memory = _normal(rng, objects, *cells, channels)
    coverage = rng.random((objects, *cells)).astype(np.float32)
    coverage[0, 0] = 0
    return (query, memory, coverage), ()


def responses(query, memory, coverage, scaled=True, dtype=np.float64) -> np.ndarray:
    """One memory cell of one object at a time: `[O, q, m]`."""
    channels = query.shape[-1]
    query = query.reshape(-1, channels).astype(dtype)
    memory = memory.reshape(len(memory), -1, channels).astype(dtype)
    coverage = coverage.reshape(len(memory), -1).astype(dtype)
    found = np.zeros((len(memory), len(query), memory.shape[1]), dtype)
    for o, m in np.ndindex(memory.shape[:2]):
        scores = query @ memory[o, m]
        if scaled:
            scores /= np.sqrt(dtype(channels))
        weights = np.exp(scores - scores.max())
        share = np.exp(coverage[o, m]) / np.exp(dtype(1))
        found[o, :, m] = weights / weights.sum() * share
    return found


def _mean_responses(query, memory, coverage, k=8, scaled=True, dtype=np.float64):
    """The mean of the strongest of them, one query cell after the other."""
    found = responses(query, memory, coverage, scaled, dtype)
    out = np.zeros(found.shape[:2], dtype)
    for o, q in np.ndindex(out.shape):
        out[o, q] = np.sort(found[o, q])[::-1][:k].mean(dtype=dtype)
    return out.reshape(coverage.shape)


def _places_ordered(args, order):
    (query, *memory), rest = args
    return (query, *(x[order] for x in memory)), rest


_ALL_OR_BEST = ({"top_k": None}, {"top_k": 3})

READS: Mapping[str, Read] = {
    "space_time": Read(
        space_time_read,
        bank,
        attention,
        (*_ALL_OR_BEST, *({"top_k": k} for k in (1, 7, 1000))),
        lambda: bank(seed=309),
        _banks_ordered,
        (_without_one, _without_all),
        _hidden_slots,
        _more_slots,
        bank,
        lambda: bank(8, 2, (8, 8), (4, 4)),
        8 * 2 * 64 * 64,
    ),
    "l2": Read(
        l2_read,
        counted,
        _counted_loops,
        (*_ALL_OR_BEST, *({"top_k": k} for k in (1, 2, 7, 1000))),
        lambda: counted(seed=473),
        _values_ordered,
        (lambda copies: (0 * copies,),),
        _hidden_counts,
        _more_slots,
        counted,
        lambda: counted(8, 2, (8, 8), (4, 4)),
        8 * 64 * 64,
    ),
    "kernel_guided": Read(
        _kernel_read,
        guided_bank,
        _kernel_loops,
        ({},),
        guided_bank,
        _banks_ordered,
        (_without_one, _without_all),
        _hidden_slots,
        _more_slots,
        guided_bank,
        lambda: guided_bank(8, 2, (8, 8), (4, 4)),
        8 * 2 * 64 * 64,
    ),
    "object": Read(
        object_read,
        object_bank,
        _object_loops,
        ({},),
        object_bank,
        _object_bank_ordered,
        (_without_one, _without_all),
        _hidden_slots,
        _more_slots,
        object_bank,
        lambda: object_bank(8, 2, (8, 8), (4, 4)),
        8 * 2 * 64 * 64,
    ),
    "guided": Read(
        _fine_read,
        fine,
        fine_loops,
        ({},),
        fine,
        _fine_ordered,
        (_without_candidates, _without_any_candidates),
        _hidden_candidates,
        _more_candidates,
        *(_many_candidates, _many_candidates),
        2 * 35 * 12 * 16 * 64,
    ),
    "position_map": Read(
        position_map,
        places,
        _mean_responses,
        ({"k": 2}, {}, {"scaled": False}, {"k": 1}, {"k": 1000}),
        lambda: places(1, (1, 7), 3, seed=2949),
        _places_ordered,
        *((), None, None),
        places,
        lambda: places(3, (10, 14), 4),
        3 * 140 * 140,
    ),
}
