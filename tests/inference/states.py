"""States compared, and frames, as several tests of this folder need them."""

import jax
import numpy as np

NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""


def assert_equal_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_close_trees(a, b, tolerance=NOISE):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def bank_of(state):
    return state.memory.bank


def noise(count):
    """Frames of 32x48, one at a time."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield rng.integers(0, 256, (32, 48, 3), np.uint8)
