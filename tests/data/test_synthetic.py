"""Synthetic clips: pure functions of their arguments, with exact, visible masks."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from vos_jax.data.synthetic import generate_clip, iterate_clip
from vos_jax.errors import InputError

SIZE = (64, 80)
# Numerical warnings would be garbage in the picture.
pytestmark = pytest.mark.filterwarnings("error")


def test_equal_arguments_give_equal_bytes():
    first = generate_clip([3, 1], 4, SIZE, 3)
    second = generate_clip([3, 1], 4, SIZE, 3)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_another_process_draws_the_same_clip():
    code = (
        "import sys; from vos_jax.data.synthetic import generate_clip; "
        "clip = generate_clip(5, 3, (64, 80), 2); "
        "sys.stdout.buffer.write(clip.frames.tobytes() + clip.labels.tobytes())"
    )
    there = subprocess.check_output([sys.executable, "-c", code])
    here = generate_clip(5, 3, SIZE, 2)
    assert there == here.frames.tobytes() + here.labels.tobytes()


def test_frames_are_rgb_bytes_and_labels_are_object_numbers():
    clip = generate_clip(0, 3, SIZE, 4)
    assert clip.frames.shape == (3, *SIZE, 3)
    assert clip.labels.shape == (3, *SIZE)
    assert clip.frames.dtype == clip.labels.dtype == np.uint8
    assert clip.labels.max() <= 4


def test_streamed_frames_equal_stacked_ones():
    clip = generate_clip(7, 5, SIZE, 2)
    streamed = itertools.islice(iterate_clip(7, SIZE, 2), 5)
    for (frame, labels), whole in zip(streamed, zip(*clip, strict=True), strict=True):
        np.testing.assert_array_equal(frame, whole[0])
        np.testing.assert_array_equal(labels, whole[1])


def test_a_longer_clip_starts_with_the_shorter_one():
    short, long = generate_clip(7, 2, SIZE, 2), generate_clip(7, 9, SIZE, 2)
    np.testing.assert_array_equal(short.frames, long.frames[:2])
    np.testing.assert_array_equal(short.labels, long.labels[:2])


def test_a_stride_leaves_out_frames():
    whole, strided = (
        generate_clip(2, 7, SIZE, 2),
        generate_clip(2, 3, SIZE, 2, stride=3),
    )
    np.testing.assert_array_equal(strided.frames, whole.frames[::3])
    np.testing.assert_array_equal(strided.labels, whole.labels[::3])


@pytest.mark.parametrize("objects", [1, 2, 5, 10])
@pytest.mark.parametrize("difficulty", [0.0, 1.0, 3.0])
def test_every_object_shows_a_hundredth_of_the_first_frame(objects, difficulty):
    for seed in range(4):
        labels = generate_clip(seed, 1, SIZE, objects, difficulty).labels
        seen = np.bincount(labels.ravel(), minlength=objects + 1)
        assert len(seen) == objects + 1
        assert seen[1:].min() >= 0.01 * labels.size


def test_as_many_objects_as_a_byte_can_name_are_all_visible():
    labels = generate_clip(0, 1, (128, 128), 254).labels
    assert set(range(1, 255)) <= set(np.unique(labels).tolist())


def test_some_background_is_left():
    for seed in range(8):
        labels = generate_clip(seed, 1, SIZE, 5).labels
        assert np.count_nonzero(labels == 0) > 0.2 * labels.size


def test_objects_move_and_stay_mostly_in_sight():
    visible = []
    for seed in range(6):
        labels = generate_clip(seed, 5, SIZE, 2, stride=20).labels
        for label in (1, 2):
            first, later = labels[0] == label, labels[1:] == label
            union = np.count_nonzero(later | first, axis=(1, 2))
            overlap = np.count_nonzero(later & first, axis=(1, 2)) / union
            assert overlap.min() < 0.9
            visible += later.any(axis=(1, 2)).tolist()
    assert np.mean(visible) > 0.8


def test_motion_is_small_from_frame_to_frame():
    for seed in range(4):
        labels = generate_clip(seed, 10, SIZE, 1).labels > 0
        shared = np.count_nonzero(labels[1:] & labels[:-1], axis=(1, 2))
        assert np.all(shared > 0.5 * np.count_nonzero(labels[1:], axis=(1, 2)))


def test_an_object_keeps_its_colour():
    clip = generate_clip(1, 8, SIZE, 2, 0.0)
    for label in (1, 2):
        colours = [
            frame[labels == label].mean(axis=0)
            for frame, labels in zip(*clip, strict=True)
        ]
        assert np.ptp(colours, axis=0).max() < 40


def test_the_image_has_an_edge_where_the_labels_change():
    inside, across = [], []
    for seed in range(12):
        clip = generate_clip(seed, 1, SIZE, 2)
        step = np.abs(np.diff(clip.frames[0].astype(float), axis=1)).mean(axis=-1)
        edge = np.diff(clip.labels[0].astype(int), axis=1) != 0
        inside.append(step[~edge].mean())
        across.append(step[edge].mean())
    assert np.mean(across) > 1.5 * np.mean(inside)


def test_some_clips_hold_distractors_that_move_but_have_no_label():
    # A still scene differs from its later self where something unlabelled has moved.
    ranges = []
    for seed in range(16):
        clip = generate_clip(seed, 2, SIZE, 1, stride=30)
        background = (clip.labels == 0).all(axis=0)
        change = np.abs(np.diff(clip.frames.astype(float), axis=0))[0][background]
        ranges.append((change.mean(axis=-1) > 30).mean())
    assert max(ranges) > 0.1


def test_seeds_give_different_clips():
    clips = [generate_clip(seed, 1, SIZE, 2) for seed in (0, 1, [0, 1], [1, 0])]
    for one, other in itertools.combinations(clips, 2):
        assert np.mean(one.frames != other.frames) > 0.5
        assert np.any(one.labels != other.labels)


def test_a_late_frame_is_as_sharp_as_the_first():
    clip = generate_clip(4, 2, SIZE, 1, stride=100_000)
    texture = [np.abs(np.diff(frame.astype(float), axis=0)).mean() for frame in clip[0]]
    assert texture[1] > 0.4 * texture[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objects": 0}, "objects=0"),
        ({"objects": 255}, "objects=255"),
        ({"size": (31, 64)}, "size="),
        ({"size": (32, 32), "objects": 17}, "size="),
        ({"frames": 0}, "frames=0"),
        ({"stride": 0}, "stride=0"),
        ({"difficulty": -0.1}, "difficulty="),
        ({"difficulty": float("nan")}, "difficulty="),
        ({"seed": -1}, "seed=-1"),
        ({"seed": []}, "seed="),
    ],
)
def test_an_argument_out_of_range_is_named(change, named):
    good = {"seed": 0, "frames": 1, "size": SIZE, "objects": 1}
    with pytest.raises(InputError, match=named) as error:
        generate_clip(**(good | change))
    assert "\n" not in str(error.value)


def test_streaming_rejects_bad_arguments_before_the_first_frame():
    with pytest.raises(InputError, match="objects=0"):
        iterate_clip(0, SIZE, 0)
