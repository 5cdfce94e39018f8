"""Recipes: which frames of a video are drawn, which settings are refused."""

from dataclasses import replace

import numpy as np
import pytest

from vos_jax.data.recipes import JumpRecipe, StaticRecipe, VideoRecipe
from vos_jax.data.source import Video
from vos_jax.errors import InputError


def rng(seed=0):
    return np.random.default_rng(seed)


# Times


def drawn_times(recipe, video, step=10**9, count=200):
    return np.array([recipe.times(video, step, rng(seed)) for seed in range(count)])


def test_an_image_is_the_same_frame_several_times():
    times = drawn_times(StaticRecipe(frames=4), Video("a", 1))
    assert times.shape == (200, 4)
    assert not times.any()


def test_images_are_drawn_from_videos_too_where_they_show_objects():
    times = drawn_times(StaticRecipe(), Video("a", 6, {1: 4, 2: 2}))
    assert (times == times[:, :1]).all()
    assert set(times[:, 0]) == {2, 3, 4, 5}


def test_the_skip_grows_evenly_from_first_to_last():
    recipe = VideoRecipe(max_skip=25, skip_steps=2600)
    skips = [recipe.skip_at(step) for step in range(3000)]
    assert skips[:100] == [0] * 100
    assert skips[100] == 1
    assert skips[2499:2501] == [24, 25]
    assert set(skips[2500:]) == {25}
    assert sorted(skips) == skips


def test_the_published_skip_is_there_from_the_beginning_if_asked():
    assert VideoRecipe(skip_steps=0).skip_at(0) == 25
    assert VideoRecipe(first_skip=5, max_skip=9).skip_at(0) == 5


def test_frames_keep_their_order_and_leave_out_no_more_than_the_skip():
    recipe = VideoRecipe(max_skip=3, skip_steps=0)
    gaps = np.diff(drawn_times(recipe, Video("a", 90)))
    assert set(gaps.ravel()) == {1, 2, 3, 4}
    assert (np.ptp(gaps, axis=1) > 0).any()


def test_no_skip_means_consecutive_frames():
    recipe = VideoRecipe(skip_steps=100)
    assert (np.diff(drawn_times(recipe, Video("a", 90), step=0)) == 1).all()


def test_the_skip_counts_video_frames_where_labels_are_sparse():
    recipe, video = VideoRecipe(skip_steps=0), Video("a", 90, stride=5)
    # The widest gap leaves out 29 frames of the video, as in published code.
    assert set(np.diff(drawn_times(recipe, video)).ravel()) == set(range(1, 7))


def test_gaps_of_a_clip_may_be_equal():
    gaps = np.diff(
        drawn_times(VideoRecipe(even=True, frames=4, skip_steps=0), Video("a", 90))
    )
    assert np.ptp(gaps, axis=1).max() == 0
    assert len(set(gaps[:, 0])) > 5


def test_frames_may_be_shuffled():
    times = drawn_times(VideoRecipe(shuffle=True), Video("a", 5))
    assert {tuple(np.argsort(each)) for each in times} == {
        *((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    }


@pytest.mark.parametrize("length", [3, 4, 8, 27])
@pytest.mark.parametrize("even", [False, True])
def test_short_videos_limit_the_skip_and_all_of_them_is_used(length, even):
    times = drawn_times(VideoRecipe(skip_steps=0, even=even), Video("a", length), 1000)
    assert times.min() == 0
    assert times.max() == length - 1
    assert (np.diff(times) > 0).all()


LIMITLESS = VideoRecipe(max_skip=None)


def test_without_a_limit_in_time_all_sets_of_frames_are_equally_likely():
    times = drawn_times(LIMITLESS, Video("a", 7, {1: 2}), count=2000)
    assert (np.diff(times) > 0).all()
    sets, counts = np.unique(times, axis=0, return_counts=True)
    assert len(sets) == 10
    assert set(times.ravel()) == {2, 3, 4, 5, 6}
    # Five standard deviations of 200 out of 2000.
    assert np.abs(counts - 200).max() < 67


def test_frames_without_a_limit_in_time_may_be_in_any_order():
    recipe = replace(LIMITLESS, shuffle=True)
    times = drawn_times(recipe, Video("a", 5), count=1800)
    orders, counts = np.unique(times, axis=0, return_counts=True)
    assert len(orders) == 5 * 4 * 3
    assert np.abs(counts - 30).max() < 28


def test_without_a_limit_in_time_nothing_else_says_how_far_frames_are_apart():
    video = Video("a", 40, stride=5)
    other = replace(LIMITLESS, first_skip=9, skip_steps=7, labelled_skip=True)
    times = drawn_times(LIMITLESS, video, step=0)
    np.testing.assert_array_equal(drawn_times(other, video, step=3), times)
    assert np.ptp(times, axis=1).max() > 30


def test_as_many_frames_as_a_clip_has_are_enough_without_a_limit_in_time():
    assert drawn_times(LIMITLESS, Video("a", 3)).tolist() == [[0, 1, 2]] * 200
    assert not LIMITLESS.accepts(Video("a", 2))


@pytest.mark.parametrize("stride", [1, 5])
def test_the_skip_may_count_labelled_frames_whatever_the_stride(stride):
    recipe = VideoRecipe(max_skip=4, skip_steps=0, even=True, labelled_skip=True)
    gaps = np.diff(drawn_times(recipe, Video("a", 90, stride=stride), count=1000))
    np.testing.assert_array_equal(gaps[:, 0], gaps[:, 1])
    found, counts = np.unique(gaps[:, 0], return_counts=True)
    assert found.tolist() == [1, 2, 3, 4, 5]
    # Five standard deviations of 200 out of 1000.
    assert np.abs(counts - 200).max() < 64


def test_a_skip_in_labelled_frames_grows_too():
    recipe = VideoRecipe(max_skip=9, first_skip=1, skip_steps=90, labelled_skip=True)
    video = Video("a", 90, stride=5)
    widest = [np.diff(drawn_times(recipe, video, step)).max() for step in (0, 45, 90)]
    assert widest == [2, 6, 10]


def test_clips_begin_where_the_first_object_does():
    times = drawn_times(VideoRecipe(skip_steps=0), Video("a", 20, {1: 12, 2: 9}))
    assert times.min() == 9
    assert times.max() == 19


def test_videos_that_are_too_short_are_not_accepted():
    recipe = VideoRecipe(frames=3)
    assert recipe.accepts(Video("a", 3))
    assert not recipe.accepts(Video("a", 2))
    assert not recipe.accepts(Video("a", 9, {1: 7}))
    assert StaticRecipe(frames=3).accepts(Video("a", 1))
    assert not StaticRecipe().accepts(Video("a", 0))


# Settings


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"frames": 1}, "frames=1"),
        ({"frames": 3.5}, "frames=3.5: a clip has at least 2; use a whole"),
        ({"size": (8, 64)}, r"size=\(8, 64\)"),
        ({"size": (384,)}, r"size=\(384,\): use a pair \(height, width\)"),
        ({"size": (384.0, 384)}, r"size=\(384.0, 384\): use a pair"),
        ({"size": "ab"}, "size='ab': use a pair"),
        ({"size": 384}, "size=384: use a pair"),
        ({"other_sizes": ((64, 64), (64, 8))}, r"other_sizes=\(64, 8\)"),
        ({"other_sizes": (384, 384)}, "other_sizes=384: use a pair"),
        ({"other_sizes": ((384,),)}, r"other_sizes=\(384,\): use a pair"),
        ({"other_sizes": ([64, 64],)}, r"other_sizes=\[64, 64\]: use a pair"),
        ({"other_sizes": 384}, "other_sizes=384: use a tuple of pairs"),
        ({"objects": 0}, "objects=0"),
        ({"objects": 255}, "objects=255"),
        ({"min_share": 1.0}, "min_share=1.0"),
        ({"flip": 1.5}, "flip=1.5"),
        ({"flip": "often"}, "flip='often'"),
        ({"cover": (1.0, 0.5)}, r"cover=\(1.0, 0.5\)"),
        ({"cover": (1.0,)}, r"cover=\(1.0,\): use two numbers"),
        ({"cover": (1.0, float("nan"))}, r"cover=\(1.0, nan\): use two numbers"),
        ({"max_skip": 2, "first_skip": 3}, "max_skip=2 and first_skip=3"),
        ({"first_skip": -1}, "first_skip=-1"),
        ({"skip_steps": -1}, "skip_steps=-1"),
        ({"max_skip": 2.5}, "max_skip=2.5: use a whole number"),
        ({"max_skip": None, "even": True}, "max_skip=None and even=True: frames"),
        ({"max_skip": None, "first_skip": -1}, "first_skip=-1"),
        ({"short_side": 8}, "short_side=8: use a whole number, 16 or more"),
        ({"short_side": 480.0}, "short_side=480.0: use a whole number"),
        (
            {"short_side": 480, "cover": (0.5, 1.0)},
            r"short_side=480 and cover=\(0.5, 1.0\): each says how large",
        ),
        ({"window": "all"}, "window='all': use 'target' or 'objects'"),
        ({"window": None}, "window=None: use 'target' or 'objects'"),
    ],
)
def test_a_setting_out_of_range_is_named(change, named):
    with pytest.raises(InputError, match=named) as error:
        VideoRecipe(**change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [StaticRecipe, VideoRecipe, JumpRecipe])
def test_a_cover_that_nobody_asked_for_gives_way_to_the_short_side(kind):
    assert kind(short_side=480).short_side == 480


def test_recipes_are_hashable_values():
    assert hash(StaticRecipe()) == hash(StaticRecipe())
    assert VideoRecipe() == VideoRecipe()
    assert VideoRecipe(frames=4) != VideoRecipe()


# Times as in published code


def test_jumps_change_with_the_step():
    recipe = JumpRecipe(jumps=((0, 5), (100, 10), (900, 5)))
    assert [recipe.jump_at(step) for step in (0, 99, 100, 899, 900)] == [
        5,
        5,
        10,
        10,
        5,
    ]


def test_frames_of_a_long_video_follow_by_the_jump_or_less():
    recipe = JumpRecipe(frames=5, jumps=((0, 4),), reverse=0)
    times = drawn_times(recipe, Video("a", 90))
    assert set(np.diff(times).ravel()) == {1, 2, 3, 4, 5}
    # Room for five jumps after the first frame.
    assert times[:, 0].min() >= 0
    assert 60 <= times[:, 0].max() <= 90 - 5 * 4


def test_a_clip_may_begin_near_the_end_where_room_for_one_jump_is_enough():
    recipe = JumpRecipe(jumps=((0, 4),), spacious=False, reverse=0)
    times = drawn_times(recipe, Video("a", 20), count=400)
    assert times[:, 0].max() == 20 - 4
    # The i-th frame is no later than n - J // i.
    assert times.max(0).tolist() == [16, 16, 18]


def test_a_clip_goes_back_in_time_as_often_as_asked():
    recipe = JumpRecipe(frames=5, jumps=((0, 4),))
    times = drawn_times(recipe, Video("a", 90), count=400)
    assert 0.4 < (times[:, 0] > times[:, -1]).mean() < 0.6
    times = drawn_times(replace(recipe, reverse=1), Video("a", 90))
    assert (np.diff(times) < 0).all()


def test_jumps_are_video_frames_where_only_some_have_labels():
    recipe = JumpRecipe(frames=5, jumps=((0, 14),), reverse=0)
    gaps = np.diff(drawn_times(recipe, Video("a", 90, stride=5)))
    assert set(gaps.ravel()) == {1, 2, 3}


@pytest.mark.parametrize("length", [3, 4, 7, 30])
@pytest.mark.parametrize("spacious", [False, True])
def test_frames_of_a_short_video_are_its_own(length, spacious):
    recipe = JumpRecipe(frames=5, spacious=spacious)
    times = drawn_times(recipe, Video("a", length + 2, {1: 2}))
    assert times.min() >= 2
    assert times.max() < length + 2


@pytest.mark.parametrize(
    "jumps", [(), ((1, 5),), ((0, 5), (0, 6)), ((0, 0),), (0, 5), ((0, 2.5),)]
)
def test_jumps_that_make_no_sense_are_refused(jumps):
    with pytest.raises(InputError, match="JumpRecipe jumps="):
        JumpRecipe(jumps=jumps)


def test_perturbation_is_a_range_of_overlaps():
    with pytest.raises(InputError, match="perturb="):
        JumpRecipe(perturb=(0.9, 1.1))
