"""The formula as written: one affinity of all cells, dense weights.

Letters are those of `problem`; `M` memory cells of all slots.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms.problem import (
    Best,
    Problem,
    Reading,
    biases,
    flat,
    softmax_of_copies,
)
from vos_jax.ops.scores import LOWEST, scores_of


def read(
    problem: Problem, with_usage: bool, platform: Platform | None = None
) -> Reading:
    """All slots of all objects at once."""
    query, _, _, copies, rules = problem
    keys, values = flat(problem.keys), flat(problem.values)
    slots, count, cells, _ = keys.shape
    one = len(query) == 1
    equation = "qc,nkmc->nkqm" if one else "kqc,nkmc->nkqm"
    scores = scores_of(
        rules.similarity,
        rules.product(equation, query[0] if one else query, keys),
        keys,
        biases(rules, jnp.arange(slots), count),
    ).scores
    scores = jnp.moveaxis(scores, 0, 2).reshape(count, -1, slots * cells)
    counts = jnp.repeat(copies.T, cells, axis=1)[:, None]
    scores = jnp.where(counts > 0, scores, LOWEST)
    counts = jnp.broadcast_to(counts, scores.shape)
    weights = _weights(problem, scores, counts)
    grouped = values.reshape(slots, count, -1, *values.shape[2:])
    each = weights.reshape(*weights.shape[:2], slots, cells).astype(values.dtype)
    value = rules.product("kqnm,nkgmc->kgqc", each, grouped)
    usage = None
    if with_usage:
        usage = weights.sum(1).reshape(count, slots, *problem.keys.shape[2:4])
        usage = usage.swapaxes(0, 1)
    return Reading(value.reshape(-1, *value.shape[2:]), usage)


def _weights(
    problem: Problem, scores: Float[Array, "K q M"], counts: Int[Array, "K q M"]
) -> Float[Array, "K q M"]:
    top_k = problem.rules.exactly
    if top_k is not None:
        best = Best(*lax.top_k(scores, min(top_k, scores.shape[-1])), counts)
        best = best._replace(copies=jnp.take_along_axis(counts, best.cells, -1))

        def put(cells: Array, weights: Array) -> Array:
            return jnp.zeros(scores.shape[-1]).at[cells].set(weights)

        return jax.vmap(jax.vmap(put))(best.cells, best.weights(top_k))
    if problem.best is not None:
        threshold = lax.top_k(scores, problem.best)[0][..., -1:]
        counts = jnp.where(scores < threshold, 0, counts)
        scores = jnp.where(scores < threshold, LOWEST, scores)
    return softmax_of_copies(scores, counts)
