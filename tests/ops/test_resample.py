"""Bilinear resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops.resample import block_mean, resize, upsample


def _loops(x, factor):
    """Bilinear with half-pixel centres and repeated borders, pixel by pixel."""
    height, width, channels = x.shape
    out = np.zeros((factor * height, factor * width, channels))
    for row, column in np.ndindex(out.shape[:2]):
        y, x0 = (row + 0.5) / factor - 0.5, (column + 0.5) / factor - 0.5
        top, left = int(np.floor(y)), int(np.floor(x0))
        for i, j in np.ndindex(2, 2):
            weight = abs(1 - i - (y - top)) * abs(1 - j - (x0 - left))
            source = np.clip(top + i, 0, height - 1), np.clip(left + j, 0, width - 1)
            out[row, column] += weight * x[source]
    return out


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_upsampling_equals_loops_over_pixels(size, factor):
    x = _random(*size, 2)
    # The weights are exact in float32; only sums of four numbers near 1 are rounded.
    np.testing.assert_allclose(
        upsample(jnp.asarray(x), factor), _loops(x, factor), atol=5e-7
    )


@pytest.mark.parametrize("factor", [2, 4, 6])
def test_upsampling_equals_jax_image_resize(factor):
    x = jnp.asarray(_random(2, 3, 5, 4, 2))
    shape = (2, 3, 5 * factor, 4 * factor, 2)
    expected = jax.image.resize(x, shape, "bilinear", precision="highest")
    np.testing.assert_allclose(upsample(x, factor), expected, atol=2e-6)


def test_corners_are_not_aligned():
    x = jnp.array([0.0, 1.0]).reshape(1, 2, 1)
    np.testing.assert_array_equal(upsample(x, 2)[0, :, 0], [0, 0.25, 0.75, 1])


def test_an_odd_factor_is_refused():
    with pytest.raises(ValueError, match="even factor, not 3"):
        upsample(jnp.zeros((2, 2, 1)), 3)


def test_upsampling_has_right_gradients_and_keeps_its_type():
    x = jnp.asarray(_random(3, 2, 1))
    enlarge = jax.jit(lambda x: upsample(x, 4))
    check_grads(enlarge, (x,), 1, atol=1e-4, rtol=1e-4, eps=1e-2)
    assert upsample(x.astype(jnp.bfloat16), 2).dtype == jnp.bfloat16


def test_jit_and_vmap_and_a_loop_agree():
    x = jnp.asarray(_random(3, 4, 5, 2))
    loop = np.stack([upsample(image, 4) for image in x])
    np.testing.assert_allclose(
        jax.jit(upsample, static_argnums=1)(x, 4), loop, atol=5e-7
    )
    batched = jax.vmap(lambda image: upsample(image, 4))(x)
    np.testing.assert_allclose(batched, loop, atol=5e-7)


def test_resizing_to_the_same_size_changes_nothing():
    x = jnp.asarray(_random(3, 4, 2))
    assert resize(x, 3, 4) is x


def test_resizing_by_an_even_factor_is_upsampling():
    x = jnp.asarray(_random(2, 3, 4, 2))
    np.testing.assert_allclose(resize(x, 12, 16), upsample(x, 4), atol=2e-6)


def test_shrinking_takes_neighbours_without_antialiasing():
    x = jnp.arange(8.0).reshape(1, 8, 1)
    np.testing.assert_allclose(resize(x, 1, 2)[0, :, 0], [1.5, 5.5])


def _block_loops(x, size, dtype=np.float64):
    """The mean of one block after the other."""
    *batch, height, width = x.shape
    out = np.zeros((*batch, height // size, width // size), dtype)
    for row, column in np.ndindex(out.shape[-2:]):
        rows = slice(size * row, size * (row + 1))
        columns = slice(size * column, size * (column + 1))
        block = x[..., rows, columns].astype(dtype)
        out[..., row, column] = block.mean((-2, -1), dtype=dtype)
    return out


@pytest.mark.parametrize("size", [1, 3, 16])
def test_block_means_equal_loops_over_blocks(size):
    x = np.random.default_rng(0).random((2, 3 * size, 2 * size)).astype(np.float32)
    found = block_mean(jnp.asarray(x), size)
    assert found.dtype == jnp.float32
    # Up to 256 numbers below 1 are summed in float32, in blocks.
    np.testing.assert_allclose(found, _block_loops(x, size), atol=1e-6)
    np.testing.assert_array_equal(found[1], block_mean(jnp.asarray(x[1]), size))


def test_block_means_see_every_pixel_and_only_those_of_their_block():
    one_of_each = np.eye(48, dtype=np.float32).reshape(48, 6, 8)
    found = np.asarray(block_mean(jnp.asarray(one_of_each), 2))
    for pixel, (row, column) in enumerate(np.ndindex(6, 8)):
        expected = np.zeros((3, 4))
        expected[row // 2, column // 2] = 0.25
        np.testing.assert_array_equal(found[pixel], expected)


def test_block_means_of_half_precision_are_not_rounded():
    """In bfloat16 both this sum of 255.5 and its mean would be those of ones."""
    x = jnp.ones((32, 16), jnp.bfloat16).at[::16, 3].set(0.5)
    found = block_mean(x, 16)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.full((2, 1), 255.5 / 256))


def test_blocks_that_are_not_whole_are_refused():
    with pytest.raises(TypeError, match="reshape"):
        block_mean(jnp.zeros((5, 8)), 2)


def test_block_means_have_right_gradients_under_jit_and_vmap():
    x = jnp.asarray(_random(2, 4, 6))
    shrink = jax.jit(lambda x: block_mean(x, 2))
    check_grads(shrink, (x,), 1, atol=1e-4, rtol=1e-4, eps=1e-2)
    loop = np.stack([block_mean(image, 2) for image in x])
    np.testing.assert_allclose(shrink(x), loop, atol=1e-7)
    np.testing.assert_allclose(jax.vmap(shrink)(x), loop, atol=1e-7)
