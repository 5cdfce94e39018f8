import warnings

import numpy as np
import pytest

from vos_jax.errors import InputWarning
from vos_jax.media.tones import count_values, high_byte_table, tone_table


def counted(*frames: object) -> np.ndarray:
    return count_values(np.asarray(frame, np.uint16) for frame in frames)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(0, 65536, 7), id="all"),
        pytest.param(np.arange(20000, 54000), id="half"),
        pytest.param(np.full(9, 51200), id="constant"),
        pytest.param([], id="nothing"),
    ],
)
def test_values_that_fill_their_range_are_left_to_the_high_byte(values: object):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tone_table(counted(values), "x") is None


def test_a_narrow_range_is_stretched_over_all_frames():
    with pytest.warns(InputWarning, match="scan uses a small part of its 16-bit range"):
        table = tone_table(counted(np.arange(800, 1000), np.arange(1000, 1801)), "scan")
    assert table is not None and table.dtype == np.uint8
    assert table[[0, 800, 1300, 1800, 65535]].tolist() == [0, 0, 128, 255, 255]


def test_a_dead_pixel_does_not_flatten_the_picture():
    scene = np.random.default_rng(0).integers(7000, 8000, 100_000)
    with pytest.warns(InputWarning):
        table = tone_table(counted(scene, [0, 65535]), "x")
    assert table is not None
    assert int(table[7990]) - int(table[7010]) > 120


def test_something_small_and_hot_stays_apart():
    with pytest.warns(InputWarning):
        table = tone_table(counted(np.full(100_000, 300), np.full(5, 900)), "x")
    assert table is not None and int(table[900]) - int(table[300]) > 200


def test_the_warning_counts_in_the_bits_of_the_file():
    with pytest.warns(InputWarning, match="10-bit range: 100 to 300 is"):
        tone_table(counted(np.arange(100, 301) << 6), "x", bits=10)


def test_the_plain_table_is_the_high_byte():
    values = np.array([0, 255, 256, 51200, 65535])
    assert high_byte_table()[values].tolist() == [0, 0, 1, 200, 255]
