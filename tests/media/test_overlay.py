import os
import resource
from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.media.overlay import VideoWriter, blend, contact_sheet, overlay_colours
from vos_jax.media.video import VideoFrames


def frame_and_labels() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 2
    return np.full((20, 30, 3), 120, np.uint8), labels


def test_neighbouring_ids_are_easy_to_tell_apart():
    colours = overlay_colours()[1:255].astype(int)
    assert len(np.unique(colours, axis=0)) == 254
    assert np.abs(colours[1:] - colours[:-1]).sum(axis=1).min() > 110
    assert colours.max(axis=1).min() > 150


def test_the_inside_is_a_mix_of_frame_and_colour():
    frame, labels = frame_and_labels()
    blended = blend(frame, labels, alpha=0.5)
    mixed = (frame[8, 8].astype(int) + overlay_colours()[1]) // 2
    assert np.abs(blended[8, 8].astype(int) - mixed).max() <= 1
    assert np.array_equal(blended[0], frame[0])
    assert np.all(frame == 120)


def test_the_edge_is_bright_inside_and_dark_outside():
    frame, labels = frame_and_labels()
    blended = blend(frame, labels)
    assert np.array_equal(blended[5, 5:15], np.tile(overlay_colours()[1], (10, 1)))
    assert np.array_equal(blended[8, 15], overlay_colours()[2])
    assert blended[4, 5:25].max() < 60
    assert np.array_equal(blended[3], frame[3])


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_extremes_of_alpha_are_exact(alpha: float):
    frame, labels = frame_and_labels()
    inside = blend(frame, labels, alpha)[8, 8]
    assert np.array_equal(inside, overlay_colours()[1] if alpha else frame[8, 8])


def test_ignored_pixels_get_no_tint():
    frame, labels = frame_and_labels()
    labels[16:] = 255
    assert np.array_equal(blend(frame, labels)[18:], frame[18:])


def test_labels_of_another_size_are_refused():
    frame, labels = frame_and_labels()
    with pytest.raises(ValueError, match="differ in size"):
        blend(frame, labels[:-1])


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_written_video_can_be_read_again(
    tmp_path: Path, suffix: str, size: tuple[int, int], film
):
    frames = film(6, size)
    path = tmp_path / f"a.{suffix}"
    with VideoWriter(path, 25, size) as writer:
        for frame in frames:
            writer.write(frame)
        assert not path.exists()
    assert os.listdir(tmp_path) == [path.name]
    source = VideoFrames(path)
    assert source.fps == 25 and len(source) == 6 and source.size == (48, 64)
    for frame, decoded in zip(frames, source, strict=True):
        decoded = decoded[: size[0], : size[1]].astype(int)
        assert np.abs(decoded - frame).mean() < 8


def test_colours_of_a_high_definition_video_are_kept(tmp_path: Path):
    frame = np.empty((720, 1280, 3), np.uint8)
    frame[:] = (220, 40, 60)
    with VideoWriter(tmp_path / "a.mp4", 24, (720, 1280)) as writer:
        writer.write(frame)
    (decoded,) = VideoFrames(tmp_path / "a.mp4")
    assert np.abs(decoded.astype(int) - frame).max() <= 4


def test_without_a_rate_a_video_has_24_frames_a_second(tmp_path: Path, film):
    with VideoWriter(tmp_path / "a.mp4", None, (48, 64)) as writer:
        writer.write(film(1)[0])
    assert VideoFrames(tmp_path / "a.mp4").fps == 24


def test_an_exception_discards_the_video(tmp_path: Path, film):
    with (
        pytest.raises(KeyError, match="mine"),
        VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer,
    ):
        writer.write(film(1)[0])
        raise KeyError("mine")
    assert os.listdir(tmp_path) == []


def test_a_video_without_frames_is_not_kept(tmp_path: Path):
    VideoWriter(tmp_path / "a.mp4", 25, (48, 64)).close()
    assert os.listdir(tmp_path) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path):
    with (
        pytest.raises(ValueError, match=r"\[48, 64, 3\]"),
        VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer,
    ):
        writer.write(np.zeros((48, 60, 3), np.uint8))


def test_bad_places_for_a_video_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.gif is no video name"):
        VideoWriter(tmp_path / "a.gif", 25, (48, 64))
    with pytest.raises(InputError, match=r"none/a\.mp4: .* make the folder"):
        VideoWriter(tmp_path / "none" / "a.mp4", 25, (48, 64))


def test_a_video_that_does_not_fit_leaves_no_half_file(tmp_path: Path):
    rng = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (
            pytest.raises(InputError, match=r"cannot write .*a\.mp4") as error,
            VideoWriter(tmp_path / "a.mp4", 25, (96, 128)) as writer,
        ):
            for _ in range(40):
                writer.write(rng.integers(0, 255, (96, 128, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_sheet_places_pictures_side_by_side_and_captions_below():
    red, blue = np.zeros((2, 50, 100, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    sheet = contact_sheet([[red, blue], [blue]], [["a", ""], [""]], cell_width=100)
    plain = contact_sheet([[red, blue], [blue]], [["", ""], [""]], cell_width=100)
    assert sheet.dtype == np.uint8
    assert (sheet == (255, 0, 0)).all(-1).sum() == 5000
    assert (sheet == (0, 0, 255)).all(-1).sum() == 10000
    assert sheet.shape[0] > plain.shape[0] and sheet.shape[1] == plain.shape[1]
    assert sheet.shape[1] > 200


def test_a_title_and_a_long_caption_fit_the_sheet():
    picture = np.zeros((40, 100, 3), np.uint8)
    long = contact_sheet([[picture]], [["word " * 50]], cell_width=100)
    assert long.shape[1] < 120
    assert (long[:, -4:] == long[0, 0]).all()
    titled = contact_sheet([[picture]], [[""]], title="Title", cell_width=100)
    assert titled.shape[0] > 60


def test_captions_that_do_not_match_are_refused():
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="captions"):
        contact_sheet([[picture]], [["a", "b"]])
    with pytest.raises(ValueError, match="no picture"):
        contact_sheet([[]], [[]])
