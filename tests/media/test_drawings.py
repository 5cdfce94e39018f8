"""What a mask file shows: its indices, or its colours where they contradict them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.media.drawn import (
    LEFT,
    RIGHT,
    SIZE,
    WHITE,
    colours,
    indexed,
    labelled,
    values,
)
from vos_jax.errors import InputError
from vos_jax.media.drawings import Drawing, read_drawing


def read(folder: Path, image: Image.Image, suffix: str = ".png", **options) -> Drawing:
    path = folder / f"mask{suffix}"
    image.save(path, **options)
    return read_drawing(path)


@pytest.mark.parametrize(
    "palette",
    [
        ["black", "red", "lime"],
        ["black", "maroon", "green"],
        ["black", "white", "gray"],
        ["#030303", "blue", "#0a0000"],
        ["black", "red", "red"],
        ["white"] * 3,
    ],
)
def test_indices_count_where_index_0_alone_is_black_or_colours_say_nothing(
    tmp_path: Path, palette: list[str]
):
    drawing = read(tmp_path, indexed(values(1, 2), *palette))
    assert (drawing.kind, drawing.note) == ("ids", "")
    assert np.array_equal(drawing.pixels, values(1, 2))


def test_the_official_palette_is_believed_even_without_background(tmp_path: Path):
    drawing = read(tmp_path, labelled(values(8, 7, ground=255)))
    assert (drawing.kind, drawing.note) == ("ids", "")


def test_an_index_without_a_colour_is_an_id(tmp_path: Path):
    image = Image.fromarray(values(1, 5))
    image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 750)
    assert read(tmp_path, image).kind == "ids"


@pytest.mark.parametrize("palette", [["white", "black"], ["#e6e6e6", "#101010"]])
def test_white_first_shows_what_is_white(tmp_path: Path, palette: list[str]):
    drawing = read(tmp_path, indexed(~LEFT, *palette), bits=1)
    assert drawing.kind == "grey" and "colours of its palette" in drawing.note
    assert (drawing.pixels[LEFT] > 200).all() and (drawing.pixels[~LEFT] < 20).all()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_colours_ordered_by_frequency_are_taken_as_colours(tmp_path: Path, suffix: str):
    drawing = read(tmp_path, colours("yellow", "blue").quantize(), suffix)
    assert drawing.kind == "colour" and "colours of its palette" in drawing.note
    assert drawing.colours is not None
    assert np.array_equal(
        drawing.colours[drawing.pixels], np.asarray(colours("yellow", "blue"))
    )


def test_a_smooth_drawing_with_a_palette_shows_greys(tmp_path: Path):
    large = Image.new("L", (4 * SIZE[1], 4 * SIZE[0]))
    ImageDraw.Draw(large).ellipse((60, 60, 260, 200), fill=255)
    grey = large.resize(SIZE[::-1], Image.Resampling.BICUBIC)
    for image in (grey.convert("P"), grey.quantize(16), grey.quantize(16, 2)):
        drawing = read(tmp_path, image)
        assert drawing.kind == "grey"
        shown = np.asarray(image.convert("L")).astype(int)
        assert abs(drawing.pixels - shown).max() <= 1


def test_a_drawing_on_white_whose_index_0_is_the_white_keeps_its_indices(
    tmp_path: Path,
):
    drawing = read(tmp_path, indexed(values(1, 2), "white", "black", "red"))
    assert drawing.kind == "ids" and "#ffffff, is taken as background" in drawing.note


@pytest.mark.parametrize(
    ("indices", "palette", "reason"),
    [
        (values(1, 2), ["black", "black", "red"], "same black at index 0 and at .* 1"),
        (values(0, 2, ground=1), ["red", "black", "#020000"], "more than one is black"),
    ],
)
def test_two_blacks_are_refused(tmp_path: Path, indices, palette, reason):
    with pytest.raises(InputError, match=reason):
        read(tmp_path, indexed(indices, *palette))


def test_an_index_0_that_is_neither_black_nor_around_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no index is black"):
        read(tmp_path, indexed(values(0, 2, ground=1), "red", "navy", "lime"))


def test_dithered_and_smoothed_colours_are_refused(tmp_path: Path):
    dithered = colours("#a05a2c", "#123456").convert("P")
    soft = colours("red", "lime").resize((300, 200)).resize(SIZE[::-1])
    for image in (dithered, soft.quantize(16, 2), soft.quantize(32, 2)):
        with pytest.raises(InputError, match="soft"):
            read(tmp_path, image)


def test_a_transparent_index_is_background(tmp_path: Path):
    image = indexed(values(1, 2), "white", "red", "lime")
    drawing = read(tmp_path, image, transparency=0)
    assert (drawing.kind, drawing.note) == ("ids", "")
    image = indexed(values(0, 1, ground=2), "red", "lime", "white")
    drawing = read(tmp_path, image, transparency=2)
    assert drawing.kind == "colour"


def test_a_ramp_of_greys_is_no_palette_but_grey(tmp_path: Path):
    drawing = read(tmp_path, Image.fromarray(values(60, 255)).convert("P"))
    assert drawing.kind == "grey"
    assert np.array_equal(drawing.pixels, values(60, 255))


def test_255_beside_great_indices_is_no_ignore(tmp_path: Path):
    palette = ["black"] + ["red"] * 100 + ["white"] * 155
    assert read(tmp_path, indexed(values(90, 255), *palette)).kind == "colour"


def test_a_shape_in_the_transparency_is_shown_on_black(tmp_path: Path):
    white = np.full((*SIZE, 4), 255, np.uint8)
    white[..., 3] = WHITE
    drawing = read(tmp_path, Image.fromarray(white))
    assert drawing.kind == "grey" and "transparent parts" in drawing.note
    assert np.array_equal(drawing.pixels, WHITE)
    black = white.copy()
    black[LEFT, :3] = 0
    with pytest.raises(InputError, match="shape in the transparency"):
        read(tmp_path, Image.fromarray(black))
    black[RIGHT] = 255
    with pytest.raises(InputError, match="transparent and black parts"):
        read(tmp_path, Image.fromarray(black))


def test_16_bits_of_8_are_8_bits(tmp_path: Path):
    drawing = read(tmp_path, Image.fromarray(values(1, 3).astype(np.uint16) * 257))
    assert np.array_equal(drawing.pixels, values(1, 3)) and "times 257" in drawing.note
    drawing = read(tmp_path, Image.fromarray(WHITE.astype(np.uint16) * 257))
    assert np.array_equal(drawing.pixels, WHITE) and not drawing.note
    with pytest.raises(InputError, match="values up to 900"):
        read(tmp_path, Image.fromarray(values(100, 225).astype(np.uint16) * 4))


def test_fractions_are_greys_that_are_not_exact(tmp_path: Path):
    drawing = read(tmp_path, Image.fromarray(np.float32(WHITE) / 510), ".tif")
    assert drawing.pixels.max() == 128 and not drawing.exact
    with pytest.raises(InputError, match="fractional"):
        read(tmp_path, Image.fromarray(np.float32(WHITE) / 2), ".tif")


def test_several_pictures_in_one_file_are_refused(tmp_path: Path):
    frames = [Image.fromarray(RIGHT * np.uint8(255))]
    for suffix in (".gif", ".tif", ".png"):
        with pytest.raises(InputError, match="holds 2 pictures"):
            read(
                tmp_path,
                Image.fromarray(WHITE),
                suffix,
                save_all=True,
                append_images=frames,
            )
