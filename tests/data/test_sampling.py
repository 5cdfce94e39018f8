"""Choices without pixels: which videos, windows and objects, from what seed."""

import subprocess
import sys

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
