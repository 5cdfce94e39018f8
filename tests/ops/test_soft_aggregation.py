"""Merging objects into one distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops.soft_aggregation import soft_aggregate


def _loops(probs):
    """Log-odds of background and objects in float64, pixel by pixel."""
    out = np.zeros((len(probs) + 1, *probs.shape[1:]))
    for row, column in np.ndindex(probs.shape[1:]):
        background = 1.0
        for p in probs[:, row, column]:
            background *= 1 - float(p)
        for channel, p in enumerate([background, *probs[:, row, column]]):
            p = min(max(float(p), 1e-7), 1 - 1e-7)
            out[channel, row, column] = np.log(p / (1 - p))
    return out


def _random(objects):
    rng = np.random.default_rng(objects)
    return rng.uniform(0.01, 0.99, (objects, 4, 5)).astype(np.float32)


def _everything(objects):
    return jnp.ones(objects, bool)


@pytest.mark.parametrize("objects", [1, 2, 5])
def test_log_odds_equal_loops_in_float64(objects):
    probs = _random(objects)
    logits = soft_aggregate(jnp.asarray(probs), _everything(objects))
    assert logits.dtype == jnp.float32
    # An error of 6e-8 in p is one of 6e-8 / (p (1 - p)) in its log-odds, p >= 0.01.
    np.testing.assert_allclose(logits, _loops(probs), atol=2e-5)


def test_a_single_object_is_sharpened():
    p = _random(1)
    logits = soft_aggregate(jnp.asarray(p), _everything(1))
    merged = jax.nn.softmax(logits, axis=0)
    np.testing.assert_allclose(merged[1], (p**2 / (p**2 + (1 - p) ** 2))[0], atol=1e-6)


def test_float32_extremes_are_those_of_the_released_program():
    probs = jnp.array([0.0, 1.0]).reshape(1, 1, 2)
    logits = soft_aggregate(probs, _everything(1))
    expected = np.array([[[15.942385, -16.118096]], [[-16.118096, 15.942385]]])
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_an_empty_slot_has_probability_zero_exactly():
    active = jnp.array([True, False, True])
    probs = jnp.full((3, 2, 2), 0.999).at[0].set(0)
    merged = jax.nn.softmax(soft_aggregate(probs, active), axis=0)
    assert not np.asarray(merged[2]).any()
    np.testing.assert_allclose(merged.sum(0), 1, rtol=1e-6)


def test_empty_slots_change_nothing_whatever_they_hold():
    probs = _random(2)
    plain = soft_aggregate(jnp.asarray(probs), _everything(2))
    with_more = np.concatenate([probs, np.ones((3, 4, 5), np.float32)])
    active = jnp.arange(5) < 2
    more = soft_aggregate(jnp.asarray(with_more), active)
    np.testing.assert_array_equal(more[:3], plain)
    merged, merged_more = jax.nn.softmax(plain, axis=0), jax.nn.softmax(more, axis=0)
    np.testing.assert_allclose(merged_more[:3], merged, atol=1e-7)


def test_the_order_of_objects_is_irrelevant():
    probs, order = _random(4), np.array([2, 0, 3, 1])
    plain = soft_aggregate(jnp.asarray(probs), _everything(4))
    moved = soft_aggregate(jnp.asarray(probs[order]), _everything(4))
    np.testing.assert_allclose(moved[0], plain[0], atol=2e-5)
    np.testing.assert_array_equal(moved[1:], plain[1:][order])


def test_gradients_are_right_and_finite_at_the_extremes():
    active = jnp.array([True, True, False])
    probs = jnp.asarray(_random(3).clip(0.2, 0.8))

    @jax.jit
    def merged(probs):
        return jax.nn.softmax(soft_aggregate(probs, active), axis=0)

    check_grads(merged, (probs,), 1, atol=2e-4, rtol=2e-4, eps=1e-3)
    extreme = np.zeros((3, 4, 5), np.float32)
    extreme[0, 0, 0] = 1
    gradient = jax.jit(jax.grad(lambda probs: merged(probs)[1].sum()))(extreme)
    assert np.isfinite(np.asarray(gradient)).all()


def test_jit_and_vmap_and_a_loop_agree():
    probs = jnp.stack([jnp.asarray(_random(3)), jnp.asarray(_random(3)[::-1])])
    active = jnp.array([[True, True, True], [True, False, True]])
    loop = np.stack([soft_aggregate(*args) for args in zip(probs, active, strict=True)])
    batched = jax.jit(jax.vmap(soft_aggregate))(probs, active)
    np.testing.assert_allclose(batched, loop, rtol=1e-5, atol=1e-5)
