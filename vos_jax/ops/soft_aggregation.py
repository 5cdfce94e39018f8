"""Merging the objects' separate probabilities into one distribution."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_EPSILON = 1e-7


def soft_aggregate(
    probs: Float[Array, "O H W"], active: Bool[Array, " O"]
) -> Float[Array, "O+1 H W"]:
    """Log-odds of background and objects; their softmax is the merged distribution.

        p_0 = prod_o (1 - p_o),   logit_o = log(p_o / (1 - p_o))

    Soft aggregation (Oh et al., CVPR 2018; STM, ICCV 2019, sec. 3.4, which leaves the
    formula to its supplement) as in the released STM program: every probability is
    clamped to [1e-7, 1 - 1e-7]. It sharpens a single object too. In float32 the upper
    clamp rounds to 1 - 2^-23, so logits lie in [-16.118, 15.942].

    Args:
      probs: Each object's probability against everything else, in [0, 1].
      active: False for empty object slots: they get the lowest finite logit, hence
        probability exactly 0, and do not touch the background.
    """
    mask, probs = active[:, None, None], probs.astype(jnp.float32)
    background = jnp.prod(jnp.where(mask, 1 - probs, 1), axis=0, keepdims=True)
    stacked = jnp.concatenate([background, probs])
    stacked = jnp.clip(stacked, _EPSILON, 1 - _EPSILON)
    logits = jnp.log(stacked) - jnp.log1p(-stacked)
    mask = jnp.concatenate([jnp.ones_like(mask[:1]), mask])
    return jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
