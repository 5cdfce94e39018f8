"""ROI align: the part of a feature map that lies in a box, at a fixed size.

Both axes of a box are independent, so that pooling is a product with a row matrix and
one with a column matrix: static shapes, and no gather whose gradient is a scatter.

Letters beside the package's: `N` boxes, `s` side of what is pooled.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.scores import product_of

_SAMPLES = 2
"""Reads of a bin on each axis."""


def roi_align(
    feature: Float[Array, "h w C"],
    boxes: Float[Array, "N 4"],
    stride: int,
    size: int = 14,
    *,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "N {size} {size} C"]:
    """Pools a feature map in boxes.

    The aligned variant of Mask R-CNN's layer (He et al., ICCV 2017, sec. 3) with half
    a pixel between a pixel's edge and its centre: each of `size` x `size` bins is the
    mean of 2 x 2 bilinear reads. A read more than a cell off the map is 0; between the
    two it repeats the border.

    Costs `N s h w C` multiply-adds and the like for the other axis.

    Args:
      feature: Map of a whole frame.
      boxes: (x0, y0, x1, y1) in pixels of that frame; no minimum size, no rounding.
        Constants: no gradient flows to them.
      stride: Pixels of a cell.
      size: Of what is pooled.
      precision: Of the matrix products.

    Returns:
      Of the feature's type. A box that is off the map gives zeros.
    """
    height, width, _ = feature.shape
    boxes = lax.stop_gradient(boxes.astype(jnp.float32))
    matrix = jax.vmap(partial(_bins, size=size), (0, 0, None))
    start, end = boxes[:, :2] / stride - 0.5, boxes[:, 2:] / stride - 0.5
    columns = matrix(start[:, 0], end[:, 0], width).astype(feature.dtype)
    rows = matrix(start[:, 1], end[:, 1], height).astype(feature.dtype)
    pool = partial(_pool, precision)
    # What is left of the axis that goes first is short: let that be the longer one.
    if width > height:
        return pool(columns, rows, feature.swapaxes(0, 1)).swapaxes(1, 2)
    return pool(rows, columns, feature)


def _pool(
    precision: lax.PrecisionLike,
    first: Float[Array, "N s x"],
    second: Float[Array, "N s y"],
    feature: Float[Array, "x y C"],
) -> Float[Array, "N s s C"]:
    """One product for all boxes, then one for each bin of the first axis."""
    bands = product_of(precision, "nax,xyc->nayc", first, feature)
    # Repeated, so that no band is moved in memory.
    second = jnp.broadcast_to(second[:, None], (*first.shape[:2], *second.shape[1:]))
    pooled = product_of(
        precision, "naby,nayc->nabc", second, bands.astype(feature.dtype)
    )
    return pooled.astype(feature.dtype)


def roi_align_levels(
    levels: Sequence[Float[Array, "h w C"]],
    strides: Sequence[int],
    boxes: Float[Array, "N 4"],
    size: int = 14,
    *,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "N {size} {size} C"]:
    """Pools several maps of one frame and joins their channels, in the order given."""
    pooled = [
        roi_align(level, boxes, stride, size, precision=precision)
        for level, stride in zip(levels, strides, strict=True)
    ]
    return jnp.concatenate(pooled, axis=-1)


def _bins(
    start: Float[Array, ""], end: Float[Array, ""], length: int, size: int
) -> Float[Array, "{size} {length}"]:
    """What each bin of an axis takes of each cell; places are cells' centres."""
    count = _SAMPLES * size
    place = start + (jnp.arange(count) + 0.5) / count * (end - start)
    read = (place >= -1) & (place <= length)
    place = jnp.clip(place, 0, length - 1)
    distance = jnp.abs(place[:, None] - jnp.arange(length)[None])
    weight = jnp.where(read[:, None], jnp.maximum(1 - distance, 0), 0)
    return weight.reshape(size, _SAMPLES, length).mean(axis=1)
