"""Generated videos: any times of a scene, and many scenes as a source."""

import pickle

import numpy as np
import pytest

from vos_jax.data.source import Video
from vos_jax.data.sources import GeneratedSource
from vos_jax.data.synthetic import generate_clip, generate_frames
from vos_jax.errors import InputError

SIZE = (32, 48)


def test_any_times_are_those_of_the_clip():
    clip = generate_clip(3, 6, SIZE, 2)
    some = generate_frames(3, [5, 0, 2, 2], SIZE, 2)
    np.testing.assert_array_equal(some.frames, clip.frames[[5, 0, 2, 2]])
    np.testing.assert_array_equal(some.labels, clip.labels[[5, 0, 2, 2]])


@pytest.mark.parametrize("times", [[], [3, -1]])
def test_times_that_give_no_frame_are_refused(times):
    with pytest.raises(InputError, match=r"times=\["):
        generate_frames(0, times, SIZE, 1)


def test_a_video_is_the_scene_of_its_seed():
    source = GeneratedSource(
        size=SIZE, objects=(2, 2), difficulty=(0.5, 0.5), count=9, seed=4
    )
    clip = generate_clip((4, 7), 5, SIZE, 2, 0.5)
    frames, labels = source.read(7, [4, 1])
    np.testing.assert_array_equal(frames, clip.frames[[4, 1]])
    np.testing.assert_array_equal(labels, clip.labels[[4, 1]])


def test_numbers_of_objects_take_turns_and_all_start_at_once():
    source = GeneratedSource(count=4, length=50, size=SIZE, objects=(1, 3))
    assert source.videos == (
        Video("000000", 50, {1: 0}),
        Video("000001", 50, {1: 0, 2: 0}),
        Video("000002", 50, {1: 0, 2: 0, 3: 0}),
        Video("000003", 50, {1: 0}),
    )
    for index, video in enumerate(source.videos):
        shown = np.unique(source.read(index, [0]).labels).tolist()
        assert shown == [0, *video.starts]


def test_difficulties_cover_their_range(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "vos_jax.data.sources.generated.generate_frames",
        lambda seed, times, size, objects, difficulty, theme: (
            drawn.append(difficulty) or generate_frames(seed, times, size, objects)
        ),
    )
    source = GeneratedSource(count=20, size=SIZE, difficulty=(0.5, 2.5))
    drawn.clear()
    for video in range(20):
        source.read(video, [0])
    counts, _ = np.histogram(drawn, bins=5, range=(0.5, 2.5))
    assert counts.sum() == 20
    assert counts.min() >= 3


def test_more_videos_leave_the_first_ones_as_they_are():
    few, many = (GeneratedSource(count=count, size=SIZE) for count in (3, 30))
    assert many.videos[:3] == few.videos
    np.testing.assert_array_equal(few.read(2, [9]).frames, many.read(2, [9]).frames)


def test_videos_are_of_the_theme_that_is_asked_for():
    source = GeneratedSource(count=2, size=SIZE, difficulty=(1, 1), theme="world")
    clip = generate_clip((0, 1), 2, SIZE, 2, theme="world")
    np.testing.assert_array_equal(source.read(1, [0, 1]).frames, clip.frames)


def test_a_source_survives_pickling():
    source = GeneratedSource(count=2, size=SIZE)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert copy.videos == source.videos


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ({"count": 0}, "count=0"),
        ({"length": 0}, "length=0"),
        ({"size": (16, 48)}, "size="),
        ({"objects": (3, 1)}, r"objects=\(3, 1\) is no range"),
        ({"objects": (0, 1)}, "objects=0"),
        ({"objects": (1, 99)}, "size="),
        ({"difficulty": (1.0, 0.5)}, r"difficulty=\(1.0, 0.5\) is no range"),
        ({"theme": "moon"}, "theme='moon'"),
        ({"difficulty": (1.0, 4.0)}, "difficulty=4.0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_an_option_out_of_its_range_is_named(option, found):
    with pytest.raises(InputError, match=found):
        GeneratedSource(**({"size": SIZE} | option))
