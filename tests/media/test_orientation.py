import struct

import numpy as np
import pytest

from vos_jax.media.orientation import UPRIGHT, Orientation, from_matrix
from vos_jax.media.video_pixels import orientation_of

ONE = 1 << 16
# (a, b, c, d) of a display matrix; where the pixel (right, down) goes.
MATRICES = [
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (-1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, 1, 0),
    (0, 1, -1, 0),
    (0, -1, -1, 0),
]


def packed(a: float, b: float, c: float, d: float) -> bytes:
    entries = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    return struct.pack("=9i", *map(int, entries))


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_pixel_goes_where_the_matrix_says(matrix: tuple[int, int, int, int]):
    a, b, c, d = matrix
    stored = np.arange(6).reshape(2, 3)
    q, p = np.mgrid[:2, :3]
    right, down = a * p + c * q, b * p + d * q
    right, down = right - right.min(), down - down.min()
    expected = np.empty((down.max() + 1, right.max() + 1), int)
    expected[down, right] = stored
    orientation, slanted = from_matrix(packed(*matrix))
    assert not slanted
    assert np.array_equal(orientation.apply(stored), expected)
    assert orientation.size(2, 3) == expected.shape


def test_scaling_does_not_count():
    assert from_matrix(packed(2, 0, 0, 0.5)) == (UPRIGHT, False)
    assert from_matrix(packed(0, 0, 0, 0)) == (UPRIGHT, False)


@pytest.mark.parametrize(("degrees", "is_slanted"), [(0.3, False), (4, True)])
def test_a_slanted_matrix_is_told_from_a_straight_one(degrees: float, is_slanted: bool):
    cos, sin = np.cos(np.radians(90 + degrees)), np.sin(np.radians(90 + degrees))
    orientation, slanted = from_matrix(packed(cos, sin, -sin, cos))
    assert orientation == Orientation(True, False, True) and slanted == is_slanted


def test_a_frame_with_side_data_that_is_not_known_is_turned_by_its_angle():
    class Frame:
        rotation = -90

        @property
        def side_data(self) -> object:
            raise ValueError("31 is not a valid Type")

    orientation, slanted = orientation_of(Frame())
    assert orientation == Orientation(True, False, True) and not slanted
