"""Reading frames and masks: whatever is wrong with a file is said by its name."""

import pickle

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.layouts import (
    damage,
    frame_pixels,
    label_pixels,
    write_frame,
    write_grey,
    write_palette,
)
from vos_jax.data.sources.files import read_frame
from vos_jax.data.sources.videos import open_davis2017
from vos_jax.errors import InputError


@pytest.fixture
def dogs(davis2017):
    """The folders of a video's frames and masks, and what reads its frames 1 and 2."""
    source = open_davis2017(davis2017, split="val")
    files = source.files[0]
    return files.frame_folder, files.mask_folder, lambda: source.read(0, [1, 2])


def test_opening_decodes_no_image(davis2017):
    for path in davis2017.rglob("*.*g"):
        path.write_bytes(b"")
    source = open_davis2017(davis2017)
    with pytest.raises(InputError, match=r"sheep/00000\.jpg is not an image"):
        source.read(0, [0])


def test_a_source_survives_pickling(davis2017):
    source = open_davis2017(davis2017)
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    np.testing.assert_array_equal(copy.read(0, [1]).frames, source.read(0, [1]).frames)


def test_a_corrupt_jpeg_is_named(dogs):
    frames, _, read = dogs
    damage(frames / "00002.jpg")
    with pytest.raises(InputError, match=r"JPEGImages/480p/dogs/00002\.jpg is damaged"):
        read()


def test_a_corrupt_png_is_named(dogs):
    _, masks, read = dogs
    damage(masks / "00001.png")
    with pytest.raises(
        InputError, match=r"Annotations/480p/dogs/00001\.png is damaged"
    ):
        read()


@pytest.mark.parametrize(("kind", "name"), [(0, "00001.jpg"), (1, "00002.png")])
def test_a_file_that_vanished_after_opening_is_named(dogs, kind, name):
    (dogs[kind] / name).unlink()
    with pytest.raises(InputError, match=rf"dogs/{name} does not exist"):
        dogs[2]()


def test_a_mask_of_another_size_than_its_frame_is_named(dogs):
    _, masks, read = dogs
    write_palette(masks / "00002.png", label_pixels(1, size=(24, 30)))
    with pytest.raises(
        InputError, match=r"00002\.png is 30x24 but .*00002\.jpg is 32x24"
    ):
        read()


def test_frames_that_differ_in_size_are_both_named(dogs):
    frames, masks, read = dogs
    write_frame(frames / "00002.jpg", size=(20, 32))
    write_palette(masks / "00002.png", label_pixels(1, size=(20, 32)))
    found = r"00002\.jpg is 32x20 but .*00001\.jpg is 32x24; scale"
    with pytest.raises(InputError, match=found):
        read()


def test_a_grey_mask_where_ids_are_expected_is_refused(dogs):
    _, masks, read = dogs
    write_grey(masks / "00002.png", label_pixels(255))
    with pytest.raises(InputError, match=r"00002\.png is a grey mask of 0 and 255"):
        read()


def test_a_palette_mask_of_nothing_but_void_is_accepted(dogs):
    _, masks, read = dogs
    write_palette(masks / "00002.png", label_pixels(255))
    np.testing.assert_array_equal(read().labels[1], label_pixels(255))


def test_a_frame_of_16_bits_is_refused(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(path)
    with pytest.raises(InputError, match=r"deep\.png has pixels of mode I;16"):
        read_frame(path)


def test_a_grey_photograph_becomes_rgb(tmp_path):
    path = tmp_path / "grey.jpg"
    Image.fromarray(frame_pixels(3)[..., 0]).save(path, quality=95)
    np.testing.assert_array_equal(read_frame(path), frame_pixels(3))
