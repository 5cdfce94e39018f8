"""Pixels as numbers."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

_HIGH = np.float32(0x8080 / 2**23)
_LOW = np.float32(1 / 255 - float(_HIGH))
"""1/255 as a number of 16 bits, whose products with pixels are exact, and the rest."""


def to_unit_range(image: Num[Array, "*b H W C"]) -> Float[Array, "*b H W C"]:
    """Makes uint8 values float32 in [0, 1]; passes floats on as float32.

    In two products, which together are a true division to the last bit: XLA turns a
    division by 255 into one product with its rounded reciprocal, which changes the last
    bit of every other value. A table of the 256 numbers takes TPUs 128 times the room.
    """
    if image.dtype == jnp.uint8:
        values = image.astype(jnp.float32)
        return values * _HIGH + values * _LOW
    return image.astype(jnp.float32)
