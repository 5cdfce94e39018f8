"""The memory read of STCN and RDE-VOS: L2 similarity, the k best cells, all objects."""

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from vos_jax.ops import read_forms
from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.read_forms.problem import Problem, Rules
from vos_jax.ops.scores import product_of, scores_of


def l2_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"] | Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"] | Int[Array, "N O"],
    *,
    top_k: int | None = None,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
    mesh: Mesh | None = None,
) -> Float[Array, "O h w Cv"]:
    """Reads the values of all objects with one affinity.

    The similarity is the negative squared distance of the keys over sqrt(Ck), without
    the part that is the same for all memory cells: `(2 <m, q> - <m, m>) / sqrt(Ck)`
    (STCN, NeurIPS 2021; RDE-VOS, CVPR 2022, sec. 3.2, eq. 2). It is never expanded to
    differences of keys. What is read is the mean of the values by the softmax of the
    similarities (eq. 3).

    Args:
      query_key: One key per cell.
      memory_key: Slots in any order, shared by all objects; or of each object, where
        their memories differ, with an affinity for each.
      memory_value: Of each object.
      copies: How often each slot (of each object) counts, 0 for not at all. Two are
        what a slot that is in the memory twice gives, with half the work.
      top_k: Keep the k best cells of each query cell, counted with their copies, before
        the softmax: exactly k where that many are there, all of them otherwise. Of
        cells that tie the one in the lower slot, and there the earlier one, comes
        first; of the last one only as many copies count as still fit. None keeps all.
      implementation: `reference` holds the whole `[hw, N hw]` affinity. `slots` holds
        one slot of it, merges the best k from slot to slot and gathers their values;
        `blocks` finds the best k of as many slots as a budget of bytes allows. `auto`
        takes `slots` on CPUs and `blocks` elsewhere.
      platform: What the program is built for; None leaves it to the lowering.
      precision: Of the matrix products.
      mesh: Between whose devices the slots of keys and values are divided, see
        `vos_jax.ops.divided`; each reads its own, by `slots` or `blocks`. The same
        cells are chosen.

    Returns:
      float32 values; zeros if no slot counts.
    """
    rules = Rules("l2", top_k, "first", None, precision)
    problem = _problem(query_key, memory_key, memory_value, copies, rules)
    value = read_forms.read(problem, implementation, platform, mesh=mesh).value
    return value.reshape(-1, *query_key.shape[:2], memory_value.shape[-1])


def l2_usage(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"] | Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"] | Int[Array, "N O"],
    *,
    top_k: int | None = None,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
) -> tuple[Float[Array, "O h w Cv"], Float[Array, "N h w"] | Float[Array, "N O h w"]]:
    """`l2_read`, and how much each memory cell was used.

    As `vos_jax.ops.read.space_time_usage`; of each object where keys are.
    """
    rules = Rules("l2", top_k, "first", None, precision)
    problem = _problem(query_key, memory_key, memory_value, copies, rules)
    value, usage = read_forms.read(problem, implementation, platform, with_usage=True)
    assert usage is not None
    value = value.reshape(-1, *query_key.shape[:2], memory_value.shape[-1])
    return value, usage[:, 0] if memory_key.ndim == 4 else usage


def _problem(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N h w Ck"] | Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    copies: Int[Array, " N"] | Int[Array, "N O"],
    rules: Rules,
) -> Problem:
    query, copies = query_key.reshape(1, -1, query_key.shape[-1]), jnp.asarray(copies)
    if memory_key.ndim == 4:
        memory_key, copies = memory_key[:, None], copies[:, None]
    return Problem(query, memory_key, memory_value, copies, rules)


def l2_similarity(
    query_key: Float[Array, "q Ck"],
    memory_key: Float[Array, "M Ck"],
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "q M"]:
    """`(2 <m, q> - <m, m>) / sqrt(Ck)`: RDE-VOS eq. 2 up to a constant of q."""
    products = product_of(precision, "qc,mc->qm", query_key, memory_key)
    return scores_of("l2", products, memory_key).scores
