"""The form for accelerators: blocks of slots, each slot a softmax of its own.

Every slot of every object is read, filled or not, and what does not count is left out
when the slots are put together: nothing waits for a condition, and the products are
large. As many slots are read at once as a budget of bytes allows for their scores, in a
loop of known length. Letters are those of `problem`; `n` slots of a block.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

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
    biases,
    divided,
    flat,
    usage_of_best,
)
from vos_jax.ops.read_forms.top_k import grouped_top_k
from vos_jax.ops.scores import LOWEST, Scores, scores_of, weights_of

BUDGET, TPU_BUDGET = 2**28, 2**26
"""Bytes of float32 scores that are there at once; on TPUs, whose fast memory is small.
"""


def read(
    problem: Problem,
    with_usage: bool,
    platform: Platform | None = None,
    *,
    budget: int | None = None,
) -> Reading:
    """All objects, a block of slots at a time.

    Args:
      problem: The read.
      with_usage: Also how much each memory cell was used.
      platform: What the program is built for, if that is known.
      budget: Bytes of scores that a block may have; None goes by the platform. At least
        one slot is read at once.
    """
    blocks = _Blocks(problem, _budget(platform) if budget is None else budget)
    find = _read_all if problem.rules.exactly is None else _read_best
    return find(blocks, with_usage)


def _budget(platform: Platform | None) -> int:
    return TPU_BUDGET if platform == "tpu" else BUDGET


def softmax_parts(
    problem: Problem,
    threshold: Float[Array, "K q 1"] | None,
    platform: Platform | None = None,
) -> Partial:
    """What is to be divided: all cells that are not below a threshold, `[K, ...]`."""
    return _seen(_Blocks(problem, _budget(platform)), threshold)


def best_cells(problem: Problem, count: int, platform: Platform | None = None) -> Best:
    """The `count` best cells of the slots that count, `[K, q, count]`."""
    return _best_cells(_Blocks(problem, _budget(platform)), count)


def weighted_sum(
    problem: Problem,
    cells: Int[Array, "K q k"],
    weights: Float[Array, "K q k"],
    platform: Platform | None = None,
) -> Float[Array, "K G q Cv"]:
    """Of the values of some cells."""
    return _weighted_sum(_Blocks(problem, _budget(platform)), cells, weights)


class _Block(NamedTuple):
    """Some slots.

    Attributes:
      slots: Their indices.
      keys: Of them.
      values: Of them.
      copies: How often they count here; 0 where an earlier block has them.
    """

    slots: Int[Array, " n"]
    keys: Float[Array, "n K m Ck"]
    values: Float[Array, "n K G m Cv"]
    copies: Int[Array, "n K"]


class _Blocks:
    """A problem in blocks of one size, the last of which begins earlier to be full."""

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem = problem
        self.keys, values = flat(problem.keys), flat(problem.values)
        slots, count, cells, _ = self.keys.shape
        self.values = values.reshape(slots, count, -1, cells, values.shape[-1])
        self.queries = problem.query.shape[1]
        at_once = max(budget // (4 * count * self.queries * cells), 1)
        self.count = -(-slots // at_once)
        self.size = -(-slots // self.count)

    def over(self, of_block: Callable[[_Block], Any]) -> Any:
        """What a function makes of each block, `[blocks, ...]`."""
        slots = self.keys.shape[0]
        copies = self.problem.copies
        if self.count == 1:
            whole = _Block(jnp.arange(slots), self.keys, self.values, copies)
            return jax.tree.map(lambda x: x[None], of_block(whole))

        @partial(jax.checkpoint, prevent_cse=False)
        def at(index: Int[Array, ""]) -> Any:
            first = jnp.minimum(index * self.size, slots - self.size)
            keys, values, own = (
                lax.dynamic_slice_in_dim(x, first, self.size)
                for x in (self.keys, self.values, copies)
            )
            each = first + jnp.arange(self.size)
            is_new = each >= index * self.size
            own = jnp.where(is_new[:, None], own, 0)
            return of_block(_Block(each, keys, values, own))

        return lax.map(at, jnp.arange(self.count))

    def scores(self, block: _Block) -> Scores:
        query, rules = self.problem.query, self.problem.rules
        if query.shape[0] == 1:
            products = rules.product("qc,nkmc->nkqm", query[0], block.keys)
        else:
            products = rules.product("kqc,nkmc->nkqm", query, block.keys)
        bias = biases(rules, block.slots, block.keys.shape[1])
        return scores_of(rules.similarity, products, block.keys, bias)


# All cells, or those that are not below the k-th best.


def _read_all(blocks: _Blocks, with_usage: bool) -> Reading:
    threshold = _threshold(blocks)
    seen = _seen(blocks, threshold)
    value = divided(seen.total, seen.value)
    value = value.reshape(-1, *value.shape[2:])
    if not with_usage:
        return Reading(value, None)

    def use(block: _Block) -> Float[Array, "n K m"]:
        counts = (block.copies > 0)[..., None, None]
        # A slot that does not count may have any scores.
        scores = _counted(blocks, block, threshold)
        scores = jnp.where(counts, scores, seen.highest[None, ..., None])
        weights = weights_of(scores, seen.highest[None], threshold)
        weights = jnp.where(counts, weights, 0)
        share = weights / jnp.where(seen.total > 0, seen.total, 1)[None, ..., None]
        return block.copies[..., None] * share.sum(-2)

    return Reading(value, _of_slots(blocks, blocks.over(use)))


def _seen(blocks: _Blocks, threshold: Float[Array, "K q 1"] | None) -> Partial:
    """The softmax over the slots that count, not yet divided."""
    rules = blocks.problem.rules

    def of_block(block: _Block) -> Partial:
        scores = _counted(blocks, block, threshold)
        # Of each slot: what one holds can not make another one's weights overflow.
        highest = lax.stop_gradient(scores.max(-1))
        weights = weights_of(scores, highest, threshold)
        found = rules.product(
            "nkqm,nkgmc->nkgqc", weights.astype(block.values.dtype), block.values
        )
        each = Partial(highest, weights.sum(-1), found)
        return _together(each, block.copies)

    return _together_again(blocks.over(of_block))


def _counted(
    blocks: _Blocks, block: _Block, threshold: Float[Array, "K q 1"] | None
) -> Float[Array, "n K q m"]:
    lowest = None if threshold is None else threshold[None]
    return blocks.scores(block).not_below(lowest)


def _together(each: Partial, copies: Int[Array, "n K"]) -> Partial:
    """The slots of a block as one, by their highest scores and how often they count."""
    counts = (copies > 0)[..., None]
    highest = jnp.where(counts, each.highest, LOWEST)
    top = highest.max(0)
    # Not what a slot that does not count holds, which may be anything.
    shares = jnp.where(counts, copies[..., None] * jnp.exp(highest - top[None]), 0)
    total = jnp.where(counts, each.total, 0) * shares
    value = jnp.where(counts[:, :, None, :, None], each.value, 0)
    value = value * shares[:, :, None, :, None]
    return Partial(top, total.sum(0), value.sum(0))


def _together_again(parts: Partial) -> Partial:
    """All blocks as one."""
    if parts.highest.shape[0] == 1:
        return Partial(*(x[0] for x in parts))
    top = parts.highest.max(0)
    shares = jnp.exp(parts.highest - top[None])
    total = (parts.total * shares).sum(0)
    value = (parts.value * shares[:, :, None, :, None]).sum(0)
    return Partial(top, total, value)


def _of_slots(blocks: _Blocks, found: Float[Array, "b n K m"]) -> Array:
    """What blocks found of their slots, `[N, K, h, w]`; where two did, their sum."""
    slots = blocks.keys.shape[0]
    size, shape = blocks.size, blocks.problem.keys.shape
    each = jnp.arange(size)[None]
    first = jnp.minimum(jnp.arange(blocks.count) * size, slots - size)
    out = jnp.zeros((slots, *found.shape[2:])).at[first[:, None] + each].add(found)
    return out.reshape(slots, shape[1], *shape[2:4])


def _threshold(blocks: _Blocks) -> Float[Array, "K q 1"] | None:
    """The k-th best score of each query cell; the lowest number where there is none."""
    best = blocks.problem.best
    if best is None:
        return None
    return lax.stop_gradient(_best_cells(blocks, best).scores[..., -1:])


# Exactly k cells.


def _read_best(blocks: _Blocks, with_usage: bool) -> Reading:
    problem, top_k = blocks.problem, blocks.problem.rules.exactly
    assert top_k is not None
    all_cells = problem.keys.shape[0] * problem.cells
    best = _best_cells(blocks, min(top_k, all_cells))
    weights = best.weights(top_k)
    value = _weighted_sum(blocks, best.cells, weights)
    usage = None
    if with_usage:
        usage = usage_of_best(weights, best.cells, all_cells)
        slots, keys, *grid = problem.keys.shape[:4]
        usage = usage.reshape(keys, slots, *grid).swapaxes(0, 1)
    return Reading(value.reshape(-1, *value.shape[2:]), usage)


def _weighted_sum(
    blocks: _Blocks, cells: Int[Array, "K q k"], weights: Float[Array, "K q k"]
) -> Float[Array, "K G q Cv"]:
    slot, cell = jnp.divmod(cells, blocks.problem.cells)
    keys, objects = blocks.values.shape[1:3]
    which = jnp.arange(keys)[:, None, None, None], jnp.arange(objects)[:, None, None]
    found = blocks.values[slot[:, None], *which, cell[:, None]]
    return (weights[:, None, ..., None] * found.astype(jnp.float32)).sum(-2)


def _best_cells(blocks: _Blocks, count: int) -> Best:
    """The `count` best cells of all slots that count: of each block, and of these."""
    cells, size = blocks.problem.cells, blocks.size

    def of_block(block: _Block) -> Best:
        counts = (block.copies > 0)[..., None, None]
        scores = jnp.where(counts, blocks.scores(block).scores, LOWEST)
        scores = jnp.moveaxis(scores, 0, 2)
        scores = scores.reshape(*scores.shape[:2], -1)
        found, at = grouped_top_k(scores, min(count, size * cells))
        copies = jax.vmap(jnp.take)(block.copies.T, at // cells)
        return Best(found, block.slots[0] * cells + at, copies)

    best: Best = blocks.over(of_block)
    if blocks.count == 1:
        return Best(*(x[0] for x in best))
    joined = [jnp.moveaxis(x, 0, 2) for x in best]
    scores, *rest = (x.reshape(*x.shape[:2], -1) for x in joined)
    found, at = lax.top_k(scores, count)
    return Best(found, *(jnp.take_along_axis(x, at, -1) for x in rest))
