"""The refinement decoder of STM, and blocks that other decoders share.

RGMP's refinement module (Oh et al., CVPR 2018), STM (ICCV 2019) sec. 3.3. No
normalisation, pre-activation residual blocks.
"""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from vos_jax.nn.layers import Conv
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.resample import upsample


class ResBlock(nn.Module):
    """`x + conv(relu(conv(relu(x))))`; the shortcut carries the unrectified input.

    Where the number of channels changes the shortcut is a 3x3 convolution (STCN).
    """

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B H W Co"]:
        """Applies the block."""
        y = Conv(self.features, numerics=self.numerics, name="conv1")(nn.relu(x))
        y = Conv(self.features, numerics=self.numerics, name="conv2")(nn.relu(y))
        if x.shape[-1] != self.features:
            x = Conv(self.features, numerics=self.numerics, name="shortcut")(x)
        return x + y


class ConvResBlock(nn.Module):
    """A 3x3 convolution to `features` channels, then a residual block."""

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B H W Co"]:
        """Applies both."""
        x = Conv(self.features, numerics=self.numerics, name="conv")(x)
        return ResBlock(self.features, self.numerics, name="res")(x)


class Skips(NamedTuple):
    """Encoder features ready to be merged; the same for every object."""

    skip3: Float[Array, "1 H8 W8 C"]
    skip2: Float[Array, "1 H4 W4 C"]


class SkipBranches(nn.Module):
    """The part of the decoder that depends on the frame alone.

    Apart from `Decoder` so that it runs once however many objects there are.
    """

    features: int = 256
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, res3: Float[Array, "1 H8 W8 C3"], res2: Float[Array, "1 H4 W4 C2"]
    ) -> Skips:
        """Compresses the encoder's features of strides 8 and 4."""
        return Skips(
            ConvResBlock(self.features, self.numerics, name="res3")(res3),
            ConvResBlock(self.features, self.numerics, name="res2")(res2),
        )


class Decoder(nn.Module):
    """From what was read to two logits (background, object) at stride 4."""

    features: int = 256
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, read: Float[Array, "O h w C"], skips: Skips
    ) -> Float[Array, "O H4 W4 2"]:
        """Decodes all objects as one batch."""
        x = ConvResBlock(self.features, self.numerics, name="compress")(read)
        x = ResBlock(self.features, self.numerics, name="merge3")(
            skips.skip3 + upsample(x, 2)
        )
        x = ResBlock(self.features, self.numerics, name="merge2")(
            skips.skip2 + upsample(x, 2)
        )
        return Conv(2, numerics=self.numerics, name="predict")(nn.relu(x))
