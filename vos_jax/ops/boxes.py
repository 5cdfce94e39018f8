"""Boxes of masks, masks in boxes, and how far masks overlap.

A box is (x0, y0, x1, y1) in pixels; x1 and y1 lie one beyond the last pixel.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vos_jax.ops.scores import product_of


def tight_boxes(
    masks: Bool[Array, "*b H W"],
) -> tuple[Float[Array, "*b 4"], Bool[Array, "*b"]]:
    """The smallest box around each mask, float32, and whether it has any pixel.

    The box of an empty mask means nothing.
    """

    def ends(line: Bool[Array, "*b n"]) -> tuple[Array, Array]:
        last = jnp.argmax(line[..., ::-1], axis=-1)
        return jnp.argmax(line, axis=-1), line.shape[-1] - last

    columns, rows = masks.any(-2), masks.any(-1)
    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    return jnp.stack([x0, y0, x1, y1], -1).astype(jnp.float32), rows.any(-1)


def mask_overlaps(
    masks: Bool[Array, "O H W"], others: Bool[Array, "N H W"]
) -> Float[Array, "O N"]:
    """Intersection over union of each mask with each of others; 0 of empty ones."""
    one, other = (
        x.reshape(x.shape[0], -1).astype(jnp.float32) for x in (masks, others)
    )
    common = product_of("highest", "op,np->on", one, other)
    joint = one.sum(1)[:, None] + other.sum(1)[None] - common
    return common / jnp.maximum(joint, 1)


def enlarge(boxes: Float[Array, "*b 4"], share: float) -> Float[Array, "*b 4"]:
    """Moves every side of the boxes outwards by a share of their sizes."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes + share * jnp.concatenate([-size, size], axis=-1)


def paste(
    maps: Float[Array, "O s s"], boxes: Float[Array, "O 4"], height: int, width: int
) -> Float[Array, "O {height} {width}"]:
    """Enlarges each map to its box in a frame, bilinearly; 0 outside of the box.

    Centres of the map's cells are half a cell from its edges, beyond which they are
    repeated; a pixel belongs to the box by its own centre.
    """
    size = maps.shape[-1]

    def matrix(start: Array, end: Array, length: int) -> Float[Array, "length s"]:
        centre = jnp.arange(length) + 0.5
        extent = jnp.maximum(end - start, 1e-6)
        place = jnp.clip((centre - start) / extent * size - 0.5, 0, size - 1)
        near = jnp.maximum(1 - jnp.abs(place[:, None] - jnp.arange(size)[None]), 0)
        return near * ((centre >= start) & (centre <= end))[:, None]

    each = jax.vmap(matrix, (0, 0, None))
    rows = each(boxes[:, 1], boxes[:, 3], height)
    columns = each(boxes[:, 0], boxes[:, 2], width)
    product = partial(product_of, "highest")
    return product("oxt,oyt->oyx", columns, product("oys,ost->oyt", rows, maps))
