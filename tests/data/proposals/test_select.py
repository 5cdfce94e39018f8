"""Which candidates become proposals, by what the rule says of each."""

import numpy as np
import pytest

from vos_jax.data.proposals.select import (
    COUNT,
    box_iou,
    fit_mask,
    no_proposals,
    select,
    tight_box,
)

SIZE = (40, 60)


def block(top, left, height, width, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_best_come_first_and_boxes_are_those_of_the_masks():
    masks = [block(0, 0, 5, 5), block(20, 30, 7, 9), block(9, 40, 4, 3)]
    found = select(masks, np.array([0.2, 0.9, 0.5]), SIZE)
    np.testing.assert_array_equal(found.valid, np.arange(COUNT) < 3)
    np.testing.assert_allclose(found.scores[:3], [0.9, 0.5, 0.2])
    np.testing.assert_array_equal(
        found.boxes[:3], [[30, 20, 39, 27], [40, 9, 43, 13], [0, 0, 5, 5]]
    )
    for place, index in enumerate((1, 2, 0)):
        np.testing.assert_array_equal(found.masks[place], masks[index])
    assert not found.masks[3:].any()
    for mine, none in zip(found, no_proposals(SIZE), strict=True):
        assert (mine.shape, mine.dtype) == (none.shape, none.dtype)


def test_of_equal_scores_the_first_of_the_file_comes_first():
    masks = [block(0, left, 4, 4) for left in (20, 0, 40)]
    found = select(masks, np.ones(3), SIZE)
    np.testing.assert_array_equal(found.boxes[:3, 0], [20, 0, 40])


def test_overlap_is_measured_without_a_pixel_more_a_side():
    # 10 x 10 and 10 x 10, shifted: 4 / 10 of both is 40 / 160.
    one = np.array([0.0, 0, 10, 10])
    np.testing.assert_allclose(box_iou(one, np.array([[6.0, 0, 16, 10]])), [40 / 160])
    assert box_iou(one, one[None])[0] == 1


@pytest.mark.parametrize(("shift", "kept"), [(4, 1), (5, 2)])
def test_suppression_begins_above_four_tenths(shift, kept):
    # Of 10 pixels, 6 in common: 60 / 140 is above 0.4; with 5 it is a third.
    masks = [block(0, 0, 10, 10), block(0, shift, 10, 10)]
    assert select(masks, np.array([1, 0.5]), SIZE).valid.sum() == kept


def test_what_is_suppressed_suppresses_nothing():
    masks = [block(0, left, 10, 10) for left in (0, 4, 8)]
    found = select(masks, np.array([3, 2, 1]), SIZE)
    np.testing.assert_array_equal(found.boxes[:2, 0], [0, 8])
    assert found.valid.sum() == 2


@pytest.mark.parametrize(("nms_first", "kept"), [(False, 1), (True, 2)])
def test_thirty_are_taken_before_suppression_unless_it_comes_first(nms_first, kept):
    same = [block(0, 0, 10, 10)] * COUNT
    masks = [*same, block(20, 20, 10, 10)]
    scores = np.linspace(1, 0, len(masks))
    assert select(masks, scores, SIZE, nms_first=nms_first).valid.sum() == kept


def test_empty_masks_take_no_place_among_the_thirty():
    masks = [np.zeros(SIZE, bool)] * 50 + [block(5, 5, 5, 5)]
    found = select(masks, np.linspace(1, 0, 51), SIZE)
    assert found.valid.sum() == 1
    np.testing.assert_array_equal(found.boxes[0], [5, 5, 10, 10])


def test_no_more_masks_are_decoded_than_are_needed():
    asked = []

    class Masks(list):
        def __getitem__(self, index):
            asked.append(int(index))
            return super().__getitem__(index)

    masks = Masks([block(0, 0, 10, 10)] * 100)
    select(masks, np.arange(100.0), SIZE)
    assert asked == list(range(99, 69, -1))


def test_another_size_takes_the_nearest_pixel():
    mask = np.random.default_rng(0).random((9, 12)) < 0.5
    small = fit_mask(mask, (3, 4))
    np.testing.assert_array_equal(small, mask[1::3, 1::3])
    np.testing.assert_array_equal(
        fit_mask(mask, (18, 24)), mask.repeat(2, 0).repeat(2, 1)
    )
    # A mask that falls between the samples is none.
    found = select([block(0, 0, 1, 1, (9, 12))], np.ones(1), (3, 4))
    assert not found.valid.any()


def test_an_empty_mask_has_no_box():
    assert tight_box(np.zeros((3, 3), bool)) is None
