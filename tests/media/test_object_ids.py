"""One grey or colour is one object in all the masks of a video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.drawn import (
    LEFT,
    NOWHERE,
    RIGHT,
    SIZE,
    WHITE,
    colours,
    compressed,
    indexed,
    labelled,
    save,
    values,
)
from vos_jax.errors import InputError, InputWarning
from vos_jax.media import read_given_masks

BOX = RIGHT * np.uint8(255)


@pytest.fixture
def read(tmp_path: Path):
    def read(*masks: Image.Image | np.ndarray) -> list[np.ndarray]:
        paths = [save(tmp_path / f"{i:05d}.png", mask) for i, mask in enumerate(masks)]
        return read_given_masks(paths, SIZE)

    return read


@pytest.mark.parametrize("first", [values(110, 255), values(110, 0)])
def test_a_later_white_is_the_object_that_white_is_in_all_files(read, first):
    with pytest.warns(InputWarning, match=r"00000\.png \(and 1 more\).*110 as 1"):
        found = read(first, BOX)
    assert np.array_equal(found[1], values(0, 2))
    assert (found[0][LEFT] == 1).all()


def test_black_files_among_others_are_all_0(read):
    found = read(NOWHERE, WHITE, indexed(NOWHERE, "black", "red"), BOX)
    assert [int(each.max()) for each in found] == [0, 1, 0, 1]


def test_soft_white_and_hard_white_are_one_object(read):
    with pytest.warns(InputWarning, match="one black-and-white drawing"):
        found = read(WHITE, compressed(BOX, 60, "JPEG"))
    assert [int(each.max()) for each in found] == [1, 1]


def test_other_greys_beside_soft_white_are_refused(read):
    with pytest.raises(InputError, match=r"00000\.png has the greys 128, but .*00001"):
        read(values(128, 0), compressed(BOX, 60, "JPEG"))


def test_white_beside_ids_is_taken_only_where_there_is_no_other_object(read):
    found = read(WHITE, labelled(values(0, 1)))
    assert np.array_equal(found[1], values(0, 1))
    for other in (values(1, 2), values(0, 2)):
        with pytest.raises(InputError, match="unclear which object is which"):
            read(WHITE, labelled(other))
        with pytest.raises(InputError, match="holds no object: its only value"):
            read(WHITE, other)


def test_a_colour_is_one_object_whatever_its_index(read):
    both = colours("red", "lime").quantize()
    one = colours("black", "lime").quantize()
    moved = indexed(values(0, 1), "black", "lime")
    ordered = indexed(values(1, 2), "black", "red", "lime")
    for files in ((both, one), (ordered, moved)):
        with pytest.warns(InputWarning) as notes:
            found = read(*files)
        assert "#ff0000 as 1, #00ff00 as 2" in str(notes[0].message)
        assert np.array_equal(found[0], values(1, 2))
        assert np.array_equal(found[1], values(0, 2))


def test_an_index_of_two_colours_is_refused(read):
    with pytest.raises(InputError, match=r"index 1 as #00ff00, but .* as #ff0000"):
        read(
            indexed(values(1, 0), "black", "red"),
            indexed(values(0, 1), "black", "lime"),
        )


def test_colours_of_the_davis_palette_are_its_ids(read):
    with pytest.warns(InputWarning, match="#800000 as 1, #000080 as 4"):
        found = read(labelled(values(1, 4)), colours("black", "navy"))
    assert np.array_equal(found[1], values(0, 4))
    with pytest.raises(InputError, match=r"00000\.png holds object ids and .* colours"):
        read(labelled(values(1, 4)), colours("black", "blue"))
    with pytest.raises(InputError, match=r"00000\.png holds object ids and .* colours"):
        read(values(1, 4), colours("black", "blue"))


def test_arrays_that_are_empty_say_nothing(tmp_path: Path):
    paths = [tmp_path / "0.npy", tmp_path / "1.npy"]
    np.save(paths[0], np.stack([NOWHERE, NOWHERE]))
    np.save(paths[1], np.stack([LEFT, RIGHT]))
    found = read_given_masks(paths, SIZE)
    assert not found[0].any() and np.array_equal(found[1], values(1, 2))
