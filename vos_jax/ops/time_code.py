"""Sinusoidal codes of time."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_TEMPERATURE = 10000


def time_code(offset: Int[Array, "*b"], channels: int) -> Float[Array, "*b {channels}"]:
    """Code of a whole number of frames.

        code_2k = sin(n / 10000^(2k / channels)),   code_2k+1 = cos(the same)

    The positional encoding of the Transformer (Vaswani et al., NeurIPS 2017, sec. 3.5),
    which DMN-AOA (ICCV 2021, sec. 3.2) adds to an object's features, n being the
    frames since it was first seen.

    Args:
      offset: n.
      channels: An even number.

    Returns:
      float32. Angles are taken modulo a turn in integers, so that the code is as exact
      late in a video as it is early: within 1e-9 n of the formula, beside rounding.

    Raises:
      ValueError: The channels are no pairs.
    """
    if channels < 2 or channels % 2:
        raise ValueError(f"channels={channels}: use an even number")
    exponent = np.arange(0, channels, 2) / channels
    turns = _TEMPERATURE**-exponent / (2 * np.pi)
    # In steps of 2^-32 of a turn: products in 32 bits drop whole turns by themselves.
    steps = jnp.asarray(np.rint(turns * 2.0**32), jnp.uint32)
    place = jnp.asarray(offset).astype(jnp.uint32)[..., None]
    steps = place * steps.reshape(*[1] * (place.ndim - 1), -1)
    angle = steps.astype(jnp.int32).astype(jnp.float32) * np.float32(np.pi / 2.0**31)
    pairs = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return pairs.reshape(*place.shape[:-1], channels)
