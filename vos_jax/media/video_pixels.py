"""A decoded frame of a video as pixels to be seen: upright, RGB, 8 bits."""

from typing import Any

import numpy as np

from vos_jax.media.orientation import UPRIGHT, Orientation, from_matrix

_GREY = ("gray", "ya")
# By quarter turns to the left.
_BY_QUARTERS = (
    UPRIGHT,
    Orientation(transposed=True, flips_rows=True),
    Orientation(flips_rows=True, flips_columns=True),
    Orientation(transposed=True, flips_columns=True),
)


def orientation_of(frame: Any) -> tuple[Orientation, bool]:
    """Returns how a frame is turned, and whether at an angle that is no right one."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV does not know some kind of side data; it still knows the angle.
        quarters = round(frame.rotation / 90) % 4
        return _BY_QUARTERS[quarters], frame.rotation % 90 != 0
    return (UPRIGHT, False) if matrix is None else from_matrix(bytes(matrix))


def depth(frame: Any) -> int:
    """Returns the bits of a value of grey and RGB formats, 8 for all others."""
    grey_or_rgb = frame.format.is_rgb or frame.format.name.startswith(_GREY)
    bits = frame.format.components[0].bits
    return bits if grey_or_rgb and 8 < bits <= 16 else 8


def deep_values(frame: Any) -> np.ndarray:
    """Returns values of more than 8 bits, scaled to 16, `uint16 [H, W (, 3)]`."""
    is_rgb = frame.format.is_rgb
    return frame.to_ndarray(format="rgb48le" if is_rgb else "gray16le")


def upright_rgb(frame: Any, table: np.ndarray | None) -> np.ndarray:
    """Converts a frame to `uint8 [H, W, 3]`.

    Args:
      frame: As decoded.
      table: What to show for each of `deep_values`; None to leave it to FFmpeg.
    """
    if table is None:
        pixels = frame.to_ndarray(format="rgb24")
    else:
        pixels = table[deep_values(frame)]
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
    return orientation_of(frame)[0].apply(pixels)
