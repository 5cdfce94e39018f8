import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.errors import InputError, InputWarning
from vos_jax.media.frames import FolderFrames, open_frames
from vos_jax.media.images import read_size
from vos_jax.media.masks import write_labels
from vos_jax.media.source import FrameSource


def save(path: Path, value: int, size: tuple[int, int] = (6, 8)) -> None:
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def values(source: FrameSource) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in source]


def test_a_folder_is_read_in_natural_order_twice_and_backwards(tmp_path: Path):
    for name, value in [("f10", 30), ("f2", 20), ("f1", 10), ("f010", 40)]:
        save(tmp_path / f"{name}.png", value)
    source = open_frames(tmp_path)
    assert source.names == ["f1", "f2", "f010", "f10"]
    assert len(source) == 4 and source.size == (6, 8) and source.fps is None
    assert values(source) == values(source) == [10, 20, 40, 30]
    assert [int(f[0, 0, 0]) for f in reversed(source)] == [30, 40, 20, 10]
    assert [int(f[0, 0, 0]) for f in source.frames(2)] == [40, 30]
    assert [int(f[0, 0, 0]) for f in source.reversed(1)] == [20, 10]


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "bmp", "webp"])
def test_every_image_format_gives_rgb(tmp_path: Path, suffix: str):
    save(tmp_path / f"a.{suffix}", 100)
    (frame,) = open_frames(tmp_path)
    assert frame.shape == (6, 8, 3) and frame.dtype == np.uint8
    assert abs(int(frame.mean()) - 100) <= 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1"])
def test_every_pixel_mode_gives_rgb(tmp_path: Path, mode: str):
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:3] = 255
    Image.fromarray(rgb).convert(mode).save(tmp_path / "a.png")
    (frame,) = open_frames(tmp_path)
    assert np.array_equal(frame, rgb)


def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path):
    grey = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    (frame,) = open_frames(tmp_path)
    assert np.array_equal(frame, np.repeat((grey >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_exif_rotation_is_applied_to_pixels_and_size(tmp_path: Path, suffix: str):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    source = open_frames(tmp_path)
    (frame,) = source
    assert source.size == frame.shape[:2] == (32, 16)
    assert frame[:16].mean() > 250 and frame[16:].mean() < 5


def test_the_size_is_read_without_the_pixels(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for name in ("a.png", "a.jpg"):
        Image.fromarray(noise).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])
        assert read_size(tmp_path / name) == (60, 80)


def test_the_frame_of_another_size_is_named(tmp_path: Path):
    for i in range(4):
        save(tmp_path / f"{i}.png", 0, (6, 9) if i == 0 else (6, 8))
    with pytest.raises(InputError, match=r"0\.png is 9x6 but most .* are 8x6"):
        open_frames(tmp_path)


def test_a_damaged_frame_is_named_when_its_turn_comes(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for i in range(3):
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:1500])
    frames = iter(open_frames(tmp_path))
    next(frames)
    with pytest.raises(InputError, match=r"1\.jpg is damaged") as error:
        next(frames)
    assert "\n" not in str(error.value)


def test_a_label_map_beside_its_photograph_is_no_frame(tmp_path: Path):
    save(tmp_path / "0.jpg", 50)
    save(tmp_path / "1.jpg", 50)
    write_labels(tmp_path / "0.png", np.ones((6, 8), np.uint8))
    source = open_frames(tmp_path)
    assert source.names == ["0", "1"]
    assert values(source) == [50, 50]


def test_two_photographs_of_one_name_are_refused(tmp_path: Path):
    save(tmp_path / "0.jpg", 50)
    save(tmp_path / "0.png", 50)
    with pytest.raises(InputError, match=r"both 0\.jpg and 0\.png"):
        open_frames(tmp_path)


def test_other_and_hidden_files_of_a_folder_are_left_out(tmp_path: Path):
    save(tmp_path / "0.png", 1)
    save(tmp_path / ".0.png", 2)
    (tmp_path / "notes.txt").write_text("x")
    assert values(open_frames(tmp_path)) == [1]


def test_a_video_file_is_opened(tmp_path: Path, film, encode):
    source = open_frames(encode(tmp_path / "A.MP4", film(2)))
    assert source.names == ["00000", "00001"] and source.fps == 25


def test_a_path_without_frames_is_refused_with_the_reason(tmp_path: Path):
    save(tmp_path / "one.png", 1)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, reason in [
        ("none.mp4", "does not exist"),
        ("one.png", "is one image"),
        ("notes.txt", "no video file"),
        ("empty", "holds no images"),
    ]:
        with pytest.raises(InputError, match=reason) as error:
            open_frames(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_a_frame_that_changes_its_size_under_way_is_noticed(tmp_path: Path):
    save(tmp_path / "0.png", 1)
    source = FolderFrames(tmp_path)
    save(tmp_path / "new.png", 1, (6, 9))
    os.replace(tmp_path / "new.png", tmp_path / "0.png")
    with pytest.raises(InputError, match="changed its size"):
        list(source)


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be listed"):
        FolderFrames(tmp_path / "none")


def save_deep(folder: Path, frames: np.ndarray) -> None:
    for i, frame in enumerate(frames):
        Image.fromarray(frame.astype(np.uint16)).save(folder / f"{i}.png")


def test_a_narrow_range_of_16_bits_is_stretched_alike_in_all_frames(tmp_path: Path):
    grey = np.linspace(29000, 29800, 3 * 6 * 8).reshape(3, 6, 8)
    save_deep(tmp_path, grey)
    source = open_frames(tmp_path)
    with pytest.warns(
        InputWarning, match=rf"{tmp_path} uses a small part of its 16-bit"
    ):
        frames = list(source)
    got = np.stack(frames)[..., 0].astype(int)
    assert np.abs(got - (grey - 29000) / 800 * 255).max() <= 1
    assert all(map(np.array_equal, source, frames))
    assert all(map(np.array_equal, reversed(source), frames[::-1]))
    with pytest.warns(InputWarning):
        assert np.array_equal(next(open_frames(tmp_path).frames(2)), frames[2])


def test_narrow_16_bits_beside_8_bits_are_refused(tmp_path: Path):
    save_deep(tmp_path, np.linspace(500, 900, 48).reshape(1, 6, 8))
    save(tmp_path / "1.png", 100)
    with (
        pytest.warns(InputWarning),
        pytest.raises(InputError, match=r"16 bits \(0\.png\).* 8 bits \(1\.png\)"),
    ):
        list(open_frames(tmp_path))


def test_wide_16_bits_beside_8_bits_have_one_scale(tmp_path: Path):
    save_deep(tmp_path, np.linspace(0, 65535, 48).reshape(1, 6, 8))
    save(tmp_path / "1.png", 100)
    assert [int(frame.max()) for frame in open_frames(tmp_path)] == [255, 100]


def test_a_damaged_16_bit_frame_is_named_when_its_turn_comes(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 1 << 16, (3, 60, 80))
    save_deep(tmp_path, noise)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:2000])
    frames = iter(open_frames(tmp_path))
    next(frames)
    with pytest.raises(InputError, match=r"1\.png is damaged"):
        next(frames)


def test_pixels_of_floats_are_refused(tmp_path: Path):
    Image.fromarray(np.zeros((6, 8), np.float32)).save(tmp_path / "0.png", "TIFF")
    with pytest.raises(InputError, match=r"0\.png has pixels of floats"):
        open_frames(tmp_path)


def test_transparent_frames_keep_their_stored_colours_and_say_so(tmp_path: Path):
    rgba = np.full((6, 8, 4), 90, np.uint8)
    for name in ("0.png", "1.png"):
        Image.fromarray(rgba).save(tmp_path / name)
    with pytest.warns(InputWarning, match=r"0\.png has transparent pixels") as warned:
        assert values(open_frames(tmp_path)) == [90, 90]
    assert len(warned) == 1


def test_what_systems_leave_is_no_frame(tmp_path: Path):
    save(tmp_path / "0.png", 1)
    for name in ("._0.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert open_frames(tmp_path).names == ["0"]
