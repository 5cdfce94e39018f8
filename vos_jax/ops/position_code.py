"""Sinusoidal codes of the places of a grid."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TEMPERATURE = 10000


def position_code(
    height: int, width: int, channels: int, *, normalize: bool = True
) -> Float[Array, "{height} {width} {channels}"]:
    """Fixed code of each cell: the first half of the channels tells its row.

        code_2k = sin(place / 10000^(2k / half)),   code_2k+1 = cos(the same)

    The code of DETR (Carion et al., ECCV 2020), which LCM (CVPR 2021) adds to its local
    keys (sec. 3.3, eqs. 3 and 4). Places count from 1; `half` is half of the channels.

    Args:
      height: Cells.
      width: Cells.
      channels: A multiple of 4.
      normalize: Places run up to 2 pi on every grid; else to its number of cells.

    Returns:
      float32, computed in float64.

    Raises:
      ValueError: The channels cannot be shared out.
    """
    if channels < 4 or channels % 4:
        raise ValueError(f"channels={channels}: use a multiple of 4")
    half = channels // 2
    shape = height, width, half
    row, column = (_code(size, half, normalize) for size in (height, width))
    halves = (
        jnp.broadcast_to(row[:, None], shape),
        jnp.broadcast_to(column[None], shape),
    )
    return jnp.concatenate(halves, axis=-1)


def _code(size: int, channels: int, normalize: bool) -> Float[np.ndarray, "size C"]:
    place = np.arange(1, size + 1, dtype=np.float64)
    if normalize:
        place *= 2 * np.pi / (size + 1e-6)
    angle = place[:, None] / _TEMPERATURE ** (np.arange(0, channels, 2) / channels)
    pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return pairs.reshape(size, channels).astype(np.float32)
