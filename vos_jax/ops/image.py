"""Pixels as numbers."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)


def to_unit_range(image: Num[Array, "*b H W C"]) -> Float[Array, "*b H W C"]:
    """Makes uint8 values float32 in [0, 1]; passes floats on as float32.

    By table: XLA turns a division by 255 into a product with its rounded reciprocal,
    which changes the last bit of every other value against a true division.
    """
    if image.dtype == jnp.uint8:
        return jnp.asarray(_UNIT)[image]
    return image.astype(jnp.float32)
