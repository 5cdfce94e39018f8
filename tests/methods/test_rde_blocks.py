"""SAM against its formulas in float64, one step of it after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.randomized import randomized
from vos_jax.methods.rde.blocks import Aggregation, Enhancement, Extraction, FrameConv

CHANNELS = 8


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _conv(x, params, dilation=1):
    """A 3-D convolution that pads in space alone, tap by tap."""
    kernel = np.asarray(params["kernel"], np.float64)
    length, size = kernel.shape[:2]
    reach = size // 2 * dilation
    pads = [(0, 0), (0, 0), (reach, reach), (reach, reach), (0, 0)]
    padded = np.pad(np.asarray(x, np.float64), pads)
    times, height, width = x.shape[1] - length + 1, *x.shape[2:4]
    out = np.zeros((len(x), times, height, width, kernel.shape[-1]))
    for t, i, j in np.ndindex(kernel.shape[:3]):
        row, column = i * dilation, j * dilation
        part = padded[:, t : t + times, row : row + height, column : column + width]
        out += part @ kernel[t, i, j]
    return out + np.asarray(params.get("bias", 0), np.float64)


def _pooled(x):
    batch, times, height, width, channels = x.shape
    out = np.zeros((batch, times, height // 2, width // 2, channels))
    for i, j in np.ndindex(out.shape[2:4]):
        out[:, :, i, j] = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((2, 3))
    return out


def _extraction(x, params):
    """Every cell with every pooled cell, as the paper draws it."""
    theta = _conv(x, params["theta"])
    phi, g = (_pooled(_conv(x, params[name])) for name in ("phi", "g"))
    flat = [y.reshape(len(x), -1, y.shape[-1]) for y in (theta, phi, g)]
    related = np.einsum("bic,bjc->bij", *flat[:2]) / flat[1].shape[1]
    found = np.einsum("bij,bjc->bic", related, flat[2]).reshape(theta.shape)
    return x + _conv(found, params["out"])


def _enhancement(x, params):
    parts = [_conv(x, params["rate0"])]
    parts += [_conv(x, params[f"rate{rate}"], rate) for rate in (2, 4, 6)]
    joined = np.maximum(np.concatenate(parts, axis=-1), 0)
    return x + np.maximum(_conv(joined, params["merge"]), 0)


# Sides of both parities: the pooling drops an odd last row or column.
@pytest.mark.parametrize("size", [(5, 7), (4, 6), (3, 2)])
def test_extraction_relates_all_cells_of_both_frames(size):
    x = _random(2, 2, *size, CHANNELS)
    variables = randomized(Extraction(), x)
    out = Extraction().apply(variables, x)
    expected = _extraction(x, variables["params"])
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


def test_enhancement_sees_rings_of_cells():
    x = _random(1, 2, 9, 8, CHANNELS)
    variables = randomized(Enhancement(), x)
    out = Enhancement().apply(variables, x)
    expected = _enhancement(x, variables["params"])
    np.testing.assert_allclose(out, expected, atol=2e-5)
    moved = x.copy()
    moved[:, 1] += 1
    other = Enhancement().apply(variables, moved)
    np.testing.assert_array_equal(other[:, 0], out[:, 0])


def test_the_older_embedding_meets_the_first_tap():
    old, new = _random(2, 4, 5, CHANNELS), _random(2, 4, 5, CHANNELS, seed=1)
    variables = randomized(Aggregation(), old, new)
    params = variables["params"]
    x = np.stack([old, new], axis=1)
    x = _enhancement(_extraction(x, params["extract"]), params["enhance"])
    assert params["squeeze"]["kernel"].shape[:3] == (2, 3, 3)
    expected = _conv(x, params["squeeze"])[:, 0]
    out = jax.jit(Aggregation().apply)(variables, old, new)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    swapped = jax.jit(Aggregation().apply)(variables, new, old)
    assert np.abs(swapped - expected).max() > 0.1


def test_a_kernel_of_one_frame_keeps_all_frames():
    x = _random(2, 3, 4, 5, 3)
    module = FrameConv(6, kernel=3, dilation=2, use_bias=True)
    variables = randomized(module, x)
    out = module.apply(variables, x)
    np.testing.assert_allclose(out, _conv(x, variables["params"], 2), atol=1e-5)


def test_objects_do_not_see_each_other():
    old, new = _random(3, 4, 5, CHANNELS), _random(3, 4, 5, CHANNELS, seed=1)
    variables = randomized(Aggregation(), old, new)
    together = Aggregation().apply(variables, old, new)
    alone = [
        Aggregation().apply(variables, old[o : o + 1], new[o : o + 1])[0]
        for o in range(3)
    ]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-5)


def test_kernels_begin_with_a_third_of_the_variance_that_keeps_the_scale():
    x = jnp.zeros((1, 4, 4, 64))
    params = Aggregation().init(jax.random.key(0), x, x)["params"]
    kernel = params["enhance"]["merge"]["kernel"]
    fan_in = kernel[..., 0].size
    np.testing.assert_allclose(kernel.var() * fan_in, 1 / 3, rtol=0.02)
    assert np.abs(kernel).max() <= fan_in**-0.5 * (1 + 1e-6)
    assert params["extract"]["out"]["kernel"].any()


def test_every_parameter_matters():
    old, new = _random(1, 4, 5, CHANNELS), _random(1, 4, 5, CHANNELS, seed=1)
    variables = randomized(Aggregation(), old, new)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sin(Aggregation().apply({"params": params}, old, new)).sum()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path
