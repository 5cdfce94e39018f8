"""Colours and blur: what is drawn, what it does to a frame."""

import numpy as np
import pytest
from PIL import Image

from vos_jax.data.colour import MEAN_COLOUR, Blur, Colour, recolour
from vos_jax.errors import InputError

SIZE = (40, 56)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_no_change_of_colour_keeps_every_value():
    frame = Image.fromarray(rng().integers(0, 256, (*SIZE, 3), np.uint8))
    drawn = recolour(frame, Colour().draw(rng()), Blur().draw(rng()))
    np.testing.assert_array_equal(drawn, frame)


def test_grey_has_equal_channels_and_keeps_the_luminance():
    frame = rng().integers(0, 256, (*SIZE, 3), np.uint8)
    grey = recolour(Image.fromarray(frame), Colour(grey=1).draw(rng()), 0)
    assert np.ptp(grey.astype(int), axis=-1).max() == 0
    luminance = frame @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(grey[..., 0], luminance, atol=1)


def test_a_hue_turns_colours_and_keeps_luminance_and_greys():
    for seed in range(20):
        matrix = Colour(hue=0.5).draw(rng(seed))
        np.testing.assert_allclose(matrix @ (90, 90, 90, 1), (90, 90, 90, 1), atol=0.5)
        weights = np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(weights @ matrix[:3, :3], weights, atol=1e-12)
    assert not np.allclose(matrix @ (200, 0, 0, 1), (200, 0, 0, 1), atol=10)


def test_brightness_scales_and_contrast_keeps_the_mean_grey():
    bright = [Colour(brightness=0.4).draw(rng(seed))[0, 0] for seed in range(200)]
    assert 0.6 <= min(bright) < 0.65
    assert 1.35 < max(bright) <= 1.4
    mean = np.array([0.299, 0.587, 0.114]) @ MEAN_COLOUR
    matrix = Colour(contrast=0.5).draw(rng(1))
    np.testing.assert_allclose(matrix @ (mean, mean, mean, 1), (mean, mean, mean, 1))


def test_changes_of_colour_beyond_a_byte_are_cut_off():
    frame = Image.new("RGB", (4, 4), (250, 10, 128))
    matrix = np.diag([2.0, 1, 1, 1])
    matrix[1, 3] = -50
    assert (recolour(frame, matrix, 0) == (255, 0, 128)).all()


def test_a_blur_smooths():
    frame = Image.fromarray(rng().integers(0, 256, (*SIZE, 3), np.uint8))
    blurred = recolour(frame, np.eye(4), 2.0)
    assert blurred.std() < 0.5 * np.array(frame).std()
    some = Blur(probability=0.5, sigma=(1, 2))
    drawn = np.array([some.draw(rng(seed)) for seed in range(200)])
    assert 0.4 < np.mean(drawn > 0) < 0.6
    assert drawn[drawn > 0].min() >= 1
    assert drawn.max() <= 2


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Colour(saturation=-0.1), "Colour saturation=-0.1"),
        (lambda: Colour(grey=2), "Colour grey=2"),
        (lambda: Blur(sigma=(-1, 2)), r"Blur sigma=\(-1, 2\)"),
        (lambda: Blur(sigma=(1.0,)), r"Blur sigma=\(1.0,\): use two numbers"),
        (lambda: Blur(probability="a"), "Blur probability='a'"),
    ],
)
def test_a_setting_out_of_range_is_named(make, named):
    with pytest.raises(InputError, match=named) as error:
        make()
    assert "\n" not in str(error.value)
