"""How parameters begin.

Linen asks for the shape of every parameter whenever a network is applied. Each of these
is traced once for a shape, where Linen's own would be traced again every time.
"""

from functools import lru_cache

import jax
from flax.linen import initializers
from flax.linen.initializers import Initializer


def once(initializer: Initializer) -> Initializer:
    """The same initializer, of `(key, shape, dtype)`, traced once for a shape."""
    traced: Initializer = jax.jit(initializer, static_argnums=(1, 2))
    return traced


he_normal = once(initializers.he_normal())
"""Normal, of variance 2 by the number of inputs."""

zeros = once(initializers.zeros)
"""All 0."""

ones = once(initializers.ones)
"""All 1."""


@lru_cache
def constant(value: float) -> Initializer:
    """All of one value."""
    return once(initializers.constant(value))
