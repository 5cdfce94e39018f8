"""Repeated videos: what is played, scored and measured."""

from pathlib import Path

import numpy as np
import pytest

import vos_jax
from tests.bench.toy import toy
from tests.clips import moving_clip, write_davis
from tests.hinted import hinted, shrink
from vos_jax.errors import InputError
from vos_jax.evaluation import score_frame
from vos_jax.inference import demo
from vos_jax.media import read_labels, write_labels
from vos_jax.reports import long_video
from vos_jax.reports.long_video import (
    Video,
    davis_videos,
    generated_videos,
    peak_kind,
    play,
    play_order,
)


@pytest.fixture(scope="module")
def model():
    """Of a memory that does not grow."""
    return toy(every=None)


@pytest.fixture(scope="module")
def video():
    frames, labels = moving_clip(4)
    return Video("moving", 4, labels[0], [1, 2], lambda i: (frames[i], labels[i]))


def test_frames_go_forwards_and_backwards_in_turn():
    assert list(play_order(3, 1)) == [0, 1, 2]
    assert list(play_order(3, 3)) == [0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_a_repeated_video_is_scored_as_if_it_had_been_written_out(model, video):
    pairs = [video.read(i) for i in (0, 1, 2, 3, 3, 2, 1, 0)]
    frames = np.stack([frame for frame, _ in pairs])
    found = vos_jax.segment_video(*model, frames, video.given)
    scores = [
        score_frame(ours, theirs, [1, 2])
        for ours, (_, theirs) in zip(found[1:-1], pairs[1:-1], strict=True)
    ]
    figures = play(*model, video, 2)
    # The sums are taken in another order.
    np.testing.assert_allclose([figures.j, figures.f], np.mean(scores, 0), rtol=1e-12)
    assert figures.frames == 8
    assert 0 < max(figures.j) < 1
    assert figures.seconds > 0 and figures.compile_s > 0
    assert figures.state_mb == vos_jax.state_bytes(model[0], (32, 48), 2, 8) / 1e6


def test_what_a_method_takes_is_made_of_the_frames(video):
    model = hinted(every=None)
    pairs = [video.read(i) for i in (0, 1, 2, 3, 3, 2, 1, 0)]
    frames = np.stack([frame for frame, _ in pairs])
    hints = [shrink(frame.mean(-1), (32, 48)) for frame in frames]
    found = vos_jax.segment_video(*model, frames, video.given, inputs=hints)
    scores = [
        score_frame(ours, theirs, [1, 2])
        for ours, (_, theirs) in zip(found[1:-1], pairs[1:-1], strict=True)
    ]
    figures = play(*model, video, 2)
    np.testing.assert_allclose([figures.j, figures.f], np.mean(scores, 0), rtol=1e-12)


def test_a_constant_memory_needs_one_program_for_all_lengths(model, video):
    # Of another size than in other tests, so that its program is not there yet.
    smaller = video._replace(
        given=video.given[:, :40],
        read=lambda i: tuple(x[:, :40] for x in video.read(i)),
    )
    assert [play(*model, smaller, n).programs for n in (1, 4, 9)] == [1, 0, 0]


def test_the_working_size_is_smaller_than_the_videos(model, video):
    full, small = (play(*model, video, 1, size=size) for size in (None, 16))
    assert small.state_mb < full.state_mb
    assert np.shape(small.j) == (2,)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_memory_that_is_given_back_is_seen():
    gauge = long_video._Gauge()
    assert gauge.peak_bytes() < 30e6
    assert np.ones(2**23).sum() == 2**23
    assert gauge.peak_bytes() > 60e6


def test_a_device_that_tells_its_peak_is_believed(model, video, monkeypatch):
    assert "process grew" in peak_kind()
    monkeypatch.setattr(long_video, "device_peak_bytes", lambda: 7_000_000)
    assert "on the device" in peak_kind()
    assert play(*model, video, 1).peak_mb == 7


def test_videos_of_davis_are_read_frame_by_frame(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"])
    frames, labels = moving_clip(8)
    first, second = davis_videos("davis2017", root, "val")
    assert (first.name, second.name) == ("alpha", "beta")
    assert (second.length, list(second.objects)) == (6, [1, 2])
    for index in (5, 0, 3):
        frame, annotated = second.read(index)
        np.testing.assert_array_equal(frame, frames[index + 1])
        np.testing.assert_array_equal(annotated, labels[index + 1])
    np.testing.assert_array_equal(second.given, labels[1])


def test_davis_2016_has_one_object(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"])
    (root / "ImageSets" / "2017").rename(root / "ImageSets" / "2016")
    (video,) = davis_videos("davis2016", root, "val")
    assert list(video.objects) == [1]
    for labels in (video.given, video.read(2)[1]):
        assert np.unique(labels).tolist() == [0, 1]


def test_void_in_the_first_annotation_is_no_object(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"])
    path = root / "Annotations" / "480p" / "alpha" / "00000.png"
    labels = read_labels(path)
    labels[0, 0] = 255
    write_labels(path, labels)
    (video,) = davis_videos("davis2017", root, "val")
    assert list(video.objects) == [1, 2]


def test_frames_without_annotation_are_refused(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"])
    (root / "Annotations" / "480p" / "alpha" / "00003.png").unlink()
    with pytest.raises(InputError, match="alpha: frame 00003 has no annotation"):
        davis_videos("davis2017", root, "val")


def test_a_video_without_a_frame_to_score_is_refused(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"], count=2)
    with pytest.raises(InputError, match="alpha: has 2 frames; at least 3"):
        davis_videos("davis2017", root, "val")


def test_generated_videos_are_those_of_the_demo(monkeypatch):
    monkeypatch.setattr(demo, "_SIZE", (48, 64))
    monkeypatch.setattr(demo, "_FRAMES", 4)
    videos = generated_videos(3)
    assert [len(video.objects) for video in videos] == [1, 2, 3]
    clip = demo.demo_clip(1)
    frame, labels = videos[1].read(2)
    np.testing.assert_array_equal(frame, clip.frames[2])
    np.testing.assert_array_equal(labels, clip.labels[2])
    assert videos[1].length == 4
