import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media.masks import (
    davis_palette,
    read_labels,
    read_one_hot,
    read_size,
    write_labels,
)

SIZE = (24, 40)


def two_objects(size: tuple[int, int] = SIZE) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[3:12, 4:20] = 1
    labels[14:22, 22:38] = 2
    return labels


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_palette_is_the_table_of_the_davis_files():
    palette = davis_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:11].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
        [192, 0, 0],
        [64, 128, 0],
    ]
    assert palette[255].tolist() == [224, 224, 192]


def test_all_256_labels_survive_a_round_trip(tmp_path: Path):
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_labels(tmp_path / "a.png", labels)
    assert np.array_equal(read_labels(tmp_path / "a.png"), labels)


def test_written_labels_are_an_8_bit_palette_png_with_all_colours(tmp_path: Path):
    write_labels(tmp_path / "a.png", two_objects().astype(np.int64))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.format == "PNG"
        assert image.getpalette() == davis_palette().ravel().tolist()
    assert os.listdir(tmp_path) == ["a.png"]


def test_labels_outside_uint8_are_not_wrapped(tmp_path: Path):
    with pytest.raises(ValueError, match=r"0\.\.255"):
        write_labels(tmp_path / "a.png", np.full(SIZE, 256))
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        write_labels(tmp_path / "a.png", np.zeros((2, 3, 4), np.uint8))


def test_the_index_counts_and_not_the_colour(tmp_path: Path):
    image = Image.fromarray(two_objects())
    image.putpalette([255, 255, 255] * 256)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png"), two_objects())


@pytest.mark.parametrize("bits", [2, 4])
def test_palette_files_of_few_bits_are_read(tmp_path: Path, bits: int):
    image = Image.fromarray(two_objects())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", bits=bits)
    assert np.array_equal(read_labels(tmp_path / "a.png"), two_objects())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_grey_files_give_their_values(tmp_path: Path, dtype: type):
    Image.fromarray(two_objects().astype(dtype)).save(tmp_path / "a.tif")
    assert np.array_equal(read_labels(tmp_path / "a.tif"), two_objects())


def test_fractional_values_are_refused(tmp_path: Path):
    Image.fromarray(two_objects().astype(np.float32) / 2).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="fractional"):
        read_labels(tmp_path / "a.tif")


def test_one_bit_files_give_one_object(tmp_path: Path):
    Image.fromarray(two_objects() > 0).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png"), two_objects() > 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_files_without_colours_are_grey(tmp_path: Path, mode: str):
    Image.fromarray(two_objects()).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png"), two_objects())


def test_colours_are_refused_even_if_they_are_those_of_the_palette(tmp_path: Path):
    Image.fromarray(davis_palette()[two_objects()]).save(tmp_path / "a.png")
    with pytest.raises(InputError) as error:
        read_labels(tmp_path / "a.png")
    message = one_line(error)
    assert "a.png has 3 distinct colours instead of labels" in message
    assert "indexed (palette) PNG" in message


def test_a_shape_that_is_only_in_the_transparency_is_refused(tmp_path: Path):
    pixels = np.full((*SIZE, 4), 255, np.uint8)
    pixels[..., 3] = two_objects() * 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="transparency"):
        read_labels(tmp_path / "a.png")


def test_ids_above_255_are_refused(tmp_path: Path):
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="values up to 300"):
        read_labels(tmp_path / "a.png")


def test_a_truncated_png_is_named_in_the_error(tmp_path: Path):
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 9, SIZE, np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError) as error:
        read_labels(path)
    assert "cut.png is damaged" in one_line(error)


def test_a_missing_file_a_folder_and_a_text_are_told_apart(tmp_path: Path):
    (tmp_path / "text.png").write_text("no pixels")
    for name, reason in [
        ("none.png", "does not exist"),
        (".", "is a folder"),
        ("text.png", "is not an image"),
    ]:
        with pytest.raises(InputError, match=reason):
            read_labels(tmp_path / name)
        with pytest.raises(InputError, match=reason):
            read_size(tmp_path / name)


def test_the_size_is_height_and_width(tmp_path: Path):
    write_labels(tmp_path / "a.png", two_objects())
    assert read_size(tmp_path / "a.png") == SIZE


def one_hot() -> np.ndarray:
    return np.stack([two_objects() == 1, two_objects() == 2])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_one_hot_arrays_become_labels(tmp_path: Path, dtype: type):
    np.save(tmp_path / "a.npy", one_hot().astype(dtype))
    assert np.array_equal(read_one_hot(tmp_path / "a.npy"), two_objects())


def test_an_npz_file_holds_one_array(tmp_path: Path):
    np.savez(tmp_path / "a.npz", one_hot())
    assert np.array_equal(read_one_hot(tmp_path / "a.npz"), two_objects())
    np.savez(tmp_path / "b.npz", one_hot(), one_hot())
    with pytest.raises(InputError, match="2 arrays"):
        read_one_hot(tmp_path / "b.npz")


def test_overlapping_objects_are_refused(tmp_path: Path):
    masks = one_hot()
    masks[1, 5, 5:8] = True
    np.save(tmp_path / "a.npy", masks)
    with pytest.raises(InputError, match="3 pixels in more than one object"):
        read_one_hot(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        (np.zeros((2, 4, 4), bool), "empty"),
        (np.zeros((255, 2, 2), bool), "255 objects"),
        (np.full((1, 4, 4), 0.5), "other than 0 and 1"),
        (np.zeros((4, 4), bool), r"\[objects, height, width\]"),
        (np.array([None]), "cannot be read"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(
    tmp_path: Path, masks: np.ndarray, reason: str
):
    np.save(tmp_path / "a.npy", masks, allow_pickle=True)
    with pytest.raises(InputError, match=reason) as error:
        read_one_hot(tmp_path / "a.npy")
    assert "a.npy" in one_line(error)


def test_a_write_that_hits_a_limit_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.png"
    write_labels(path, two_objects())
    noise = np.random.default_rng(0).integers(0, 255, (99, 99), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(InputError) as error:
            write_labels(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(path) in one_line(error)
    assert "free some space and run again, if it can with --resume" in one_line(error)
    assert np.array_equal(read_labels(path), two_objects())
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_full_disk_is_reported_with_its_remedy(tmp_path: Path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=r"a\.png: No space left .* free some space"):
        write_labels(tmp_path / "a.png", two_objects())


def test_a_missing_folder_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match="make the folder"):
        write_labels(tmp_path / "none" / "a.png", two_objects())
