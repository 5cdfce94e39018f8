"""ROI align against a loop over reads, and where a bin's reads lie."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops.roi_align import roi_align, roi_align_levels

BOXES = np.array(
    [
        [8, 4, 40, 28],  # Inside.
        [-9, -6.5, 11, 30],  # Over two sides.
        [0, 0, 56, 36],  # The frame.
        [17.25, 9.5, 17.5, 10],  # Less than a cell.
        [41.3, 20.2, 90, 71.9],  # Over a corner.
        [80, 50, 99, 70],  # Outside.
        [-30, -40, 100, 90],
    ],
    np.float32,
)
STRIDE, SIZE = 4, 3

_pool = jax.jit(roi_align, static_argnames=("stride", "size"))


def _map(height=9, width=14, channels=2):
    rng = np.random.default_rng(0)
    return rng.normal(size=(height, width, channels)).astype(np.float32)


def _loops(feature, boxes, stride, size, dtype=np.float64):
    feature, boxes = feature.astype(dtype), boxes.astype(dtype)
    out = np.zeros((len(boxes), size, size, feature.shape[-1]), dtype)
    steps = (np.arange(2 * size, dtype=dtype) + dtype(0.5)) / dtype(2 * size)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        columns = x0 / stride - dtype(0.5) + steps * ((x1 - x0) / stride)
        rows = y0 / stride - dtype(0.5) + steps * ((y1 - y0) / stride)
        for r, c in np.ndindex(2 * size, 2 * size):
            out[n, r // 2, c // 2] += _read(feature, rows[r], columns[c]) / 4
    return out


def _read(feature, *place):
    """Bilinear, borders repeated; zeros more than a cell off the map."""
    sizes = feature.shape[:2]
    if any(x < -1 or x > n for x, n in zip(place, sizes, strict=True)):
        return np.zeros(feature.shape[-1], feature.dtype)
    y, x = (np.clip(x, 0, n - 1) for x, n in zip(place, sizes, strict=True))
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, sizes[0] - 1), min(x0 + 1, sizes[1] - 1)
    y, x = y - y0, x - x0
    above = (1 - x) * feature[y0, x0] + x * feature[y0, x1]
    below = (1 - x) * feature[y1, x0] + x * feature[y1, x1]
    return (1 - y) * above + y * below


@pytest.mark.parametrize("upright", [False, True])
def test_pooling_is_the_mean_of_bilinear_reads(upright):
    """Which axis goes first depends on the longer one."""
    feature, boxes = _map(), BOXES
    if upright:
        feature, boxes = feature.swapaxes(0, 1).copy(), boxes[:, [1, 0, 3, 2]]
    found = _pool(feature, boxes, STRIDE, SIZE)
    expected = _loops(feature, boxes, STRIDE, SIZE)
    noise = np.abs(_loops(feature, boxes, STRIDE, SIZE, np.float32) - expected).max()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * noise)
    assert not np.asarray(found[5]).any()
    plain = roi_align(jnp.asarray(feature), jnp.asarray(boxes), STRIDE, SIZE)
    np.testing.assert_allclose(plain, found, rtol=0, atol=8 * noise)


def test_a_bin_of_a_ramp_is_its_own_place_in_the_frame():
    """A cell's value is the pixel in its middle: there is no shift by half a cell."""
    rows, columns = np.indices((9, 14)) * STRIDE + STRIDE / 2
    ramp = np.stack([rows, columns], axis=-1).astype(np.float32)
    x0, y0, x1, y1 = box = np.array([7.3, 5.1, 43.9, 29.0], np.float32)
    found = _pool(ramp, box[None], STRIDE, SIZE)[0]
    middle = (np.arange(SIZE) + 0.5) / SIZE
    np.testing.assert_allclose(found[:, 0, 0], y0 + middle * (y1 - y0), atol=1e-4)
    np.testing.assert_allclose(found[0, :, 1], x0 + middle * (x1 - x0), atol=1e-4)


def test_a_box_that_moves_with_the_content_pools_the_same():
    box = np.array([[8.5, 4.25, 31, 20]], np.float32)
    moved = np.roll(_map(), (2, 3), axis=(0, 1))
    found = _pool(moved, box + np.float32([3, 2, 3, 2]) * STRIDE, STRIDE, SIZE)
    np.testing.assert_allclose(found, _pool(_map(), box, STRIDE, SIZE), atol=1e-5)


def test_the_order_of_boxes_is_that_of_the_results():
    order = np.arange(len(BOXES))[::-1].copy()
    found = _pool(_map(), BOXES[order], STRIDE, SIZE)
    plain = np.asarray(_pool(_map(), BOXES, STRIDE, SIZE))
    np.testing.assert_allclose(found, plain[order], atol=1e-6)


def test_levels_are_joined_in_the_order_given():
    levels = _map(), _map(5, 7, 3)
    join = jax.jit(roi_align_levels, static_argnums=(1, 3))
    found = join(levels, (4, 8), BOXES, SIZE)
    parts = [
        _pool(level, BOXES, stride, SIZE)
        for level, stride in zip(levels, (4, 8), strict=True)
    ]
    np.testing.assert_allclose(found, np.concatenate(parts, -1), atol=1e-6)


def test_gradients_reach_features_and_not_boxes():
    pool = jax.jit(partial(roi_align, stride=STRIDE, size=SIZE))
    check_grads(
        lambda feature: pool(feature, BOXES), (_map(),), 1, modes=["rev"], eps=1e-1
    )

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradients(feature, boxes):
        return jnp.sin(pool(feature, boxes)).sum()

    features, boxes = gradients(_map(), BOXES)
    assert np.asarray(features).any() and not np.asarray(boxes).any()


def test_bfloat16_stays_and_is_near_float32():
    found = _pool(jnp.asarray(_map(), jnp.bfloat16), BOXES, STRIDE, SIZE)
    assert found.dtype == jnp.bfloat16
    plain = _pool(_map(), BOXES, STRIDE, SIZE)
    # Features, weights and bands of size up to 3 to 8 bits.
    np.testing.assert_allclose(np.asarray(found, np.float32), plain, atol=3e-2)
