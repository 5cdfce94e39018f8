"""The region proposer: what it promises of every frame, and how good it is."""

import numpy as np
import pytest

from vos_jax.data.proposals.quality import best_iou
from vos_jax.data.proposals.regions import propose_regions
from vos_jax.data.synthetic import generate_clip

SIZE = (64, 96)


@pytest.fixture(scope="module")
def clip():
    return generate_clip((0, 1), 2, SIZE, 2, 0.3)


@pytest.fixture(scope="module")
def proposed(clip):
    return propose_regions(clip.frames[0])


def test_at_most_thirty_masks_come_best_first(proposed):
    masks, scores = proposed
    assert masks.dtype == bool and masks.shape == (len(scores), *SIZE)
    assert 5 < len(scores) <= 30 and scores.dtype == np.float32
    assert (np.diff(scores) <= 0).all() and (scores >= 0).all()
    shares = masks.mean(axis=(1, 2))
    assert (shares >= 0.004).all() and (shares <= 0.5).all()


def test_no_two_are_nearly_the_same(proposed):
    masks, _ = proposed
    for index, mask in enumerate(masks):
        assert best_iou(mask, masks[:index]) <= 0.8


def test_equal_frames_give_equal_bits_and_others_do_not(clip, proposed):
    again = propose_regions(clip.frames[0].copy())
    for one, other in zip(proposed, again, strict=True):
        np.testing.assert_array_equal(one, other)
    other = propose_regions(clip.frames[1])
    assert not np.array_equal(other[1], proposed[1])


def test_objects_on_plain_ground_are_found_whole_with_their_holes_filled():
    frame = np.full((*SIZE, 3), 60, np.uint8)
    rows, columns = np.mgrid[:64, :96]
    disc = (rows - 30) ** 2 + (columns - 28) ** 2 < 15**2
    box = (abs(rows - 36) < 10) & (abs(columns - 70) < 12)
    frame[disc], frame[box] = (200, 80, 40), (40, 90, 210)
    frame[(rows - 30) ** 2 + (columns - 28) ** 2 < 4**2] = 60
    masks, _ = propose_regions(frame)
    assert best_iou(disc, masks) > 0.85
    assert best_iou(box, masks) > 0.85


@pytest.mark.parametrize("size", [(32, 32), (33, 90)])
@pytest.mark.parametrize("value", [0, 128])
def test_a_frame_of_one_colour_has_no_object(size, value):
    masks, scores = propose_regions(np.full((*size, 3), value, np.uint8))
    assert masks.shape == (0, *size) and scores.shape == (0,)


def test_most_objects_of_generated_clips_are_among_them():
    best = []
    for seed in range(6):
        clip = generate_clip((9, seed), 1, (96, 128), 1, 0.3)
        masks, _ = propose_regions(clip.frames[0])
        best.append(best_iou(clip.labels[0] == 1, masks))
    # 0.75 is usual; one of six may well be missed.
    assert np.mean(best) > 0.6
