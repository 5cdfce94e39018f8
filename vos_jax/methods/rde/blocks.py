"""SAM, the spatio-temporal aggregation module of RDE-VOS (CVPR 2022): its parameters.

What is computed with them is `vos_jax.ops.aggregation`, a table of the paper's section
3.3. They are called as there, and shaped as the released program's: kernels over time,
height, width.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn import initial
from vos_jax.nn.numerics import Numerics
from vos_jax.ops import aggregation
from vos_jax.ops.aggregation import RATES, Affine, Enhance, Extract, Weights

_torch_init = initial.once(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
"""PyTorch's default; SAM is never pre-trained, and it is cubic in its input."""


class FrameKernel(nn.Module):
    """The kernel of a 3-D convolution over `frames` frames, in float32.

    Attributes:
      features: Output channels, `Co`.
      frames: Of the kernel; of one frame it is for each frame alone.
      size: Height and width, k.
    """

    features: int
    frames: int = 1
    size: int = 1

    @nn.compact
    def __call__(self, channels: int) -> Float[Array, "*frames k k Ci Co"]:
        """For so many input channels; without an axis of frames if there is one."""
        return self._kernel(channels)

    def _kernel(self, channels: int) -> Float[Array, "*frames k k Ci Co"]:
        shape = (self.frames, self.size, self.size, channels, self.features)
        kernel: Array = self.param("kernel", _torch_init, shape, jnp.float32)
        return kernel[0] if self.frames == 1 else kernel


class FrameAffine(FrameKernel):
    """A kernel with its bias."""

    @nn.compact
    def __call__(self, channels: int) -> Any:
        """As `Affine`."""
        zeros, shape = initial.zeros, (self.features,)
        kernel = self._kernel(channels)
        return Affine(kernel, self.param("bias", zeros, shape, jnp.float32))


class Extraction(nn.Module):
    """Of `aggregation.extract`."""

    @nn.compact
    def __call__(self, channels: int) -> Extract:
        """For embeddings of so many channels."""
        half = channels // 2
        return Extract(
            theta=FrameAffine(half, name="theta")(channels),
            phi=FrameAffine(half, name="phi")(channels),
            g=FrameAffine(half, name="g")(channels),
            out=FrameAffine(channels, name="out")(half),
        )


class Enhancement(nn.Module):
    """Of `aggregation.enhance`."""

    @nn.compact
    def __call__(self, channels: int) -> Enhance:
        """For embeddings of so many channels."""
        each = channels // 4
        return Enhance(
            rates=(
                FrameKernel(each, name="rate0")(channels),
                *(
                    FrameKernel(each, size=3, name=f"rate{rate}")(channels)
                    for rate in RATES
                ),
            ),
            merge=FrameKernel(channels, size=3, name="merge")(4 * each),
        )


class Aggregation(nn.Module):
    """The recurrence for keys or for values; eqs. 4 to 6."""

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, recurrent: Float[Array, "O h w C"], new: Float[Array, "O h w C"]
    ) -> Float[Array, "O h w C"]:
        """Aggregates; what is older comes first."""
        channels, dtype = new.shape[-1], self.numerics.compute_dtype
        squeeze = FrameAffine(channels, frames=2, size=3, name="squeeze")
        weights = Weights(
            Extraction(name="extract")(channels),
            Enhancement(name="enhance")(channels),
            squeeze(channels),
        )
        return aggregation.aggregate(
            weights,
            recurrent.astype(dtype),
            new.astype(dtype),
            precision=self.numerics.precision,
            # Inference only: gradients and the published numbers stay with the plain
            # form.
            few_products=self.numerics.folded,
            platform=self.numerics.platform,
        )
