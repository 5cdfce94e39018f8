"""Choices without pixels: which videos, windows and objects, from what seed."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from vos_jax.data import sampling
from vos_jax.data.recipes import VideoRecipe
from vos_jax.data.sampling import shuffled
from vos_jax.errors import InputError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_choices_need_no_tensorflow():
    code = (
        "import sys, vos_jax.data.sampling, vos_jax.data.pipeline; "
        "print({'tensorflow', 'jax'} & set(sys.modules))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.strip() == "set()"


# Seeds


def test_equal_places_draw_equal_numbers_and_others_differ():
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2**32 - 1, 0, 0)]
    drawn = [sampling.example_generator(*place).random(4).tolist() for place in places]
    again = [sampling.example_generator(*place).random(4).tolist() for place in places]
    assert drawn == again
    assert len({tuple(each) for each in drawn}) == len(places)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ((-1, 0, 0), "seed=-1"),
        ((2**32, 0, 0), "seed=4294967296"),
        ((0, -1, 0), "step=-1"),
        ((0, 0, -1), "index=-1"),
    ],
)
def test_a_place_out_of_range_is_named(place, named):
    with pytest.raises(InputError, match=named):
        sampling.example_generator(*place)


def test_every_epoch_has_every_video_once_in_another_order():
    epochs = [[shuffled(7, 10 * epoch + i, 10) for i in range(10)] for epoch in (0, 1)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != [shuffled(8, i, 10) for i in range(10)]
    assert epochs[0] == [shuffled(7, i, 10) for i in range(10)]


# Windows


def rectangle(top, left, bottom, right, label=1, size=(40, 60)):
    labels = np.zeros(size, np.uint8)
    labels[top:bottom, left:right] = label
    return labels


def drawn_windows(labels, window, count=200):
    return np.array(
        [sampling.draw_window(labels, 1, window, rng(seed)) for seed in range(count)]
    )


def test_a_window_lies_in_the_picture_and_holds_the_target():
    windows = drawn_windows(rectangle(10, 20, 18, 30)[None], (20, 24))
    assert set(windows[:, 0]) == set(range(6, 21))
    assert set(windows[:, 1]) == set(range(11))


def test_a_window_holds_all_objects_in_all_frames_if_they_fit():
    both = rectangle(0, 20, 8, 30) + rectangle(0, 34, 8, 40, label=2)
    later = rectangle(4, 16, 12, 26)
    windows = drawn_windows(np.stack([both, later]), (20, 30))
    assert set(windows[:, 0]) == set(range(10, 17))
    assert set(windows[:, 1]) == {0}


def test_a_window_follows_the_target_if_all_objects_do_not_fit():
    both = rectangle(0, 20, 8, 30) + rectangle(0, 50, 8, 60, label=2)
    later = rectangle(0, 16, 8, 26)
    windows = drawn_windows(np.stack([both, later]), (20, 24))
    assert set(windows[:, 0]) == set(range(6, 17))


def test_a_window_holds_the_first_place_of_a_target_that_moves_away():
    labels = np.stack([rectangle(0, 4, 8, 14), rectangle(0, 50, 8, 60)])
    windows = drawn_windows(labels, (20, 24))
    assert set(windows[:, 0]) == set(range(5))


def test_a_window_lies_within_a_target_that_is_larger():
    windows = drawn_windows(rectangle(5, 10, 35, 50)[None], (20, 24))
    assert set(windows[:, 0]) == set(range(10, 27))
    assert set(windows[:, 1]) == set(range(5, 16))


def test_a_window_beyond_the_picture_holds_all_of_it():
    windows = drawn_windows(rectangle(5, 10, 35, 50)[None], (50, 75))
    assert (windows <= 0).all()
    assert (windows >= (-15, -10)).all()
    assert (windows.min(axis=0) < (-12, -8)).all()


def test_a_window_of_no_whole_place_is_still_inside():
    windows = drawn_windows(rectangle(0, 0, 40, 60)[None], (39.5, 59.5))
    assert (windows >= 0).all()
    assert (windows <= 0.5).all()


def test_the_largest_window_has_the_shape_of_the_clip():
    assert sampling.largest_window((480, 854), (384, 384)) == (480, 480)
    assert sampling.largest_window((480, 854), (384, 640)) == (480, 800)
    assert sampling.largest_window((854, 480), (384, 640)) == (288, 480)


# Crops

AROUND = VideoRecipe(
    size=(24, 40), short_side=30, window="objects", min_share=0, objects=1
)


def drawn_crops(labels, recipe=AROUND, count=200, size=None):
    """The corners, and their one size."""
    crops = [
        sampling.draw_crop(labels, recipe, size or recipe.size, rng(seed))
        for seed in range(count)
    ]
    assert len({window for _, window in crops}) == 1
    return np.array([corner for corner, _ in crops]), crops[0][1]


def random_boxes(generator):
    """Two objects in three frames of 30 x 54, from small to nearly all of it."""
    labels = np.zeros((3, 30, 54), np.uint8)
    for frame in labels:
        for label in (1, 2):
            top, left = generator.integers(0, (29, 53))
            height, width = generator.integers(1, (26, 46))
            frame[top : top + height, left : left + width] = label
    labels[0, 29, 53] = 1
    return labels


def test_a_window_around_all_objects_holds_them_or_lies_within_them():
    kinds = set()
    for seed in range(150):
        labels = random_boxes(rng(seed))
        ids = sampling.object_ids(labels[0])
        seen = np.isin(labels, ids).any(axis=0)
        corners, window = drawn_crops(labels, count=4)
        assert window == (24, 40)
        assert (corners >= 0).all()
        assert (corners.max(axis=0) <= (14, 6)).all()
        assert (corners == corners.round()).all()
        for axis in (0, 1):
            box = np.flatnonzero(seen.any(axis=axis))[[0, -1]] + (0, 1)
            begins, side = corners[:, axis], window[1 - axis]
            larger = bool(box[1] - box[0] > side)
            outer, inner = (box, (begins, begins + side))[:: 1 if larger else -1]
            assert (outer[0] <= inner[0]).all()
            assert (inner[1] <= outer[1]).all()
            kinds.add((axis, larger))
    assert len(kinds) == 4


def test_a_window_around_all_objects_takes_every_place_there_is():
    labels = np.stack([rectangle(3, 12, 9, 20, size=(30, 54))] * 2)
    # One more that is in the first frame, and moves.
    labels[0, 8, 44] = 2
    labels[1, 20:25, 30:45] = 2
    corners, _ = drawn_crops(labels, count=400)
    assert set(corners[:, 0]) == set(range(5, 13))
    assert set(corners[:, 1]) == {1, 2, 3}


def test_a_window_lies_anywhere_within_objects_that_are_larger():
    labels = np.stack([rectangle(2, 3, 29, 50, size=(30, 54))] * 2)
    corners, _ = drawn_crops(labels, count=400)
    assert set(corners[:, 0]) == set(range(3, 11))
    assert set(corners[:, 1]) == set(range(2, 6))


def test_what_is_never_asked_for_does_not_move_the_window():
    labels = np.zeros((3, 30, 54), np.uint8)
    labels[:, 10:16, :8] = 1
    # In the first frame less than its share, in the first one not at all, void.
    labels[:, 29, 53] = 2
    labels[1:, 10:20, 44:] = 3
    labels[:, :, 50] = 255
    recipe = replace(AROUND, min_share=2 / (24 * 40))
    corners, _ = drawn_crops(labels, recipe)
    assert set(corners[:, 0]) == {0}
    assert drawn_crops(labels)[0][:, 0].max() == 14


def test_the_window_is_around_the_objects_that_show_in_every_frame():
    labels = np.zeros((3, 30, 54), np.uint8)
    labels[:, 10:16, :8] = 1
    labels[:2, 10:16, 46:] = 2
    recipe = replace(AROUND, visible_throughout=True)
    assert set(drawn_crops(labels, recipe)[0][:, 0]) == {0}
    assert set(drawn_crops(labels)[0][:, 0]) == set(range(15))
    labels[2] = 0
    assert sampling.draw_crop(labels, recipe, recipe.size, rng()) is None


def test_no_object_means_no_window():
    labels = np.zeros((3, 30, 54), np.uint8)
    labels[1:, 3:9] = 1
    labels[:, 20:] = 255
    for recipe in (AROUND, replace(AROUND, window="target")):
        assert sampling.draw_crop(labels, recipe, recipe.size, rng()) is None


@pytest.mark.parametrize(
    ("picture", "window"),
    [
        ((30, 54), (24, 40)),
        ((54, 30), (24, 40)),
        ((45, 80), (36, 60)),
        ((15, 27), (12, 20)),
    ],
)
@pytest.mark.parametrize("around", ["target", "objects"])
def test_a_short_side_says_how_large_the_window_is(picture, window, around):
    labels = rectangle(3, 3, 9, 9, size=picture)[None]
    recipe = replace(AROUND, window=around)
    corners, found = drawn_crops(labels, recipe)
    assert found == window
    # Where the window is wider than the picture it holds all of it.
    room = np.array(picture[::-1]) - window[::-1]
    assert (corners >= np.minimum(room, 0)).all()
    assert (corners <= np.maximum(room, 0)).all()


def test_a_short_side_goes_for_each_size_of_a_turn():
    labels = rectangle(3, 3, 9, 9, size=(60, 80))[None]
    assert drawn_crops(labels, size=(16, 20))[1] == (32, 40)


def test_a_cover_goes_with_a_window_around_all_objects():
    labels = rectangle(3, 3, 9, 9, size=(30, 54))[None]
    recipe = replace(AROUND, short_side=None, cover=(0.5, 0.5))
    corners, window = drawn_crops(labels, recipe)
    assert window == (15, 25)
    assert corners.min() >= 0
    assert corners.max() <= 3


# Objects


def test_background_and_ignored_pixels_are_no_objects():
    labels = np.array([[0, 0, 255, 255], [7, 7, 7, 254]], np.uint8)
    assert sampling.object_ids(labels).tolist() == [7, 254]
    assert sampling.object_ids(labels, 2).tolist() == [7]


def four_objects():
    """Ids 3, 5, 9 with 16 pixels, 200 with 3, in two frames; 5 leaves."""
    labels = np.zeros((2, 20, 20), np.uint8)
    for place, label in enumerate((3, 5, 9)):
        labels[:, 4 * place : 4 * place + 4, :4] = label
    labels[:, 18, :3] = 200
    labels[1][labels[1] == 5] = 0
    return labels


def test_objects_are_a_random_subset_of_those_large_enough():
    recipe = VideoRecipe(objects=2, min_share=16 / 400)
    drawn = {
        tuple(sampling.draw_objects(four_objects(), recipe, rng(i))) for i in range(50)
    }
    assert drawn == {(3, 5), (3, 9), (5, 9)}


def test_all_objects_are_taken_where_there_is_room():
    recipe = VideoRecipe(objects=9, min_share=0)
    ids = sampling.draw_objects(four_objects(), recipe, rng())
    assert ids.tolist() == [3, 5, 9, 200]


def test_objects_may_have_to_show_in_every_frame():
    recipe = VideoRecipe(objects=9, min_share=0, visible_throughout=True)
    ids = sampling.draw_objects(four_objects(), recipe, rng())
    assert ids.tolist() == [3, 9, 200]


def test_objects_are_renumbered_and_ignored_pixels_stay():
    labels = np.array([[0, 3, 9, 255, 200]], np.uint8)
    renumbered = sampling.renumber(labels, np.array([3, 200]))
    assert renumbered.dtype == np.uint8
    assert renumbered.tolist() == [[0, 1, 0, 255, 2]]
