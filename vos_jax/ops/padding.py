"""Padding to the stride of the network, and back."""

import jax.numpy as jnp
from jaxtyping import Array, Float

STRIDE = 16
"""Pixels along the side of a cell of a memory."""


def padding(size: int, multiple: int = STRIDE) -> tuple[int, int]:
    """Pixels to add before and after an axis of `size`; the odd one goes after.

    The rule of the released STM, HMMN and RDE-VOS programs.
    """
    total = -size % multiple
    return total // 2, total - total // 2


def grid_size(height: int, width: int, multiple: int = STRIDE) -> tuple[int, int]:
    """Rows and columns of cells of `multiple` pixels of what `pad` makes."""
    return -(-height // multiple), -(-width // multiple)


def pad(
    image: Float[Array, "*b H W C"], multiple: int = STRIDE
) -> Float[Array, "*b Hp Wp C"]:
    """Zero-pads height and width to the next multiple, evenly on both sides."""
    *leading, height, width, _ = image.shape
    rows, columns = padding(height, multiple), padding(width, multiple)
    return jnp.pad(image, [(0, 0)] * len(leading) + [rows, columns, (0, 0)])


def crop(
    image: Float[Array, "*b Hp Wp C"], height: int, width: int, multiple: int = STRIDE
) -> Float[Array, "*b H W C"]:
    """Undoes `pad` of an image that was `height` x `width`."""
    top, left = padding(height, multiple)[0], padding(width, multiple)[0]
    return image[..., top : top + height, left : left + width, :]
