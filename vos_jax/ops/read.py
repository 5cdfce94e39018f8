"""Memory reads: softmax attention from the query's cells to all memory cells."""

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from vos_jax.ops import read_forms
from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.read_forms.problem import Bias, Problem, Rules


def space_time_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    *,
    top_k: int | None = None,
    bias: Bias | None = None,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
    mesh: Mesh | None = None,
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory at every query cell: softmax over space and time.

        out_q = sum_m w_qm value_m,   w_qm = softmax_m(query_q . key_m / sqrt(Ck))

    STM (Oh et al., ICCV 2019) sec. 3.2, the sum of eq. 1 and the weights of eq. 2. The
    division by sqrt(Ck) is the released program's; the paper does not show it. Costs
    2 N O (hw)^2 (Ck + Cv) FLOP; with `slots` over those alone that are filled.

    Args:
      query_key: One key per cell, shared by all objects.
      memory_key: Slots in any order; the order changes rounding only.
      memory_value: Same layout.
      filled: Slots with weight. An object with none reads zeros.
      top_k: Keep only the k best memory cells of each query cell before the softmax.
        Cells that tie with the k-th are kept too.
      bias: Added to the scores before all else, a finite logarithm of further weights.
        With a mesh it is a `SlotBias`.
      implementation: `reference` holds the whole `[O, hw, N hw]` affinity; `slots` one
        filled slot of one object at a time; `blocks` as many slots, filled or not, as
        a budget of bytes allows. `auto` takes `slots` on CPUs and `blocks` elsewhere.
      platform: What the program is built for; None leaves it to the lowering.
      precision: Of the matrix products. "highest" is full float32 everywhere.
      mesh: Between whose devices the slots of keys and values are divided, see
        `vos_jax.ops.divided`; each reads its own, by `slots` or `blocks`.

    Returns:
      float32 values; similarities and softmax are float32 whatever comes in.
    """
    rules = Rules("dot", top_k, "all", bias, precision)
    problem = _problem(query_key, memory_key, memory_value, filled, rules)
    value = read_forms.read(problem, implementation, platform, mesh=mesh).value
    return value.reshape(-1, *query_key.shape[:2], memory_value.shape[-1])


def space_time_usage(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    *,
    top_k: int | None = None,
    bias: Bias | None = None,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
) -> tuple[Float[Array, "O h w Cv"], Float[Array, "N O h w"]]:
    """`space_time_read`, and how much each memory cell was used.

    The usage of a cell is the sum of the weights that all query cells gave it, which a
    memory that forgets or condenses goes by (XMem, Cheng & Schwing, ECCV 2022, sec.
    3.3). Over the cells of an object it adds up to the number of query cells.
    """
    rules = Rules("dot", top_k, "all", bias, precision)
    problem = _problem(query_key, memory_key, memory_value, filled, rules)
    value, usage = read_forms.read(problem, implementation, platform, with_usage=True)
    assert usage is not None
    return value.reshape(-1, *query_key.shape[:2], memory_value.shape[-1]), usage


def _problem(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    rules: Rules,
) -> Problem:
    query = query_key.reshape(1, -1, query_key.shape[-1])
    copies = jnp.asarray(filled).astype(jnp.int32)
    return Problem(query, memory_key, memory_value, copies, rules)
