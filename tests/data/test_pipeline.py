"""Batches of clips: always the same bits, right labels, and what bad files do."""

import subprocess
import sys
import time
import warnings
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vos_jax.data.augmentation import Affine, Spline
from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import Clips, batch_at
from vos_jax.data.colour import MEAN_COLOUR, Blur, Colour
from vos_jax.data.pipeline import train_batches
from vos_jax.data.recipes import StaticRecipe, VideoRecipe
from vos_jax.data.source import Labelled, Video
from vos_jax.errors import InputError

HEIGHT, WIDTH = 48, 64
SMALL = VideoRecipe(size=(32, 32), objects=2, skip_steps=0, max_skip=2)
STATIC = StaticRecipe(
    size=(32, 32), spline=Spline(probability=0.5), blur=Blur(probability=0.5)
)
# Every pixel of a clip is one of the video.
STILL = VideoRecipe(size=(HEIGHT, WIDTH), flip=0, cover=(1, 1), skip_steps=0)
# Colours of labels, the background's first; 255 has the last.
PAINT = np.array([(90, 90, 90), (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)])


class Painted:
    """Videos of rectangles that move, each label in a colour of its own.

    Attributes:
      reads: The videos that were read, in order of the calls.
    """

    def __init__(self, count=5, length=9, empty=(), bad=(), slow=(), void=False):
        self.videos = tuple(Video(f"video{i}", length) for i in range(count))
        self.empty, self.bad, self.slow, self.void = empty, bad, slow, void
        self.reads = []

    def read(self, video, times):
        self.reads.append(video)
        if video in self.slow:
            time.sleep(0.05)
        if video in self.bad:
            raise InputError(f"{self.videos[video].name}/00000.jpg is damaged; mend it")
        labels = np.stack([self.labels(video, time) for time in times])
        frames = PAINT[np.minimum(labels, 4)].astype(np.uint8)
        # A corner that tells the video and the time of a frame.
        frames[:, 0, 0, 0] = video
        frames[:, 0, 0, 1] = times
        return Labelled(frames, labels)

    def labels(self, video, time):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        if video in self.empty:
            return labels
        left = 8 + 2 * time + video
        labels[8:26, left : left + 18] = 1
        labels[20:40, left + 10 : left + 28] = 2
        labels[30:40, 4:14] = 3
        if self.void:
            labels[40:44] = 255
        return labels


def taken(count, source=None, recipe=SMALL, **arguments):
    """The first batches of a stream, which is closed."""
    given = {"seed": 3, "batch": 4, "workers": 2} | arguments
    batches = train_batches(source or Painted(), recipe, **given)
    try:
        return list(islice(batches, count))
    finally:
        batches.close()


def assert_equal_batches(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for array, expected in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, expected)


# The same bits


@pytest.mark.parametrize("recipe", [SMALL, STATIC], ids=["video", "static"])
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bits(recipe, workers):
    batches = taken(6, Painted(slow=(1,)), recipe, workers=workers)
    expected = [batch_at(Painted(), recipe, 3, step, 4) for step in range(6)]
    assert_equal_batches(batches, expected)


def test_hosts_share_the_batches_of_one():
    whole = taken(4)
    halves = [taken(4, host=host, hosts=2) for host in (0, 1)]
    joined = [
        [
            None if x is None else np.concatenate([x, y])
            for x, y in zip(*pair, strict=True)
        ]
        for pair in zip(*halves, strict=True)
    ]
    assert_equal_batches(joined, whole)
    assert len(halves[0][0].frames) == 2


def test_a_resumed_run_goes_on_with_the_batches_of_an_uninterrupted_one():
    assert_equal_batches(taken(3, first_step=4), taken(7)[4:])


def test_steps_and_seeds_differ():
    first, second = taken(2)
    other = taken(1, seed=4)[0]
    assert (first.frames != second.frames).any()
    assert (first.frames != other.frames).any()


def test_every_video_comes_once_in_an_epoch():
    clips = Clips(Painted(6), SMALL, seed=0, batch=4)
    names = [clips.example(step, i).name for step in range(3) for i in range(4)]
    assert sorted(names[:6]) == sorted(names[6:]) == [f"video{i}" for i in range(6)]


def test_batches_have_the_announced_shapes_and_types():
    batch = taken(1)[0]
    assert batch.frames.shape == (4, 3, 32, 32, 3)
    assert batch.labels.shape == (4, 3, 32, 32)
    assert batch.valid.shape == (4, 2)
    assert batch.frames.dtype == batch.labels.dtype == np.uint8
    assert batch.valid.dtype == np.bool_


def test_sizes_take_turns_from_step_to_step_also_in_a_resumed_run():
    recipe = replace(SMALL, other_sizes=((16, 48), (48, 24)))
    batches = taken(5, recipe=recipe)
    shapes = [batch.labels.shape[2:] for batch in batches]
    assert shapes == [(32, 32), (16, 48), (48, 24), (32, 32), (16, 48)]
    resumed = taken(2, recipe=recipe, first_step=3, host=1, hosts=2)
    for batch, whole in zip(resumed, batches[3:], strict=True):
        np.testing.assert_array_equal(batch.frames, whole.frames[2:])


def test_a_damaged_file_is_named_whatever_size_its_clip_has():
    recipe = replace(SMALL, other_sizes=((16, 48),))
    with pytest.raises(InputError, match=r"00000\.jpg is damaged"):
        taken(4, Painted(5, bad=(0, 1, 2, 3, 4)), recipe)


def test_the_skip_of_a_clip_is_that_of_its_step():
    recipe = VideoRecipe(size=(32, 32), max_skip=3, skip_steps=40)
    clips = Clips(Painted(), recipe, seed=0, batch=2)
    gaps = [
        max(np.diff(clips.example(step, 0).times).max() for step in steps)
        for steps in (range(10), range(30, 60))
    ]
    assert gaps == [1, 4]


# The right pixels


def test_a_recipe_that_moves_nothing_gives_the_stored_pixels():
    source = Painted()
    example = Clips(source, STILL, seed=0, batch=1).example(0, 0)
    video = int(example.name.removeprefix("video"))
    stored = source.read(video, example.times)
    np.testing.assert_array_equal(example.frames, stored.frames)
    np.testing.assert_array_equal(example.labels, stored.labels)


def test_shuffled_frames_keep_their_labels():
    recipe = VideoRecipe(
        size=(HEIGHT, WIDTH), flip=0, cover=(1, 1), skip_steps=0, shuffle=True
    )
    source = Painted()
    examples = [Clips(source, recipe, seed=i, batch=1).example(0, 0) for i in range(9)]
    assert any(list(each.times) != sorted(each.times) for each in examples)
    for example in examples:
        stored = source.read(int(example.frames[0, 0, 0, 0]), example.times)
        np.testing.assert_array_equal(example.frames, stored.frames)
        np.testing.assert_array_equal(example.labels, stored.labels)


CUT = VideoRecipe(
    size=(32, 40),
    short_side=HEIGHT,
    window="objects",
    max_skip=None,
    shuffle=True,
    visible_throughout=True,
    flip=0,
)


class Places(Painted):
    """Frames whose first two channels say where a pixel is, (x, y)."""

    def read(self, video, times):
        stored = super().read(video, times)
        stored.frames[..., 0] = np.arange(WIDTH)
        stored.frames[..., 1] = np.arange(HEIGHT)[:, None]
        return stored


@pytest.mark.parametrize("flip", [0, 1])
def test_a_window_of_stored_resolution_is_cut_and_not_resampled(flip):
    clips = Clips(Places(length=6), replace(CUT, flip=flip), seed=0, batch=8)
    corners = set()
    for index in range(8):
        example = clips.example(0, index)
        if flip:
            mirrored = example.frames[:, :, ::-1], example.labels[:, :, ::-1]
            example = example._replace(frames=mirrored[0], labels=mirrored[1])
        x, y = example.frames[0, 0, 0, :2]
        stored = clips.source.read(int(example.name[5:]), example.times)
        cut = np.s_[:, y : y + 32, x : x + 40]
        np.testing.assert_array_equal(example.frames, stored.frames[cut])
        np.testing.assert_array_equal(example.labels > 0, stored.labels[cut] > 0)
        corners.add((x, y))
    assert len(corners) > 4


def test_objects_that_all_fit_are_seen_whole_in_every_frame():
    source = Painted(length=4)
    paint = source.labels
    # Without the third, which the window could not hold beside the second.
    source.labels = lambda *where: np.where(paint(*where) == 3, 0, paint(*where))
    clips = Clips(source, replace(CUT, size=(36, 48)), seed=0, batch=8)
    for index in range(8):
        example = clips.example(0, index)
        stored = source.read(int(example.name[5:]), example.times)
        for labels, all_labels in zip(example.labels, stored.labels, strict=True):
            np.testing.assert_array_equal(
                np.bincount(labels.ravel())[1:], np.bincount(all_labels.ravel())[1:]
            )


def test_a_video_whose_objects_never_stay_gives_way_to_another():
    source = Painted(4)
    paint = source.labels
    gone = np.zeros((HEIGHT, WIDTH), np.uint8)
    source.labels = lambda video, time: gone if video and time else paint(video, time)
    examples = [Clips(source, CUT, seed=0, batch=4).example(0, i) for i in range(4)]
    assert {example.name for example in examples} == {"video0"}


def test_a_window_larger_than_the_picture_shows_what_lies_outside():
    recipe = replace(CUT, size=(HEIGHT, 80), objects=3)
    example = Clips(Places(), recipe, seed=0, batch=1).example(0, 0)
    outside = (example.frames == MEAN_COLOUR).all(axis=-1)
    assert (outside.all(axis=(0, 1)).sum(), outside.any(axis=(0, 1)).sum()) == (16, 16)
    assert not example.labels[outside].any()


STRONG = StaticRecipe(
    size=(40, 40),
    frame_affine=Affine(rotation=30, shear=15, zoom=(0.8, 1.3), translation=0.1),
    spline=Spline(probability=0.5, strength=0.03),
    clip_colour=Colour(),
    frame_colour=Colour(),
)


def test_masks_sit_on_their_objects_whatever_moves():
    clips = Clips(Painted(), STRONG, seed=1, batch=8)
    mirrored = 0
    for index in range(8):
        example = clips.example(0, index)
        for frame, labels in zip(example.frames, example.labels, strict=True):
            for label in range(1, 1 + example.valid.sum()):
                inside = frame[labels == label].astype(int)
                if len(inside) > 40:
                    colour = np.median(inside, axis=0)
                    off = np.abs(inside - colour).max(axis=1)
                    # Pixels on its outline are mixed with their neighbours.
                    assert np.mean(off < 5) > 0.5
                    assert any(np.abs(PAINT[1:4] - colour).max(axis=1) < 5)
        first = example.labels[0]
        red = (np.abs(example.frames[0].astype(int) - PAINT[1]) < 5).all(axis=-1)
        green = (np.abs(example.frames[0].astype(int) - PAINT[2]) < 5).all(axis=-1)
        assert (first[red] == first[red][0]).mean() > 0.9
        mirrored += np.nonzero(red)[1].mean() > np.nonzero(green)[1].mean()
    assert 0 < mirrored < 8


def test_colours_change_frames_and_no_labels():
    recipe = VideoRecipe(
        size=(HEIGHT, WIDTH),
        flip=0,
        cover=(1, 1),
        clip_colour=Colour(brightness=0.5),
        frame_colour=Colour(brightness=0.1),
    )
    changed = Clips(Painted(), recipe, seed=0, batch=1).example(0, 0)
    video = int(changed.name.removeprefix("video"))
    stored = Painted().read(video, changed.times)
    np.testing.assert_array_equal(changed.labels, stored.labels)
    gains = changed.frames[:, -1, -1, 0] / stored.frames[:, -1, -1, 0]
    assert np.abs(gains - 1).min() > 0.05
    assert 0 < np.ptp(gains) < 0.25


def test_objects_are_numbered_from_one_and_show_in_the_first_frame():
    recipe = VideoRecipe(size=(24, 24), objects=4, skip_steps=0, min_share=0.02)
    batch = batch_at(Painted(), recipe, 0, 0, 16)
    counts = set()
    for labels, valid in zip(batch.labels, batch.valid, strict=True):
        count = int(valid.sum())
        counts.add(count)
        np.testing.assert_array_equal(valid, np.arange(4) < count)
        seen = np.bincount(labels[0].ravel(), minlength=count + 1)
        assert len(seen) == count + 1
        assert seen[1:].min() >= 0.02 * labels[0].size
        assert labels.max() <= count
    assert len(counts) > 1


def test_ignored_pixels_stay_ignored():
    source = Painted(void=True)
    example = Clips(source, STILL, seed=0, batch=1).example(0, 0)
    assert (example.labels[:, 40:44] == 255).all()
    assert not (example.labels[:, 44:] == 255).any()


def test_a_frame_that_a_clip_shows_often_is_read_once():
    source = Painted()
    shown = []
    read = source.read
    source.read = lambda video, times: shown.append(list(times)) or read(video, times)
    Clips(source, STATIC, seed=0, batch=1).example(0, 0)
    assert [len(times) for times in shown] == [1]


# Videos that are of no use


def test_a_video_without_an_object_gives_way_to_another():
    source = Painted(empty=(0, 1, 2))
    clips = Clips(source, SMALL, seed=0, batch=5)
    examples = [clips.example(0, index) for index in range(5)]
    assert {example.name for example in examples} == {"video3", "video4"}
    assert all(example.labels[0].any() for example in examples)
    assert not any(example.skipped for example in examples)
    # It got its chances first.
    assert all(source.reads.count(video) >= 4 for video in (0, 1, 2))


def test_a_video_whose_object_is_too_small_gives_way_to_another():
    source = Painted(3)
    labels = source.labels
    line = np.eye(HEIGHT, WIDTH, 8, np.uint8)
    source.labels = lambda video, time: labels(0, time) if video == 0 else line
    recipe = VideoRecipe(size=(32, 32), objects=3, min_share=0.1, skip_steps=0)
    clips = Clips(source, recipe, seed=0, batch=3)
    examples = [clips.example(0, index) for index in range(3)]
    assert {example.name for example in examples} == {"video0"}
    assert all(example.valid.any() for example in examples)


def test_data_without_any_object_is_an_error():
    with pytest.raises(InputError, match=r"20 videos in a row, the last video\d") as it:
        batch_at(Painted(empty=range(5)), SMALL, 0, 0, 1)
    assert "min_share" in str(it.value)
    assert "\n" not in str(it.value)


def test_data_of_short_videos_are_an_error():
    with pytest.raises(InputError, match="none of the 5 videos has 3 labelled frames"):
        batch_at(Painted(length=2), SMALL, 0, 0, 1)


def test_a_damaged_file_ends_the_stream_at_its_batch_with_its_own_line():
    clips = Clips(Painted(), SMALL, seed=3, batch=1)
    names = [clips.example(step, 0).name for step in range(5)]
    position = names.index("video2", 1)
    batches = train_batches(Painted(bad=(2,)), SMALL, seed=3, batch=1, workers=3)
    assert len(list(islice(batches, position))) == position
    with pytest.raises(InputError) as error:
        next(batches)
    assert str(error.value) == "video2/00000.jpg is damaged; mend it"


def test_a_bug_of_a_source_is_not_taken_for_a_bad_file():
    source = Painted()
    source.read = lambda video, times: {}["frames"]
    with pytest.raises(KeyError, match="frames"):
        taken(1, source, skip_bad=True)


def test_damaged_files_can_be_skipped_with_one_warning_each():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = taken(8, Painted(bad=(0, 2)), skip_bad=True)
    lines = sorted(str(each.message) for each in caught)
    assert lines == [
        "skipped: video0/00000.jpg is damaged; mend it",
        "skipped: video2/00000.jpg is damaged; mend it",
    ]
    # The warning is about the caller's loop.
    assert {each.filename for each in caught} == {__file__}
    again = [
        batch_at(Painted(bad=(0, 2)), SMALL, 3, step, 4, skip_bad=True)
        for step in range(8)
    ]
    assert_equal_batches(batches, again)


def test_data_of_damaged_files_alone_are_an_error_also_when_skipping():
    with pytest.raises(InputError, match=r"cannot be read; the last: video\d/00000"):
        taken(1, Painted(bad=range(5)), skip_bad=True)


# The stream


def test_a_closed_stream_reads_no_more():
    source = Painted(slow=range(5))
    batches = train_batches(source, SMALL, seed=0, batch=1, workers=2)
    next(batches)
    batches.close()
    time.sleep(0.2)
    reads = len(source.reads)
    time.sleep(0.3)
    assert len(source.reads) == reads


SCRIPT = """
from tests.data.test_pipeline import SMALL, Painted, train_batches
batches = train_batches(Painted(slow=range(5)), SMALL, seed=0, batch=2)
print(next(batches).frames.shape)
"""


@pytest.mark.slow
def test_a_program_ends_in_the_middle_of_a_stream_without_a_word():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 3, 32, 32, 3)\n", "")


def test_tensorflow_is_told_to_leave_accelerators_alone(monkeypatch):
    import tensorflow as tf

    calls = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *given: calls.append(given)
    )
    taken(1)
    assert calls == [([], "GPU")]


def test_a_missing_tensorflow_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(InputError, match=r"TensorFlow is not installed.*vos_jax\[data"):
        taken(1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch": 0}, "batch=0"),
        ({"seed": -1}, "seed=-1"),
        ({"host": 2, "hosts": 2}, "host=2 of hosts=2"),
        ({"host": 0, "hosts": 0}, "hosts=0"),
        ({"batch": 3, "hosts": 2}, "batch=3 cannot be shared equally by hosts=2"),
        ({"first_step": -1}, "first_step=-1"),
        ({"workers": 0}, "workers=0"),
        ({"prefetch": 0}, "prefetch=0"),
    ],
)
def test_an_argument_out_of_range_is_named_before_the_first_batch(change, named):
    with pytest.raises(InputError, match=named) as error:
        train_batches(Painted(), SMALL, **({"seed": 0, "batch": 4} | change))
    assert "\n" not in str(error.value)


class Placed(NamedTuple):
    matrix: np.ndarray
    time: np.ndarray


class PlacedInputs:
    """A reader of what depends on frame, geometry and size."""

    identity = "places"

    def video(self, sequence, names, size):
        return self

    def warp(self, index, frame, geometry, size):
        return Placed(geometry.matrix, np.full(size, frame[0, 0, 1]))

    def empty(self, size):
        return Placed(np.zeros((3, 3)), np.zeros(size, np.uint8))


@pytest.mark.parametrize("perturb", [None, (0.85, 1.0)])
def test_inputs_come_with_their_frames_at_every_size(perturb):
    sizes = ((40, 32), (32, 48))
    recipe = replace(SMALL, frames=4, other_sizes=sizes, perturb=perturb)
    inputs = ClipInputs([(Painted(), PlacedInputs())])
    for step, batch in enumerate(taken(4, recipe=recipe, inputs=inputs)):
        expected = batch_at(Painted(), recipe, 3, step, 4, inputs=inputs)
        assert (batch.given is None) == (perturb is None)
        for mine, theirs in zip(batch.inputs, expected.inputs, strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        assert batch.inputs.time.shape == (4, 3, *recipe.size_at(step))
        clips = Clips(Painted(), recipe, seed=3, batch=4)
        times = [clips.example(step, index).times[1:] for index in range(4)]
        np.testing.assert_array_equal(batch.inputs.time[..., 0, 0], times)
