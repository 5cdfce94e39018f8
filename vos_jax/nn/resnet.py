"""ResNets as feature extractors (He et al., CVPR 2016), torchvision's variant.

The stride of a bottleneck sits on its 3x3 convolution.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn.layers import ConvNorm
from vos_jax.nn.numerics import Numerics

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Which ResNet.

    Attributes:
      depth: 18, 34 (basic blocks), 50 or 101 (bottlenecks).
      width: Channels of the stem; 64 in every published network. Others scale with it.
      zero_init: Start every residual branch at zero, for training from scratch without
        batch statistics.
      more_blocks: In stage 4, beyond those of the depth; no published network has any.
        With `zero_init` they change nothing until they are trained.
    """

    depth: int = 50
    width: int = 64
    zero_init: bool = False
    more_blocks: int = 0

    def __post_init__(self) -> None:
        if self.depth not in _BLOCKS:
            raise ValueError(f"depth={self.depth}: use one of {sorted(_BLOCKS)}")
        if self.more_blocks < 0:
            raise ValueError(f"more_blocks={self.more_blocks}: use 0 or more")

    def __repr__(self) -> str:
        # Runs know their method by these words: those of older ones have no such field.
        names = [field.name for field in fields(self)]
        if not self.more_blocks:
            names.remove("more_blocks")
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({values})"

    @property
    def bottleneck(self) -> bool:
        """Whether blocks are bottlenecks."""
        return self.depth >= 50

    def blocks(self, stage: int) -> int:
        """Number of blocks of stage 2..5."""
        return _BLOCKS[self.depth][stage - 2] + (self.more_blocks if stage == 4 else 0)

    def channels(self, stage: int) -> int:
        """Output channels of stage 2..5."""
        return self.width * 2 ** (stage - 2) * (4 if self.bottleneck else 1)


class Features(NamedTuple):
    """Stage outputs after their last ReLU, at strides 4, 8 and 16."""

    res2: Float[Array, "B H4 W4 C2"]
    res3: Float[Array, "B H8 W8 C3"]
    res4: Float[Array, "B h w C4"]


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a 1x1-3x3-1x1 bottleneck."""

    width: int
    stride: int
    bottleneck: bool
    zero_init: bool = False
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B Hs Ws Co"]:
        """Applies the block, its shortcut and the last ReLU."""
        last_scale = 0.0 if self.zero_init else 1.0

        def conv(
            name: str, features: int, kernel: int, stride: int = 1, scale: float = 1.0
        ) -> ConvNorm:
            return ConvNorm(
                features,
                kernel,
                stride,
                scale,
                self.use_bias,
                self.numerics,
                name=name,
            )

        if self.bottleneck:
            features = 4 * self.width
            y = nn.relu(conv("conv1", self.width, 1)(x))
            y = nn.relu(conv("conv2", self.width, 3, self.stride)(y))
            y = conv("conv3", features, 1, scale=last_scale)(y)
        else:
            features = self.width
            y = nn.relu(conv("conv1", features, 3, self.stride)(x))
            y = conv("conv2", features, 3, scale=last_scale)(y)
        if x.shape[-1] != features or self.stride != 1:
            x = conv("shortcut", features, 1, self.stride)(x)
        # Without the barrier XLA computes the sum again in every later block of the
        # stage, from all the blocks before it.
        return jax.lax.optimization_barrier(nn.relu(x + y))


class Stage(nn.Module):
    """Blocks at one resolution; the first carries the stride."""

    config: ResNetConfig
    stage: int
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B Hs Ws Co"]:
        """Runs all blocks."""
        for block in range(self.config.blocks(self.stage)):
            x = Block(
                width=self.config.width * 2 ** (self.stage - 2),
                stride=2 if block == 0 and self.stage > 2 else 1,
                bottleneck=self.config.bottleneck,
                zero_init=self.config.zero_init,
                use_bias=self.use_bias,
                numerics=self.numerics,
                name=f"block{block}",
            )(x)
        return x


def _max_pool(x: Array) -> Array:
    """3x3, stride 2, padding 1, one axis after the other; four times as fast on CPUs.

    Sides are even.
    """
    for axis in (1, 2):
        even = jax.lax.slice_in_dim(x, 0, None, 2, axis)
        odd = jax.lax.slice_in_dim(x, 1, None, 2, axis)
        pads = [(0, 0, 0)] * x.ndim
        pads[axis] = (1, -1, 0)
        before = jax.lax.pad(odd, jnp.array(-jnp.inf, x.dtype), pads)
        x = jnp.maximum(jnp.maximum(even, odd), before)
    return x


class Trunk(nn.Module):
    """Everything behind the stem's convolution and norm, up to stage 4.

    Apart from the stem so that an encoder may feed more than an image.
    """

    config: ResNetConfig
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, stem: Float[Array, "B H2 W2 C1"]) -> Features:
        """From the normalised stem, before its ReLU, at stride 2."""
        x = nn.relu(stem)
        x = _max_pool(x)
        outputs = []
        for stage in (2, 3, 4):
            x = Stage(
                self.config, stage, self.use_bias, self.numerics, name=f"res{stage}"
            )(x)
            outputs.append(x)
        return Features(*outputs)


class ResNet(nn.Module):
    """An image encoder to stage 4 (stride 16)."""

    config: ResNetConfig = ResNetConfig()
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, image: Float[Array, "B H W 3"]) -> Features:
        """Encodes normalised images whose sides are multiples of 16."""
        stem = ConvNorm(
            self.config.width,
            7,
            2,
            use_bias=self.use_bias,
            numerics=self.numerics,
            name="stem",
        )(image)
        return Trunk(self.config, self.use_bias, self.numerics, name="trunk")(stem)
