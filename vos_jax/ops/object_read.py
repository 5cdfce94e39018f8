"""The read of an object memory: every object asks its own entries, in its own frame."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.ops import read_forms
from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.read_forms.problem import Problem, Rules


def object_read(
    query_key: Float[Array, "O h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    readable: Bool[Array, "N O"],
    *,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory at every cell of its query.

        out_q = sum_m w_qm value_m,   w_qm = softmax_m(query_q . key_m / sqrt(Ck))

    DMN-AOA (ICCV 2021) sec. 3.2, eq. 1: the read of STM, for maps that are pooled in
    each object's box. Costs N O (hw)^2 (Ck + Cv) multiply-adds.

    Args:
      query_key: Of each object.
      memory_key: Slots in any order; the order changes rounding only.
      memory_value: Same layout.
      readable: Slots with weight. An object with none reads zeros.
      implementation: As of `vos_jax.ops.read.space_time_read`.
      platform: What the program is built for; None leaves it to the lowering.
      precision: Of the matrix products.

    Returns:
      float32 values; similarities and softmax are float32 whatever comes in.
    """
    objects, height, width, channels = query_key.shape
    query = query_key.reshape(objects, height * width, channels)
    copies = jnp.asarray(readable).astype(jnp.int32)
    rules = Rules("dot", precision=precision)
    problem = Problem(query, memory_key, memory_value, copies, rules)
    value = read_forms.read(problem, implementation, platform).value
    return value.reshape(objects, height, width, -1)
