"""What training minimises and watches: losses and IoU of one frame, all in float32.

A pixel counts unless its label is `IGNORE`. Every mean is over what counts, so ignored
pixels, and slots that hold no object, change nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from vos_jax.types import IGNORE


class PixelLosses(NamedTuple):
    """Losses of a frame's pixels.

    Attributes:
      value: 0 where the pixel does not count.
      counted: Which pixels count.
    """

    value: Float[Array, "H W"]
    counted: Bool[Array, "H W"]


class Overlap(NamedTuple):
    """IoU of each object slot.

    Attributes:
      value: From 0 to 1; 0 where the slot does not count.
      counted: Slots whose object shows in the frame.
    """

    value: Float[Array, " O"]
    counted: Bool[Array, " O"]


def known_labels(
    labels: Int[Array, "*b H W"], valid: Bool[Array, " O"]
) -> Int[Array, "*b H W"]:
    """Makes every label that is neither background nor a valid object `IGNORE`."""
    ids = jnp.arange(1, valid.shape[0] + 1)
    is_object = labels[..., None] == ids.reshape((1,) * labels.ndim + (-1,))
    is_object &= valid.reshape((1,) * labels.ndim + (-1,))
    known = (labels == 0) | is_object.any(-1)
    return jnp.where(known, labels, jnp.array(IGNORE, labels.dtype))


def cross_entropy(
    logits: Float[Array, "O+1 H W"], labels: Int[Array, "H W"]
) -> PixelLosses:
    """Cross entropy of background and objects at every pixel.

    Args:
      logits: As `soft_aggregate` gives them: the lowest finite number for a free slot,
        to which no label may point (see `known_labels`).
      labels: 0 to O, or `IGNORE`.
    """
    logits = logits.astype(jnp.float32)
    ids = jnp.arange(logits.shape[0])[:, None, None]
    # By selection, not by a gather, whose gradient is a scatter; and never times 0,
    # which would be NaN beside a lowest logit that overflowed.
    own = jnp.where(labels[None] == ids, logits, 0).sum(0)
    counted = labels != IGNORE
    value = jnp.where(counted, jax.nn.logsumexp(logits, axis=0) - own, 0)
    return PixelLosses(value, counted)


def mean_loss(losses: PixelLosses) -> Float[Array, ""]:
    """Mean over the pixels that count; 0 where none does."""
    return losses.value.sum() / jnp.maximum(losses.counted.sum(), 1)


def hardest_loss(losses: PixelLosses, fraction: ArrayLike) -> Float[Array, ""]:
    """Mean over the hardest pixels: bootstrapped cross entropy.

    STCN (NeurIPS 2021) and RDE-VOS (CVPR 2022), which trains with it. The rank that
    ends the hardest pixels moves no gradient; pixels that tie at it share it evenly.

    Args:
      losses: Of one frame. Sorts them: O(HW log HW).
      fraction: Of the pixels that count, rounded down but at least one pixel; may be
        traced.

    Returns:
      Their mean; 0 where no pixel counts. With a fraction of 1, `mean_loss`.
    """
    counts = losses.counted.sum()
    wanted = jnp.floor(jnp.asarray(fraction, jnp.float32) * counts)
    wanted = jnp.clip(wanted, 1, jnp.maximum(counts, 1))
    ranked = jnp.where(losses.counted, losses.value, -jnp.inf)
    ranked = jnp.sort(jax.lax.stop_gradient(ranked).reshape(-1), descending=True)
    last = ranked[wanted.astype(jnp.int32) - 1]
    harder = losses.counted & (losses.value > last)
    tied = losses.counted & (losses.value == last)
    share = (wanted - harder.sum()) / jnp.maximum(tied.sum(), 1)
    weights = jnp.where(harder, 1, jnp.where(tied, share, 0))
    return (losses.value * weights).sum() / wanted


def annealed_fraction(
    step: ArrayLike, start: int, end: int, final: float
) -> Float[Array, ""]:
    """The fraction for `hardest_loss`: 1 until `start`, falling evenly to `final`.

    Args:
      step: Optimizer step, from 0; may be traced.
      start: Last step with all pixels, if it is before `end`.
      end: First step with the final fraction.
      final: In (0, 1].
    """
    step = jnp.asarray(step, jnp.float32)
    progress = jnp.clip((step - start) / max(end - start, 1), 0, 1)
    return 1 - (1 - final) * jnp.where(step >= end, 1, progress)


def soft_iou(
    probs: Float[Array, "O+1 H W"],
    labels: Int[Array, "H W"],
) -> Overlap:
    """Intersection over union of soft masks with true ones, for each object.

    sum(p m) / sum(p + m - p m) over the pixels that count: the usual IoU where the
    probabilities p are 0 or 1. An object that is not in the frame has none.

    Args:
      probs: Background first.
      labels: 0 to O, or `IGNORE`.
    """
    ids = jnp.arange(1, probs.shape[0])[:, None, None]
    masks = (labels[None] == ids).astype(jnp.float32)
    found = probs[1:].astype(jnp.float32) * (labels != IGNORE)[None]
    shared = (found * masks).sum((1, 2))
    union = (found + masks).sum((1, 2)) - shared
    counted = masks.any((1, 2))
    return Overlap(jnp.where(counted, shared / jnp.maximum(union, 1), 0), counted)
