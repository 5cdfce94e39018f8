"""White is parted from black where nothing else was drawn, and only there."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.media.drawn import LEFT, NOWHERE, SIZE, WHITE, compressed, values
from vos_jax.media.soft_edges import black_and_white, blended_values


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def smooth(factor: int, resampling: int) -> tuple[np.ndarray, np.ndarray]:
    """A polygon scaled down with smoothing, and where it is more than half white."""
    height, width = SIZE
    large = Image.new("L", (factor * width, factor * height))
    corners = np.array([(9, 50), (30, 7), (80, 20), (60, 58)]) * factor
    ImageDraw.Draw(large).polygon(corners.ravel().tolist(), fill=255)
    small = np.asarray(large.resize((width, height), resampling))
    return small, small >= 128


@pytest.mark.parametrize("quality", [35, 60, 85, 97])
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_compressed_white_is_what_was_white(quality: int, file_format: str):
    found = black_and_white(np.asarray(compressed(WHITE, quality, file_format)))
    assert found is not None and iou(found, LEFT) > 0.98


@pytest.mark.parametrize("resampling", list(Image.Resampling)[1:])
@pytest.mark.parametrize("factor", [3, 8])
def test_smoothed_edges_are_parted_at_the_middle(factor: int, resampling: int):
    grey, expected = smooth(factor, resampling)
    assert np.unique(grey).size > 2
    found = black_and_white(grey)
    assert found is not None and iou(found, expected) > 0.98


def test_a_blurred_edge_is_an_edge_and_a_blurred_dot_is_nothing_sure():
    blur = ImageFilter.GaussianBlur(2)
    found = black_and_white(np.asarray(Image.fromarray(WHITE).filter(blur)))
    assert found is not None and iou(found, LEFT) > 0.97
    dot = NOWHERE.copy()
    dot[20:22, 20:22] = True
    grey = np.asarray(Image.fromarray(dot * np.uint8(255)).filter(blur))
    assert black_and_white(grey) is None


def test_white_of_a_video_signal_is_white():
    found = black_and_white(np.where(LEFT, 235, 16).astype(np.uint8))
    assert np.array_equal(found, LEFT)


@pytest.mark.parametrize("second", [60, 100, 127, 180, 225, 240])
@pytest.mark.parametrize("quality", [50, 80, 100])
def test_a_second_pencil_is_never_lost(second: int, quality: int):
    grey = np.asarray(compressed(values(255, second), quality, "JPEG"))
    assert black_and_white(grey) is None


def test_a_faint_line_away_from_white_is_never_lost():
    grey = WHITE.copy()
    grey[60, 50:90] = 90
    assert black_and_white(grey) is None
    grey[60, 50:90] = 20
    assert black_and_white(grey) is None


def test_a_grey_line_apart_from_white_is_never_taken_for_white():
    grey = WHITE.copy()
    grey[58, 50:90] = 190
    assert black_and_white(grey) is None


def test_greys_of_everywhere_are_no_drawing():
    noise = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    assert black_and_white(noise) is None
    ramp = np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None].repeat(SIZE[0], 0)
    assert black_and_white(ramp) is None
    assert black_and_white(WHITE // 2) is None


def test_blends_have_darker_and_brighter_neighbours():
    grey = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.BoxBlur(1)))
    assert np.array_equal(blended_values(grey), np.unique(grey)[1:-1])
    assert not blended_values(values(100, 200)).size
    line = NOWHERE.astype(np.uint8)
    line[10, 5:40] = 90
    assert not blended_values(line).size
