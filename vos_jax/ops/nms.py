"""Suppression of boxes that lie over a better one."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def suppress(
    boxes: Float[Array, "N 4"], valid: Bool[Array, " N"], iou: float = 0.4
) -> Bool[Array, " N"]:
    """Keeps each box that no better box, which is kept itself, covers.

    Costs N^2, and N steps.

    Args:
      boxes: (x0, y0, x1, y1), the best first. An area is (x1 - x0) (y1 - y0).
      valid: Boxes that there are.
      iou: The highest intersection over union with a better box.

    Returns:
      Which of the valid boxes are kept.
    """
    covers = _overlap_exceeds(boxes.astype(jnp.float32), iou)
    better = jnp.arange(boxes.shape[0])

    def decide(keep: Array, which: Array) -> tuple[Array, None]:
        covered = (keep & covers[which] & (better < which)).any()
        return keep.at[which].set(keep[which] & ~covered), None

    return lax.scan(decide, valid, better)[0]


def _overlap_exceeds(boxes: Float[Array, "N 4"], iou: float) -> Bool[Array, "N N"]:
    """Which pairs share more than that of their union; none that has no area."""
    start, end = boxes[:, :2], boxes[:, 2:]

    def area(start: Array, end: Array) -> Array:
        return jnp.maximum(end - start, 0).prod(-1)

    shared = area(
        jnp.maximum(start[:, None], start[None]), jnp.minimum(end[:, None], end[None])
    )
    own = area(start, end)
    union = own[:, None] + own[None] - shared
    return shared > iou * union
