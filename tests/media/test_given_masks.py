"""What a mask means that a person gives, alone."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.media.drawn import (
    LEFT,
    NOWHERE,
    RIGHT,
    SIZE,
    WHITE,
    colours,
    compressed,
    indexed,
    save,
    scaled,
    values,
)
from vos_jax.errors import InputError, InputWarning
from vos_jax.media import read_first_mask, write_labels


@pytest.fixture
def told(tmp_path: Path):
    """Saves a mask and reads it: labels and what was said."""

    def read(image: Image.Image | np.ndarray, suffix: str = ".png", **options):
        path = save(tmp_path / f"mask{suffix}", image, **options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            labels = read_first_mask(path, SIZE)
        assert all(each.category is InputWarning for each in caught)
        return labels, [str(each.message) for each in caught]

    return read


def test_the_first_mask_keeps_ids_and_ignore(tmp_path: Path):
    labels = values(1, 7)
    labels[0] = 255
    write_labels(tmp_path / "a.png", labels)
    assert np.array_equal(read_first_mask(tmp_path / "a.png", SIZE), labels)


@pytest.mark.parametrize(
    "image",
    [
        WHITE,
        LEFT,
        WHITE.astype(np.uint16) * 257,
        LEFT.astype(np.float32),
        indexed(LEFT, "black", "white"),
        Image.fromarray(WHITE).convert("RGB"),
        Image.fromarray(WHITE).convert("LA"),
        Image.fromarray(WHITE).convert("P"),
    ],
)
def test_black_and_white_of_any_format_is_object_1_without_a_word(told, image):
    labels, notes = told(image, ".tif")
    assert np.array_equal(labels, LEFT) and not notes


@pytest.mark.parametrize(
    "labels",
    [
        values(1, 2),
        values(3, 255),
        values(4, 20),
        values(50, 200),
        values(128, 0),
        values(30, 31),
        values(2, 1, ground=3),
    ],
)
def test_grey_label_maps_are_as_they_are_without_a_word(told, labels):
    found, notes = told(labels)
    assert np.array_equal(found, labels) and not notes


@pytest.mark.parametrize("pair", [(90, 255), (127, 255), (200, 255), (30, 255)])
def test_white_beside_other_greys_is_an_object_and_not_ignore(told, pair):
    labels, notes = told(values(*pair))
    assert np.array_equal(labels, values(1, 2))
    assert len(notes) == 1 and f"{pair[0]} as 1, 255 as 2" in notes[0]


def test_greys_too_near_to_white_are_refused(told):
    with pytest.raises(InputError, match="255 may be an object or mean ignore"):
        told(values(243, 255))


def test_soft_and_compressed_edges_are_parted_and_told(told):
    for image in (
        compressed(WHITE, 95, "JPEG"),
        scaled(WHITE, 2.5, Image.Resampling.BOX),
        scaled(WHITE, 0.5, Image.Resampling.BICUBIC),
        compressed(WHITE, 70, "WEBP").quantize(),
    ):
        labels, notes = told(image)
        assert set(np.unique(labels)) == {0, 1}
        assert (labels != LEFT).sum() < 60
        assert len(notes) == 1 and "one black-and-white drawing" in notes[0]
    labels, notes = told(WHITE, ".jpg", quality=100)
    assert np.array_equal(labels, LEFT) and len(notes) == 1


def test_an_anti_aliased_mask_is_parted_at_the_middle(told):
    large = Image.new("L", (4 * SIZE[1], 4 * SIZE[0]))
    ImageDraw.Draw(large).ellipse((40, 40, 240, 200), fill=255)
    small = large.resize(SIZE[::-1], Image.Resampling.BOX)
    labels, notes = told(small)
    assert np.array_equal(labels, np.asarray(small) >= 128) and len(notes) == 1


@pytest.mark.parametrize("quality", [60, 100])
def test_ids_and_several_greys_do_not_survive_compression(told, quality: int):
    for pair in ((127, 255), (1, 2), (1, 0)):
        with pytest.raises(InputError, match="soft"):
            told(values(*pair), ".jpg", quality=quality)


def test_webp_is_exact_only_without_loss(told):
    labels, notes = told(values(1, 2), ".webp", lossless=True)
    assert np.array_equal(labels, values(1, 2)) and not notes
    with pytest.raises(InputError, match="soft"):
        told(values(1, 2), ".webp", quality=40)


def test_smooth_edges_between_several_greys_are_refused(told):
    for pair in ((127, 255), (80, 160)):
        grey = scaled(values(*pair), 0.5, Image.Resampling.BILINEAR)
        for image in (grey, grey.quantize(32)):
            with pytest.raises(InputError, match=r"soft .* without anti-aliasing"):
                told(image)


def test_a_label_map_that_was_scaled_with_smoothing_is_refused(told):
    for resampling in (Image.Resampling.BOX, Image.Resampling.LANCZOS):
        with pytest.raises(InputError, match="soft"):
            told(scaled(values(9, 4), 2.5, resampling))
    specks = NOWHERE.copy()
    specks[9:180:6, 7:90:5] = True
    with pytest.raises(InputError, match="soft"):
        told(scaled(specks * np.uint8(12), 0.5, Image.Resampling.BICUBIC))


def test_noise_of_compression_is_no_object(told):
    for white in (128, 200):
        with pytest.raises(InputError, match="soft"):
            told(compressed(WHITE // 255 * np.uint8(white), 85, "JPEG"))


def test_what_is_white_in_a_palette_is_the_object(told):
    for image in (
        indexed(~LEFT, "white", "black"),
        Image.fromarray(WHITE).quantize(),
        Image.fromarray(WHITE).convert("P", palette=Image.Palette.ADAPTIVE),
    ):
        labels, notes = told(image)
        assert np.array_equal(labels, LEFT) and len(notes) == 1


def test_a_white_ground_is_refused_as_inverted(told):
    one_bit = Image.fromarray(~LEFT)
    assert one_bit.mode == "1"
    palette = indexed(~LEFT, "black", "white")
    for image in (255 - WHITE, one_bit, palette, values(0, 127, 255)):
        with pytest.raises(InputError, match="may be inverted"):
            told(image)


def test_an_object_over_most_of_the_border_is_told(told):
    ground = 255 - WHITE
    ground[20:40, :30] = 0
    labels, notes = told(ground)
    assert np.array_equal(labels, ground > 0)
    assert "most of its border" in notes[0]


def test_flat_colours_on_black_are_objects_red_before_green_before_blue(told):
    for pair, expected in [
        (("red", "lime"), (1, 2)),
        (("blue", "lime"), (2, 1)),
        (("blue", "yellow"), (2, 1)),
        (("navy", "green"), (4, 2)),
    ]:
        labels, notes = told(colours(*pair))
        assert np.array_equal(labels, values(*expected))
        assert "colours are taken as objects" in notes[-1]


def test_colours_that_run_into_one_another_are_refused(told):
    soft = colours("red", "lime").resize((300, 200)).resize(SIZE[::-1])
    for image in (soft, colours("red", "#f00000")):
        with pytest.raises(InputError, match="distinct colours instead of labels"):
            told(image)
    with pytest.raises(InputError, match="no black background"):
        told(colours("red", "lime", ground="white"))


def test_a_file_of_ignore_only_holds_no_object(told, tmp_path: Path):
    write_labels(tmp_path / "a.png", WHITE)
    with pytest.raises(InputError, match="holds no object"):
        read_first_mask(tmp_path / "a.png", SIZE)


def test_an_empty_first_mask_is_refused(told):
    for image in (NOWHERE, indexed(NOWHERE, "black", "white"), values(0, 0)):
        with pytest.raises(InputError, match=r"mask\.png is empty"):
            told(image)


def test_another_size_than_the_frames_names_both(tmp_path: Path):
    write_labels(tmp_path / "a.png", values(1, 2))
    with pytest.raises(InputError, match=r"96x64 .* 80x48") as error:
        read_first_mask(tmp_path / "a.png", (48, 80))
    assert "\n" not in str(error.value)


def test_tiny_objects_in_a_row_of_ids_are_not_taken_for_soft(tmp_path: Path):
    labels = np.zeros(SIZE, np.uint8)
    labels[5, 5:13] = np.arange(1, 9)
    for path in (tmp_path / "grey.png", tmp_path / "palette.png"):
        Image.fromarray(labels).save(path)
        write_labels(tmp_path / "palette.png", labels)
        assert np.array_equal(read_first_mask(path, SIZE), labels)


def test_arrays_may_be_given_too(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.stack([LEFT, RIGHT]))
    found = read_first_mask(tmp_path / "a.npy", SIZE)
    assert np.array_equal(found, values(1, 2))
