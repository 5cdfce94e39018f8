"""Grey masks and ids: which is which is told, and never guessed."""

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.layouts import label_pixels, write_grey, write_palette
from vos_jax.data.sources.labels import READERS, read_grey, read_ids, read_one_object
from vos_jax.errors import InputError

RAMP = np.tile(np.arange(256, dtype=np.uint8), (2, 1))


def test_grey_masks_are_cut_at_half_of_white(tmp_path):
    path = write_grey(tmp_path / "ramp.png", RAMP)
    np.testing.assert_array_equal(read_grey(path), RAMP > 127)
    assert read_grey(path).dtype == np.uint8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_a_black_and_white_mask_is_read_in_every_mode(tmp_path, mode):
    path = tmp_path / "mask.png"
    Image.fromarray(label_pixels(255)).convert(mode).save(path)
    np.testing.assert_array_equal(read_grey(path), label_pixels(1))


def test_an_empty_grey_mask_has_no_object(tmp_path):
    assert not read_grey(write_grey(tmp_path / "black.png", label_pixels(0))).any()


def test_ids_where_a_grey_mask_is_expected_are_refused(tmp_path):
    path = write_palette(tmp_path / "a.png", label_pixels(1, 2))
    with pytest.raises(InputError, match=r"a\.png is a palette PNG of colours, where"):
        read_grey(path)
    path = write_grey(tmp_path / "b.png", label_pixels(1, 2))
    with pytest.raises(InputError, match=r"b\.png is no brighter than 2, where"):
        read_grey(path)


def test_a_mask_that_few_raters_agree_on_is_none(tmp_path):
    for rating in (21, 64):
        path = write_grey(tmp_path / "rated.png", label_pixels(rating))
        assert not read_grey(path).any()


def test_ids_are_palette_indices_or_grey_values(tmp_path):
    labels = label_pixels(7, 3, 255)
    for write in (write_palette, write_grey):
        path = write(tmp_path / "ids.png", labels)
        np.testing.assert_array_equal(read_ids(path), labels)


def test_one_object_is_whatever_is_not_background(tmp_path):
    path = write_palette(tmp_path / "ids.png", label_pixels(7, 3))
    np.testing.assert_array_equal(read_one_object(path), label_pixels(1, 1))


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_mask_is_named(tmp_path, kind):
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        READERS[kind](tmp_path / "gone.png")
