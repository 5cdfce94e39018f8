"""Correspondences and moved patches against loops over cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops.patches import cosine_correspondence, move_patches, unit

_correspond = jax.jit(cosine_correspondence, static_argnums=2)
_move = jax.jit(move_patches, static_argnums=2)


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _correspondence(current, reference, alpha, dtype=np.float64):
    flat = [x.reshape(-1, x.shape[-1]).astype(dtype) for x in (current, reference)]
    here, there = (x / np.sqrt((x**2).sum(-1, keepdims=True)) for x in flat)
    out = np.zeros((len(here), len(there)), dtype)
    for i, cell in enumerate(here):
        scores = dtype(alpha) * np.array([cell @ other for other in there], dtype)
        weights = np.exp(scores - scores.max())
        out[i] = weights / weights.sum()
    return out


def _moved(feature, correspondence, k, dtype=np.float64):
    height, width, _ = feature.shape
    places = list(np.ndindex(height // k, width // k))
    patches = [
        feature[r * k : (r + 1) * k, c * k : (c + 1) * k].astype(dtype)
        for r, c in places
    ]
    out = np.zeros(feature.shape, dtype)
    for (r, c), weights in zip(places, correspondence, strict=True):
        for weight, patch in zip(weights, patches, strict=True):
            out[r * k : (r + 1) * k, c * k : (c + 1) * k] += dtype(weight) * patch
    return out


@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_correspondences_are_softmaxes_of_cosines(alpha):
    maps = _normal(2, 3, 5), _normal(2, 3, 5, seed=1)
    found = _correspond(*maps, alpha)
    exact, rounded = (
        _correspondence(*maps, alpha, x) for x in (np.float64, np.float32)
    )
    noise = np.abs(rounded - exact).max()
    np.testing.assert_allclose(found, exact, rtol=0, atol=8 * noise)
    np.testing.assert_allclose(np.asarray(found).sum(1), 1, atol=1e-6)
    plain = cosine_correspondence(*map(jnp.asarray, maps), alpha)
    np.testing.assert_allclose(plain, found, atol=8 * noise)


def test_the_length_of_vectors_does_not_count():
    maps = _normal(2, 3, 5), _normal(2, 3, 5, seed=1)
    scaled = 7 * maps[0], maps[1] * np.float32([1, 2, 3]).reshape(1, 3, 1)
    np.testing.assert_allclose(_correspond(*scaled), _correspond(*maps), atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_patches_are_weighted_sums_of_all_patches(k):
    feature = _normal(2 * k, 3 * k, 2)
    weights = _correspondence(_normal(2, 3, 5), _normal(2, 3, 5, seed=1), 3)
    weights = weights.astype(np.float32)
    found = _move(feature, weights, k)
    exact, rounded = (_moved(feature, weights, k, x) for x in (np.float64, np.float32))
    noise = np.abs(rounded - exact).max()
    np.testing.assert_allclose(found, exact, rtol=0, atol=8 * max(noise, 6e-8))
    moved = move_patches(jnp.asarray(feature), jnp.asarray(weights), k)
    np.testing.assert_allclose(moved, found, atol=1e-6)


def test_content_goes_to_where_a_frame_shows_the_same():
    frame = _normal(4, 6, 8)
    shifted = np.roll(frame, (1, 2), axis=(0, 1))
    weights = _correspond(shifted, frame)
    fine = _normal(16, 24, 2)
    expected = np.roll(fine, (4, 8), axis=(0, 1))
    np.testing.assert_allclose(_move(fine, weights, 4), expected, atol=1e-4)


def test_nothing_moves_with_the_identity():
    feature = _normal(4, 6, 2)
    np.testing.assert_array_equal(
        _move(feature, np.eye(6, dtype=np.float32), 2), feature
    )


def test_gradients_agree_with_finite_differences():
    maps = _normal(2, 2, 3), _normal(2, 2, 3, seed=1), _normal(4, 4, 2, seed=2)

    @jax.jit
    def move(current, reference, feature):
        weights = cosine_correspondence(current, reference, 4.0)
        return move_patches(feature, weights, 2)

    check_grads(move, maps, 1, modes=["rev"], atol=2e-3, rtol=2e-3, eps=1e-2)


def test_a_vector_of_zeros_stays_one_and_has_a_finite_gradient():
    zeros = np.zeros((2, 3), np.float32)
    assert not np.asarray(unit(zeros)).any()
    gradient = jax.jit(jax.grad(lambda x: jnp.sin(unit(x)).sum()))(zeros)
    assert np.isfinite(gradient).all()


def test_bfloat16_stays_and_is_near_float32():
    feature, weights = _normal(4, 6, 2), _correspond(_normal(2, 3, 5), _normal(2, 3, 5))
    found = _move(jnp.asarray(feature, jnp.bfloat16), weights, 2)
    assert found.dtype == jnp.bfloat16
    plain = _move(feature, weights, 2)
    np.testing.assert_allclose(np.asarray(found, np.float32), plain, atol=2e-2)
