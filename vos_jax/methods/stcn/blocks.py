"""Blocks of STCN (Cheng et al., NeurIPS 2021), which RDE-VOS (CVPR 2022) shares.

No norms outside of the ResNets. What every object has of its own is called `own`, what
all objects have in common `shared`; the published networks join both along the channels
and repeat the common part for every object. Here it is convolved once.
"""

from itertools import accumulate

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn import initial
from vos_jax.nn.decoder import ResBlock, Skips
from vos_jax.nn.layers import Conv, FrozenNorm, convolve
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import ResNetConfig, Trunk
from vos_jax.ops.resample import upsample


class JoinedConv(nn.Module):
    """A convolution of several inputs joined along the channels.

    Each input's part is convolved apart, so that one of batch 1 is convolved once for
    all objects.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, *inputs: Float[Array, "B h w C"]) -> Float[Array, "O hs ws Co"]:
        """Convolves all inputs, whose batch is 1 or the number of objects, and adds."""
        channels = [x.shape[-1] for x in inputs]
        shape = (self.kernel, self.kernel, sum(channels), self.features)
        kernel = self.param("kernel", initial.he_normal, shape, jnp.float32)
        bias = self.param("bias", initial.zeros, shape[-1:], jnp.float32)
        parts = jnp.split(kernel, list(accumulate(channels))[:-1], axis=2)
        found = [
            convolve(x, part, self.numerics, stride=self.stride)
            for x, part in zip(inputs, parts, strict=True)
        ]
        return sum(found[1:], found[0]) + bias.astype(found[0].dtype)[None, None, None]


class JoinedResBlock(nn.Module):
    """`ResBlock` on `own` and `shared` joined along the channels."""

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, own: Float[Array, "O h w Ca"], shared: Float[Array, "1 h w Cb"]
    ) -> Float[Array, "O h w Co"]:
        """Applies the block."""

        def conv(name: str) -> JoinedConv:
            return JoinedConv(self.features, numerics=self.numerics, name=name)

        x = conv("shortcut")(own, shared)
        y = nn.relu(conv("conv1")(nn.relu(own), nn.relu(shared)))
        return x + Conv(self.features, numerics=self.numerics, name="conv2")(y)


class Attention(nn.Module):
    """CBAM (Woo et al., ECCV 2018): a gate of the channels, then one of the cells.

    Attributes:
      reduction: Channels over those of the hidden layer.
    """

    reduction: int = 16
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "O h w C"]) -> Float[Array, "O h w C"]:
        """Gates the features; both means and maxima are of the whole padded map."""
        dtype, precision = self.numerics.compute_dtype, self.numerics.precision

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=dtype, precision=precision, name=name)

        hidden = dense(x.shape[-1] // self.reduction, "squeeze")
        opened = dense(x.shape[-1], "open")
        pooled = jnp.stack([x.mean((1, 2)), x.max((1, 2))])
        gate = opened(nn.relu(hidden(pooled))).sum(0)
        x = x * jax.nn.sigmoid(gate)[:, None, None]
        cells = jnp.stack([x.max(-1), x.mean(-1)], axis=-1)
        gate = Conv(1, 7, numerics=self.numerics, name="cells")(cells)
        return x * jax.nn.sigmoid(gate)


class _ValueStem(nn.Module):
    """The image and two masks as one input of five channels, and the norm."""

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, image: Float[Array, "1 H W 3"], masks: Float[Array, "O H W M"]
    ) -> Float[Array, "O H2 W2 C"]:
        x = JoinedConv(self.features, 7, 2, self.numerics, name="conv")(image, masks)
        return FrozenNorm(numerics=self.numerics, name="norm")(x)


class ValueEncoder(nn.Module):
    """A frame with an object's mask and the others', fused with the key's features.

    Attributes:
      config: Of the ResNet, whose convolutions have biases.
      features: Cv.
      others: Whether it also sees the sum of the other objects' masks; networks that
        were trained on one object alone do not.
    """

    config: ResNetConfig = ResNetConfig(depth=18)
    features: int = 512
    others: bool = True
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "1 H W 3"],
        masks: Float[Array, "O H W"],
        key_features: Float[Array, "1 h w C"],
    ) -> Float[Array, "O h w Cv"]:
        """Encodes one normalised image with each object's mask in [0, 1]."""
        seen = [masks, masks.sum(0, keepdims=True) - masks][: 1 + self.others]
        x = _ValueStem(self.config.width, self.numerics, name="stem")(
            image, jnp.stack(seen, axis=-1)
        )
        own = Trunk(self.config, True, self.numerics, name="trunk")(x).res4
        x = JoinedResBlock(self.features, self.numerics, name="join")(own, key_features)
        x = x + Attention(numerics=self.numerics, name="attention")(x)
        return ResBlock(self.features, self.numerics, name="refine")(x)


class SkipConvs(nn.Module):
    """The part of the decoder that depends on the frame alone."""

    dims: tuple[int, int, int] = (512, 256, 256)
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, res3: Float[Array, "1 H8 W8 C3"], res2: Float[Array, "1 H4 W4 C2"]
    ) -> Skips:
        """Brings the key encoder's features to the widths they are added to."""
        stride16, stride8, _ = self.dims
        return Skips(
            Conv(stride16, numerics=self.numerics, name="res3")(res3),
            Conv(stride8, numerics=self.numerics, name="res2")(res2),
        )


class Decoder(nn.Module):
    """From what was read to one logit at stride 4.

    Attributes:
      dims: Channels at strides 16, 8 and 4.
    """

    dims: tuple[int, int, int] = (512, 256, 256)
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self,
        read: Float[Array, "O h w Cv"],
        thin: Float[Array, "1 h w Ct"],
        skips: Skips,
    ) -> Float[Array, "O H4 W4 1"]:
        """Decodes all objects as one batch; `thin` are the query's own features."""
        (stride16, stride8, stride4), numerics = self.dims, self.numerics
        x = JoinedResBlock(stride16, numerics, name="compress")(read, thin)
        x = ResBlock(stride8, numerics, name="merge3")(skips.skip3 + upsample(x, 2))
        x = ResBlock(stride4, numerics, name="merge2")(skips.skip2 + upsample(x, 2))
        return Conv(1, numerics=numerics, name="predict")(nn.relu(x))
