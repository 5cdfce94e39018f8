"""How stored pixels are turned and mirrored to be shown: one notion for all files.

Cameras store what the sensor saw and write beside it how to hold the picture: as a
number from 1 to 8 in EXIF or XMP, as a matrix in videos.
"""

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

# A matrix counts as slanted from about one degree on.
_SLANT = 0.02


class Orientation(NamedTuple):
    """The way from stored to shown pixels: transpose first, flip afterwards.

    Attributes:
      transposed: Rows become columns.
      flips_rows: Then top and bottom are exchanged.
      flips_columns: Then left and right are exchanged.
    """

    transposed: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the shown (height, width) of stored pixels of that size."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Turns `[H, W, ...]` upright; the result is contiguous."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        rows = slice(None, None, -1 if self.flips_rows else 1)
        columns = slice(None, None, -1 if self.flips_columns else 1)
        return np.ascontiguousarray(pixels[rows, columns])

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        """Turns an image upright; its mode and palette are kept."""
        for wanted, method in (
            (self.transposed, Image.Transpose.TRANSPOSE),
            (self.flips_rows, Image.Transpose.FLIP_TOP_BOTTOM),
            (self.flips_columns, Image.Transpose.FLIP_LEFT_RIGHT),
        ):
            if wanted:
                image = image.transpose(method)
        return image


UPRIGHT = Orientation()
"""Of frames that are shown as they are stored."""

# TIFF 6.0, tag 274: where the first row and the first column are shown.
_BY_NUMBER = {
    1: UPRIGHT,
    2: Orientation(False, False, True),
    3: Orientation(False, True, True),
    4: Orientation(False, True, False),
    5: Orientation(True, False, False),
    6: Orientation(True, False, True),
    7: Orientation(True, True, True),
    8: Orientation(True, True, False),
}


def from_number(number: object) -> Orientation | None:
    """Returns what a number of EXIF or XMP means; None where it is no orientation."""
    return _BY_NUMBER.get(number) if isinstance(number, int) else None


def from_matrix(matrix: bytes) -> tuple[Orientation, bool]:
    """Reads a display matrix of FFmpeg, nine native 32-bit integers in fixed point.

    With rows (a, b, u), (c, d, v), (x, y, w) the pixel (p, q), right and down, is shown
    at (a p + c q + x, b p + d q + y).

    Returns:
      The nearest orientation of right angles, and whether the matrix is slanted, that
      is whether the picture is shown at another angle.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    straight, turned = abs(a) + abs(d), abs(b) + abs(c)
    slanted = min(straight, turned) > _SLANT * max(straight, turned)
    if turned > straight:
        return Orientation(True, b < 0, c < 0), slanted
    return Orientation(False, d < 0, a < 0), slanted
