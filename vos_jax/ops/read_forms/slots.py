"""The form for CPUs: one slot after the other, and only those that count.

Only `[hw, hw]` of the affinity is there at once, and the time follows what is filled
and not what is allocated. Rematerialised in the backward pass, which is bounded
likewise. Letters are those of `problem`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms.problem import (
    Best,
    Partial,
    Problem,
    Reading,
    divided,
    usage_of_best,
)
from vos_jax.ops.scores import LOWEST, Scores, scores_of, weights_of

_T = TypeVar("_T")


def read(
    problem: Problem, with_usage: bool, platform: Platform | None = None
) -> Reading:
    """The objects of one key after those of the other."""
    count = problem.keys.shape[1]
    find = _read_all if problem.rules.exactly is None else _read_best

    def of_key(own: tuple[Array, Array]) -> tuple[Array, Any]:
        return find(_OneKey(problem, *own), with_usage)

    value, usage = lax.map(of_key, (jnp.arange(count), problem.copies.T))
    if with_usage:
        usage = usage.reshape(count, -1, *problem.keys.shape[2:4]).swapaxes(0, 1)
    return Reading(value.reshape(-1, *value.shape[2:]), usage)


def softmax_parts(
    problem: Problem,
    threshold: Float[Array, "K q 1"] | None,
    platform: Platform | None = None,
) -> Partial:
    """What is to be divided: all cells that are not below a threshold, `[K, ...]`."""

    def of_key(own: tuple[Array, Array, Array | None]) -> Partial:
        which, copies, lowest = own
        return _seen(_OneKey(problem, which, copies), lowest)

    count = problem.keys.shape[1]
    return lax.map(of_key, (jnp.arange(count), problem.copies.T, threshold))


def best_cells(problem: Problem, count: int, platform: Platform | None = None) -> Best:
    """The `count` best cells of the slots that count, `[K, q, count]`."""

    def of_key(own: tuple[Array, Array]) -> Best:
        return _best_cells(_OneKey(problem, *own), count)

    keys = problem.keys.shape[1]
    return lax.map(of_key, (jnp.arange(keys), problem.copies.T))


def weighted_sum(
    problem: Problem,
    cells: Int[Array, "K q k"],
    weights: Float[Array, "K q k"],
    platform: Platform | None = None,
) -> Float[Array, "K G q Cv"]:
    """Of the values of some cells."""

    def of_key(own: tuple[Array, ...]) -> Array:
        which, copies, cells, weights = own
        return _gathered(_OneKey(problem, which, copies), cells, weights)

    keys = problem.keys.shape[1]
    return lax.map(of_key, (jnp.arange(keys), problem.copies.T, cells, weights))


class _OneKey(NamedTuple):
    """A read by one of the `K` keys that slots have."""

    problem: Problem
    which: Int[Array, ""]
    copies: Int[Array, " N"]

    @property
    def query(self) -> Float[Array, "q Ck"]:
        query = self.problem.query
        if query.shape[0] == 1:
            return query[0]
        return lax.dynamic_index_in_dim(query, self.which, keepdims=False)

    def scores(self, slot: Array) -> Scores:
        rules, key = self.problem.rules, _entry(self.problem.keys, slot, self.which)[0]
        products = rules.product("qc,mc->qm", self.query, key)
        bias = None if rules.bias is None else rules.bias(slot, self.which)
        return scores_of(rules.similarity, products, key, bias)

    def values(self, slot: Array) -> Float[Array, "G m Cv"]:
        return _entry(self.problem.values, slot, self.which, self.objects)

    @property
    def objects(self) -> int:
        """G."""
        return self.problem.values.shape[1] // self.problem.keys.shape[1]

    def over_filled(self, add: Callable[[_T, Array], _T], start: _T) -> _T:
        """Folds `add` over the slots that count."""

        @partial(jax.checkpoint, prevent_cse=False)
        def body(seen: _T, place: tuple[Array, Array]) -> tuple[_T, None]:
            copies, slot = place
            return lax.cond(copies > 0, add, lambda seen, _: seen, seen, slot), None

        return lax.scan(body, start, (self.copies, jnp.arange(self.copies.shape[0])))[0]


def _entry(
    bank: Float[Array, "N O h w C"], slot: Array, which: Array, count: int = 1
) -> Float[Array, "G m C"]:
    """Entries, taken inside the branch that needs them and held there.

    XLA's CPU backend would otherwise convert or copy the whole bank, filled or not,
    ahead of the loop. The same if the bank were reshaped before it is sliced.
    """
    sizes = (1, count, *bank.shape[2:])
    entry = lax.dynamic_slice(bank, (slot, which * count, 0, 0, 0), sizes)
    return lax.optimization_barrier(entry).reshape(count, -1, bank.shape[-1])


# All cells, or those that are not below the k-th best.


def _read_all(own: _OneKey, with_usage: bool) -> tuple[Array, Array | None]:
    threshold = _threshold(own)
    seen = _seen(own, threshold)
    value = divided(seen.total, seen.value)
    if not with_usage:
        return value, None

    def use(usage: Array, slot: Array) -> Array:
        scores = own.scores(slot).not_below(threshold)
        weights = weights_of(scores, seen.highest, threshold) / seen.total[:, None]
        return usage.at[slot].set(own.copies[slot] * weights.sum(0))

    cells = own.problem.cells
    return value, own.over_filled(use, jnp.zeros((own.copies.shape[0], cells)))


def _seen(own: _OneKey, threshold: Float[Array, "q 1"] | None) -> Partial:
    """The softmax over the slots that count, not yet divided."""
    problem, rules = own.problem, own.problem.rules
    queries, channels = problem.query.shape[1], problem.values.shape[-1]

    def add(seen: Partial, slot: Array) -> Partial:
        scores, values = own.scores(slot).not_below(threshold), own.values(slot)
        # The result does not depend on the maximum: it only keeps exp in range.
        highest = lax.stop_gradient(jnp.maximum(seen.highest, scores.max(-1)))
        weights = weights_of(scores, highest, threshold)
        fade = jnp.exp(seen.highest - highest)
        # As one product XLA's CPU backend takes twice as long.
        found = lax.map(
            partial(rules.product, "qm,mc->qc", weights.astype(values.dtype)), values
        )
        copies = own.copies[slot]
        return Partial(
            highest,
            seen.total * fade + copies * weights.sum(-1),
            seen.value * fade[None, :, None] + copies * found,
        )

    nothing = Partial(
        jnp.full((queries,), LOWEST),
        jnp.zeros((queries,)),
        jnp.zeros((own.objects, queries, channels)),
    )
    return own.over_filled(add, nothing)


def _threshold(own: _OneKey) -> Float[Array, "q 1"] | None:
    """The k-th best score of each query cell; the lowest number where there is none."""
    best = own.problem.best
    if best is None:
        return None

    def add(found: Array, slot: Array) -> Array:
        joined = jnp.concatenate([found, own.scores(slot).scores], -1)
        return lax.top_k(joined, best)[0]

    start = jnp.full((own.problem.query.shape[1], best), LOWEST)
    return own.over_filled(add, start)[:, -1:]


# Exactly k cells.


def _read_best(own: _OneKey, with_usage: bool) -> tuple[Array, Array | None]:
    problem, top_k = own.problem, own.problem.rules.exactly
    assert top_k is not None
    best = _best_cells(own, min(top_k, own.copies.shape[0] * problem.cells))
    weights = best.weights(top_k)
    usage = None
    if with_usage:
        all_cells = own.copies.shape[0] * problem.cells
        usage = usage_of_best(weights[None], best.cells[None], all_cells)[0]
    return _gathered(own, best.cells, weights), usage


def _best_cells(own: _OneKey, count: int) -> Best:
    """The `count` best cells of all slots that are filled."""
    cells = own.problem.cells

    def add(best: Best, slot: Array) -> Best:
        joined = jnp.concatenate([best.scores, own.scores(slot).scores], axis=-1)
        scores, at = lax.top_k(joined, count)
        old = jnp.minimum(at, count - 1)
        is_old = at < count

        def kept(of_old: Array, of_new: Array) -> Array:
            return jnp.where(is_old, jnp.take_along_axis(of_old, old, -1), of_new)

        return Best(
            scores,
            kept(best.cells, slot * cells + at - count),
            kept(best.copies, own.copies[slot]),
        )

    shape = (own.problem.query.shape[1], count)
    nothing = Best(
        jnp.full(shape, LOWEST),
        jnp.zeros(shape, int),
        jnp.zeros(shape, own.copies.dtype),
    )
    return own.over_filled(add, nothing)


def _gathered(
    own: _OneKey, cells: Int[Array, "q k"], weights: Float[Array, "q k"]
) -> Float[Array, "G q Cv"]:
    """Weighted sum of some cells' values, one cell of every query at a time."""
    values, objects = own.problem.values, own.objects
    _, _, height, width, channels = values.shape
    slot, cell = jnp.divmod(cells, height * width)
    row, column = jnp.divmod(cell, width)
    which = own.which * objects + jnp.arange(objects)[None]

    def add(total: Array, rank: tuple[Array, ...]) -> tuple[Array, None]:
        weight, *place = (x[:, None] for x in rank)
        slot, row, column = place
        found = values[slot, which, row, column].astype(jnp.float32)
        return total + weight[..., None] * found, None

    ranks = jax.tree.map(lambda x: x.T, (weights, slot, row, column))
    nothing = jnp.zeros((weights.shape[0], objects, channels))
    return lax.scan(add, nothing, ranks)[0].swapaxes(0, 1)
