"""Scores of whole videos: which frames and objects count, and early complaints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests import small_run
from tests.clips import moving_clip
from vos_jax.data.source import Labelled, Video
from vos_jax.errors import InputError
from vos_jax.evaluation import score_frame
from vos_jax.inference.segmenter import FrameResult
from vos_jax.methods import METHODS
from vos_jax.training import validate as validate_file
from vos_jax.training.loop import train
from vos_jax.training.validate import check_validation, validate

SHAPE = (32, 48)


class Painted:
    """Videos of given labels, whose frames are grey as the label is."""

    def __init__(self, *clips):
        self.clips = clips
        self.videos = tuple(Video(f"v{i}", len(clip)) for i, clip in enumerate(clips))
        self.reads = []

    def read(self, video, times):
        self.reads.append((video, *times))
        labels = self.clips[video][list(times)]
        return Labelled(np.repeat(labels[..., None], 3, axis=-1), labels)


def clip(length, ids):
    """Squares of these ids, ascending in no direction, that move to the right."""
    labels = np.zeros((length, *SHAPE), np.uint8)
    for time in range(length):
        for place, label in enumerate(ids):
            left = 2 + time % 20 + 9 * place
            labels[time, 4 + 9 * place : 12 + 9 * place, left : left + 8] = label
    return labels


@pytest.fixture
def see(monkeypatch):
    """Replaces the network by a function of the time and the true labels."""
    calls = []

    def use(function):
        def stream(method, variables, frames, first_labels, length, inputs):
            assert inputs is None
            calls.append((first_labels.copy(), length))
            for time, frame in enumerate(frames):
                found = function(time, frame[..., 0])
                yield FrameResult(time, found, None, np.unique(first_labels)[1:])

        monkeypatch.setattr(validate_file, "stream_video", stream)
        monkeypatch.setattr(validate_file, "inference_form", lambda *both: both)
        return calls

    return use


def test_an_oracle_scores_1_whatever_the_ids_and_lengths(see):
    calls = see(lambda time, truth: truth)
    # Longer than what is read at once.
    source = Painted(clip(5, [7, 2]), clip(37, [3]))
    scores, sheet = validate(None, {}, source)
    assert scores == {"J": 1.0, "F": 1.0, "J&F": 1.0}
    assert sheet.dtype == np.uint8
    for (given, length), labels in zip(calls, source.clips, strict=True):
        np.testing.assert_array_equal(given, labels[0])
        # One program for all videos.
        assert length == 37


@pytest.mark.parametrize("wrong", [0, 1, 3, 4])
def test_the_first_and_the_last_frame_do_not_count(see, wrong):
    see(lambda time, truth: truth * (time != wrong))
    scores = validate(None, {}, Painted(clip(5, [1, 2]))).scores
    expected = 1.0 if wrong in (0, 4) else 2 / 3
    assert scores == pytest.approx({"J": expected, "F": expected, "J&F": expected})


def test_every_object_weighs_the_same_and_has_its_own_score(see):
    """Of one video's two objects one is lost; the other video is right."""
    see(lambda time, truth: truth * (truth != 2))
    scores = validate(None, {}, Painted(clip(4, [1, 2]), clip(9, [5]))).scores
    assert scores["J"] == pytest.approx(2 / 3)


def test_objects_that_appear_later_and_ignored_pixels_are_no_objects(see):
    later = clip(5, [1])
    later[2:, 24:30, 40:46] = 9
    later[:, 0] = 255
    see(lambda time, truth: truth * (truth == 1))
    assert validate(None, {}, Painted(later)).scores["J&F"] == 1.0


def by_hand(found, truth, objects):
    """J and F `[2, objects]` of a video: means over its frames but two."""
    each = [score_frame(found[t], truth[t], objects) for t in range(1, len(truth) - 1)]
    return np.mean(each, axis=0)


def assert_scores(found, videos):
    """Compares with the mean over all objects of all videos."""
    region, contour = np.concatenate(videos, axis=1).mean(axis=1)
    expected = {"J": region, "F": contour, "J&F": (region + contour) / 2}
    assert found == pytest.approx(expected)
    assert 0 < region < 1
    assert region != contour


def test_scores_are_those_of_each_frame_by_hand(see):
    def shifted(time, truth):
        # Each object by another distance, which changes with time.
        return sum(np.roll(truth * (truth == i), i + time % 4, 1) for i in (2, 5, 7))

    see(shifted)
    source = Painted(clip(6, [7, 2]), clip(9, [5]))
    one, other = (
        np.stack([shifted(*frame) for frame in enumerate(labels)])
        for labels in source.clips
    )
    expected = [
        by_hand(one, source.clips[0], [2, 7]),
        by_hand(other, source.clips[1], [5]),
    ]
    assert_scores(validate(None, {}, source).scores, expected)


def test_a_network_is_scored_on_what_it_finds(tiny_method, tiny_variables):
    frames, labels = moving_clip(9)
    cuts = (slice(0, 5), slice(2, 9))

    class Moving:
        videos = (Video("a", 5), Video("b", 7))

        def read(self, video, times):
            cut = cuts[video]
            return Labelled(frames[cut][list(times)], labels[cut][list(times)])

    def find_more(path, x):
        # With its filler weights it would see background alone.
        names = [key.key for key in path]
        more = jnp.array([0.0, 4.0])
        return x + more if "predict" in names and names[-1] == "bias" else x

    variables = jax.tree.map_with_path(find_more, dict(tiny_variables))
    scores, sheet = validate(tiny_method, variables, Moving())
    assert sheet.shape[2] == 3
    model = vos_jax.inference_form(tiny_method, variables)
    expected = []
    for cut in cuts:
        found = vos_jax.segment_video(*model, frames[cut], labels[cut][0])
        expected.append(by_hand(found, labels[cut], [1, 2]))
    assert_scores(scores, expected)


BAD = {
    "short": (clip(2, [1]), "validation video v1: has 2 labelled frames; choose"),
    "empty": (clip(4, []), "validation video v1: has no object in its first"),
    "ignored": (clip(4, [255]), "validation video v1: has no object in its first"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_video_that_cannot_be_scored_is_named(see, kind):
    see(lambda time, truth: truth)
    labels, message = BAD[kind]
    source = Painted(clip(4, [1]), labels)
    for complain in (check_validation, lambda source: validate(None, {}, source)):
        with pytest.raises(InputError, match=message) as error:
            complain(source)
        assert "\n" not in str(error.value)


def test_the_check_reads_one_frame_of_a_video():
    source = Painted(clip(4, [1]), clip(9, [2]))
    check_validation(source)
    assert source.reads == [(0, 0), (1, 0)]


def test_a_run_is_stopped_before_its_first_step(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setitem(METHODS, "small", small_run.ENTRY)
    short = dataclasses.replace(
        small_run.GENERATED, options={**small_run.OPTIONS, "length": 2}
    )
    experiment = small_run.experiment(validation=(short,), validate_every=1000)
    with pytest.raises(InputError, match="has 2 labelled frames; choose"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
