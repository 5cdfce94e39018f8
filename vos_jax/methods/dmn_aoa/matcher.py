"""The matcher of DMN-AOA (Liang et al., ICCV 2021): coarse masks from proposals.

| sec. | eq. | what | where |
|---|---|---|---|
| 3.3 | | projectors | `blocks.Projector` |
| 3.3 | 2, 3 | alignment of proposals | `Matcher.compare`; `ops.alignment` |
| 3.1 | | matching layer | `Matcher.match`; `ops.matching` |
| 3.1 | | coarse masks | `Matcher.__call__` |
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.data.proposals import COUNT
from vos_jax.methods.dmn_aoa.blocks import Projector
from vos_jax.methods.dmn_aoa.config import DMNAOAConfig
from vos_jax.ops.alignment import align, compare_unaligned
from vos_jax.ops.boxes import mask_overlaps
from vos_jax.ops.matching import match
from vos_jax.ops.scores import product_of
from vos_jax.types import Proposals


class Found(NamedTuple):
    """What is known of the objects before RefineNet.

    Attributes:
      coarse: Masks in [0, 1].
      similarity: Of objects and proposals, float32; None without matcher. Columns
        beyond the proposals are null proposals'.
      weights: Of proposals for objects, likewise.
    """

    coarse: Float[Array, "O H W"]
    similarity: Float[Array, "O P"] | None = None
    weights: Float[Array, "O P"] | None = None


class Matcher(nn.Module):
    """Adaptive object alignment and the matching layer."""

    config: DMNAOAConfig

    def setup(self) -> None:
        """Two projectors (sec. 3.3)."""
        config = self.config
        dims = config.align_dim, config.groups, config.numerics
        self.project_template = Projector(*dims)
        self.project_proposal = Projector(*dims)

    def __call__(
        self,
        template: Float[Array, "O s s C"],
        features: Float[Array, "N s s C"],
        proposals: Proposals,
        active: Bool[Array, " O"],
        pixels: Bool[Array, "O H W"] | None = None,
    ) -> Found:
        """Proposals' masks, weighted by how well they match the objects (sec. 3.1).

        Args:
          template: Of each object.
          features: In the boxes of the proposals.
          proposals: Of the frame.
          active: Objects that there are.
          pixels: Of the objects in the frame before, where overlaps count.
        """
        config, masks = self.config, proposals.masks
        count, *size = masks.shape
        similarity = self.compare(template, features)
        alike = similarity
        if pixels is not None:
            alike = alike + config.iou_weight * mask_overlaps(pixels, masks)
        weights = self.match(alike, proposals.valid, active)
        own = weights
        if config.hard_test:
            own = jax.nn.one_hot(jnp.argmax(weights, axis=-1), weights.shape[-1])
        # Null proposals have no mask, whatever stands in their places.
        own = jnp.where(active[:, None] & proposals.valid[None], own[:, :count], 0)
        masks = masks.reshape(count, -1).astype(jnp.float32)
        coarse = _clip(product_of("highest", "on,np->op", own, masks))
        beyond = weights.shape[-1] - count
        similarity = jnp.pad(similarity, [(0, 0), (0, beyond)])
        return Found(coarse.reshape(-1, *size), similarity, weights)

    def compare(
        self, template: Float[Array, "O s s C"], features: Float[Array, "N s s C"]
    ) -> Float[Array, "O N"]:
        """How alike objects and proposals are (sec. 3.3, eqs. 2 and 3)."""
        config, precision = self.config, self.config.precision
        template = self.project_template(template)
        proposals = self.project_proposal(features)
        if not config.use_aoa:
            return compare_unaligned(
                template, proposals, config.aoa_center, precision=precision
            )
        return align(
            template,
            proposals,
            config.alpha,
            config.aoa_center,
            implementation=config.read,
            precision=precision,
        ).similarity

    def match(
        self,
        similarity: Float[Array, "O N"],
        valid: Bool[Array, " N"],
        active: Bool[Array, " O"],
    ) -> Float[Array, "O P"]:
        """Weights of proposals for objects, and of null proposals behind them."""
        config, (objects, count) = self.config, similarity.shape
        beyond = max(COUNT, objects + 1, count) - count
        return match(
            jnp.pad(similarity, [(0, 0), (0, beyond)]),
            jnp.pad(valid, (0, beyond)),
            active,
            n_grad=config.n_grad,
            n_proj=config.n_proj,
            step=config.match_step,
            average=config.average,
        )


def _clip(x: Array) -> Array:
    """Clips to [0, 1] and passes all gradients on.

    Else a wrong proposal that counts more than once could not be made to count less.
    """
    return lax.stop_gradient(jnp.clip(x, 0, 1)) + (x - lax.stop_gradient(x))
