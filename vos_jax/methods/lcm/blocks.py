"""Blocks of LCM (Hu et al., CVPR 2021): position guidance and object relations.

| sec. | eq. | what | where |
|---|---|---|---|
| 3.3 | 3-5, map of 6 | PGM | `PositionGuidance` |
| 3.4 | 7-11 | ORM | `ObjectRelation` |
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn import initial
from vos_jax.nn.layers import Conv
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.object_relation import CellSet, cell_set, gather_matrix
from vos_jax.ops.position_code import position_code
from vos_jax.ops.position_map import position_map
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.scores import product_of

REDUCTION = 16
"""Channels over those of the ORM's hidden layer, SENet's default."""


class PositionGuidance(nn.Module):
    """The position guidance module (PGM), sec. 3.3, but for the product of eq. 6.

    Keys of places are `f(key + code)` (eqs. 3 and 4). One projection f for both frames,
    so that equal places stay comparable.

    Attributes:
      k: Responses that count for a cell.
      normalize: Places are shares of the grid; else numbers of cells.
      scaled: Dot products are divided by the root of their length.
      read: Implementation of the position map.
    """

    k: int = 8
    normalize: bool = True
    scaled: bool = True
    read: Implementation = "auto"
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "h w C"],
        memory: Float[Array, "O h w C"],
        coverage: Float[Array, "O h w"],
    ) -> Float[Array, "O h w"]:
        """The position map, float32, from local keys of both frames."""
        height, width, channels = query.shape
        code = position_code(height, width, channels, normalize=self.normalize)
        keys = jnp.concatenate([query[None], memory]) + code[None].astype(query.dtype)
        places = Conv(channels, 1, numerics=self.numerics, name="project")(keys)
        return position_map(
            places[0],
            places[1:],
            coverage,
            k=self.k,
            scaled=self.scaled,
            implementation=self.read,
            platform=self.numerics.platform,
            precision=self.numerics.precision,
        )


class ObjectRelation(nn.Module):
    """The object relation module (ORM), sec. 3.4.

        q' = q + A_object q,   f' = f + A_frame f   (eqs. 7 to 10)
        out = q' weigh(mean of f')                  (eq. 11)

    With values q of the query and f of the object's cells, and A by `gather_matrix`.

    Attributes:
      reduction: Of the channels, between the two layers that weigh them.
      zero_init: Begin without what cells gather, as residual blocks may. The dot
        products are not scaled, so that they blow up values of a random start.
    """

    reduction: int = REDUCTION
    zero_init: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, first: CellSet, value: Float[Array, "h w Cv"]
    ) -> Float[Array, "O h w Cv"]:
        """The query's value as each object's first frame sees it.

        Args:
          first: Cells of the object in its first frame, `[O, ...]`.
          value: The query's own.
        """
        precision, channels = self.numerics.precision, value.shape[-1]
        zeros = initial.zeros
        kernel_init = zeros if self.zero_init else initial.he_normal
        # A convolution by its shape, as published weights have it.
        shape = 1, 1, channels, channels
        kernel = self.param("kernel", kernel_init, shape, jnp.float32)[0, 0]
        bias = self.param("bias", zeros, (channels,), jnp.float32)
        frame = cell_set(value, jnp.ones(value.shape[:-1], bool), precision)
        of_object = gather_matrix(first, kernel, bias, precision).astype(value.dtype)
        of_frame = gather_matrix(frame, kernel, bias, precision)
        gathered = product_of(precision, "oij,hwj->ohwi", of_object, value)
        # The mean of the object's enhanced cells: what they gather is linear in them.
        mean = first.mean + product_of(precision, "ij,oj->oi", of_frame, first.mean)
        enhanced = value[None] + gathered.astype(value.dtype)
        return enhanced * self._weigh(mean)[:, None, None]

    def _weigh(self, mean: Float[Array, "O Cv"]) -> Float[Array, "O Cv"]:
        """Weights of the channels, squeeze and excitation (Hu et al., CVPR 2018)."""
        dtype, precision = self.numerics.compute_dtype, self.numerics.precision

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=dtype, precision=precision, name=name)

        hidden = nn.relu(dense(mean.shape[-1] // self.reduction, "squeeze")(mean))
        return jax.nn.sigmoid(dense(mean.shape[-1], "open")(hidden))
