"""Losses and overlap of a frame, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.losses import (
    PixelLosses,
    annealed_fraction,
    cross_entropy,
    hardest_loss,
    known_labels,
    mean_loss,
    soft_iou,
)
from vos_jax.ops.soft_aggregation import soft_aggregate
from vos_jax.types import IGNORE

# Differences of logarithms near 1 in float32, and sums of some 50 of them.
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.fixture(scope="module")
def frame():
    """Logits of two objects and a free slot, and labels with ignored pixels."""
    rng = np.random.default_rng(0)
    probs = rng.uniform(0.01, 0.99, (3, 6, 8)).astype(np.float32)
    logits = soft_aggregate(jnp.asarray(probs), jnp.array([True, True, False]))
    labels = rng.choice([0, 1, 2, IGNORE], (6, 8)).astype(np.uint8)
    return logits, labels


def pixel_losses(logits, labels):
    """Float64 cross entropy of every pixel that counts, in order."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(0)
    log_probs = shifted - np.log(np.exp(shifted).sum(0))
    return np.array([-log_probs[labels[i], i[0], i[1]] for i in counted(labels)])


def counted(labels):
    return [i for i in np.ndindex(labels.shape) if labels[i] != IGNORE]


def test_cross_entropy_is_minus_the_log_probability_of_the_label(frame):
    losses = cross_entropy(*frame)
    expected = pixel_losses(*frame)
    found = np.array([losses.value[i] for i in counted(frame[1])])
    np.testing.assert_allclose(found, expected, **CLOSE)
    np.testing.assert_allclose(mean_loss(losses), expected.mean(), **CLOSE)


def test_ignored_pixels_have_neither_loss_nor_gradient(frame):
    logits, labels = frame

    def mean(logits):
        return mean_loss(cross_entropy(logits, labels))

    gradient = jax.jit(jax.grad(mean))(logits)
    ignored = np.broadcast_to(labels == IGNORE, gradient.shape)
    assert (np.asarray(gradient)[ignored] == 0).all()
    assert (np.asarray(gradient)[:3][~ignored[:3]] != 0).all()
    changed = jnp.where(labels[None] == IGNORE, 7.0, logits)
    assert mean(changed) == mean(logits)


def test_a_free_slot_has_no_gradient(frame):
    logits, labels = frame
    gradient = jax.grad(lambda x: mean_loss(cross_entropy(x, labels)))(logits)
    assert (gradient[3] == 0).all()
    assert np.isfinite(gradient).all()


def test_a_frame_where_nothing_counts_has_the_loss_0(frame):
    logits, labels = frame[0], np.full((6, 8), IGNORE, np.uint8)
    for mean in (mean_loss, lambda losses: hardest_loss(losses, 0.5)):
        value, gradient = jax.value_and_grad(
            lambda x, mean=mean: mean(cross_entropy(x, labels))
        )(logits)
        assert value == 0
        assert (gradient == 0).all()


def test_labels_of_missing_objects_are_ignored():
    labels = jnp.array([[0, 1, 2, 3, 4, IGNORE]], jnp.uint8)
    found = known_labels(labels, jnp.array([True, False, True]))
    np.testing.assert_array_equal(found, [[0, 1, IGNORE, 3, IGNORE, IGNORE]])
    assert found.dtype == jnp.uint8
    clip = known_labels(labels[None], jnp.array([True, False, True]))
    np.testing.assert_array_equal(clip, found[None])


@pytest.mark.parametrize("fraction", [0.15, 0.5, 0.99])
def test_the_hardest_loss_is_the_mean_of_the_largest(frame, fraction):
    found = jax.jit(hardest_loss)(cross_entropy(*frame), fraction)
    ranked = np.sort(pixel_losses(*frame))[::-1]
    kept = ranked[: int(fraction * len(ranked))]
    np.testing.assert_allclose(found, kept.mean(), **CLOSE)


def test_all_of_the_pixels_are_the_plain_mean(frame):
    losses = cross_entropy(*frame)
    np.testing.assert_allclose(hardest_loss(losses, 1.0), mean_loss(losses), **CLOSE)


def test_a_tiny_fraction_is_the_hardest_pixel(frame):
    found = hardest_loss(cross_entropy(*frame), 1e-6)
    np.testing.assert_allclose(found, pixel_losses(*frame).max(), **CLOSE)


def test_only_the_hardest_pixels_have_a_gradient():
    values = jnp.array([[4.0, 1.0, 3.0, 2.0]])
    everywhere = jnp.ones((1, 4), bool)
    gradient = jax.grad(lambda x: hardest_loss(PixelLosses(x, everywhere), 0.5))(values)
    np.testing.assert_array_equal(gradient, [[0.5, 0, 0.5, 0]])


def test_pixels_that_tie_share_the_last_place():
    losses = PixelLosses(jnp.array([[4.0, 1.0, 1.0, 0.0]]), jnp.ones((1, 4), bool))

    def hardest(value):
        return hardest_loss(losses._replace(value=value), 0.5)

    assert hardest(losses.value) == 2.5
    np.testing.assert_array_equal(
        jax.grad(hardest)(losses.value), [[0.5, 0.25, 0.25, 0]]
    )


def test_the_fraction_falls_evenly_between_its_steps():
    found = [annealed_fraction(step, 20, 70, 0.15) for step in (0, 20, 45, 70, 999)]
    np.testing.assert_allclose(found, [1, 1, 0.575, 0.15, 0.15], rtol=1e-6)


@pytest.mark.parametrize("end", [10, 11])
def test_the_last_step_of_the_fall_has_the_final_fraction(end):
    found = [annealed_fraction(step, 10, end, 0.15) for step in (0, 9, end, end + 1)]
    np.testing.assert_allclose(found, [1, 1, 0.15, 0.15], rtol=1e-6)


def test_soft_iou_counts_objects_that_show():
    probs = np.zeros((4, 1, 4), np.float32)
    probs[1] = [[1, 0.5, 0.5, 1]]
    probs[3] = [[0, 0.5, 0, 0]]
    labels = jnp.array([[1, 1, 0, IGNORE]], jnp.uint8)
    found = soft_iou(jnp.asarray(probs), labels)
    # Of the first: 1.5 shared, 1.5 + 0.5 + 0.5 in the union.
    np.testing.assert_allclose(found.value, [0.6, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.counted, [True, False, False])


def test_soft_iou_of_hard_masks_is_the_usual_one():
    rng = np.random.default_rng(1)
    labels, found = rng.integers(0, 3, (2, 9, 7))
    probs = (found == np.arange(3)[:, None, None]).astype(np.float32)
    overlap = soft_iou(jnp.asarray(probs), jnp.asarray(labels))
    for number in (1, 2):
        shared = ((labels == number) & (found == number)).sum()
        union = ((labels == number) | (found == number)).sum()
        np.testing.assert_allclose(overlap.value[number - 1], shared / union, rtol=1e-6)
