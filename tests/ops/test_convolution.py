"""3x3 convolutions of fewer products, of float32 and of shorter types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.convolution import conv, conv_few_products

SHAPE, CHANNELS = (2, 10, 7), (16, 24)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*SHAPE, CHANNELS[0]))
    return x, rng.standard_normal((3, 3, *CHANNELS)) / 12


def exact(x, kernel):
    """Float64 loops over the nine places of the kernel."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    _, height, width = SHAPE
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_few_products_are_the_convolution_to_the_rounding_of_the_type(arrays, dtype):
    x, kernel = (jnp.asarray(each, dtype) for each in arrays)
    found = jax.jit(conv_few_products)(x, kernel)
    assert found.dtype == x.dtype
    expected = exact(*(np.asarray(each, np.float64) for each in (x, kernel)))
    # One rounding of the result, and the sums of float32 before it.
    bound = max(float(jnp.finfo(dtype).eps) / 2, 2e-6) * np.abs(expected).max()
    assert np.abs(np.asarray(found, np.float64) - expected).max() <= bound


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_have_the_type_of_what_they_are_of(arrays, dtype):
    x, kernel = (jnp.asarray(each, dtype) for each in arrays)

    def total(form):
        return lambda *xs: (form(*xs).astype(jnp.float32) ** 2).sum()

    found, plain = (
        jax.jit(jax.grad(total(form), argnums=(0, 1)))(x, kernel)
        for form in (conv_few_products, conv)
    )
    for ours, theirs in zip(found, plain, strict=True):
        assert ours.dtype == dtype
        error = jnp.abs(ours.astype(jnp.float32) - theirs.astype(jnp.float32)).max()
        # Sums of both forms have other orders; threads change them from run to run.
        bound = max(4 * float(jnp.finfo(dtype).eps), 2e-6)
        assert error <= bound * jnp.abs(theirs).max()
