"""Suppression of boxes against a greedy loop."""

import jax
import numpy as np
import pytest

from vos_jax.ops.nms import suppress

_suppress = jax.jit(suppress)


def _greedy(boxes, valid, iou):
    """Keeps what no kept box before covers."""
    keep = np.zeros(len(boxes), bool)
    for n, box in enumerate(boxes.astype(np.float64)):
        keep[n] = valid[n] and not any(
            _iou(box, boxes[m].astype(np.float64)) > iou for m in range(n) if keep[m]
        )
    return keep


def _iou(one, other):
    shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.maximum(shared, 0).prod()
    areas = [(box[2:] - box[:2]).prod() for box in (one, other)]
    return shared / (sum(areas) - shared)


def _boxes(count=30, seed=0):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 40, (count, 2))
    size = rng.integers(5, 40, (count, 2))
    return np.concatenate([start, start + size], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("iou", [0.0, 0.4, 1.0])
def test_kept_boxes_are_those_of_a_greedy_loop(seed, iou):
    boxes = _boxes(seed=seed)
    valid = np.random.default_rng(seed).random(30) < 0.8
    found = np.asarray(_suppress(boxes, valid, iou))
    np.testing.assert_array_equal(found, _greedy(boxes, valid, iou))
    np.testing.assert_array_equal(suppress(boxes, valid, iou), found)
    assert (found.sum() == valid.sum()) == (iou == 1)


def test_a_box_that_is_not_kept_suppresses_nothing():
    """The first covers the second, the second the third, the first not the third."""
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    found = _suppress(chain, np.ones(3, bool))
    np.testing.assert_array_equal(found, [True, False, True])
    found = _suppress(chain, np.array([False, True, True]))
    np.testing.assert_array_equal(found, [False, True, False])


def test_an_overlap_of_just_the_limit_is_kept():
    """4 of 10 columns: areas have no extra pixel."""
    boxes = np.array([[0, 0, 7, 5], [3, 0, 10, 5]], np.float32)
    assert _suppress(boxes, np.ones(2, bool), 0.4).all()
    assert not _suppress(boxes, np.ones(2, bool), 0.39).all()


def test_boxes_without_area_stay():
    boxes = np.array([[3, 3, 3, 3], [3, 3, 3, 3], [0, 0, 9, 9]], np.float32)
    assert _suppress(boxes, np.ones(3, bool)).all()
