"""Blocks of HMMN (Seong et al., ICCV 2021) for its reads at strides 8 and 4.

What exists at several strides is a dictionary by stage of the ResNet: 3 is stride 8, 2
is stride 4. A network may do without one of them, or both.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from vos_jax.nn.decoder import ConvResBlock, ResBlock, Skips
from vos_jax.nn.encoders import KeyValue, KeyValueHead
from vos_jax.nn.layers import Conv
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import Features
from vos_jax.ops.resample import upsample


class FineStage(NamedTuple):
    """Channels of the memory at one stage.

    Attributes:
      stage: 3 or 2.
      key_dim: D.
      value_dim: Dv.
    """

    stage: int
    key_dim: int
    value_dim: int

    @property
    def name(self) -> str:
        """As in `Features`."""
        return f"res{self.stage}"

    @property
    def factor(self) -> int:
        """Cells along the side of one at stride 16."""
        return 1 << (4 - self.stage)


class FineKeys(nn.Module):
    """The query's keys at the fine stages."""

    stages: tuple[FineStage, ...]
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, features: Features) -> dict[int, Float[Array, "B hs ws D"]]:
        """A 3x3 convolution of each stage's features."""
        return {
            stage.stage: Conv(stage.key_dim, numerics=self.numerics, name=stage.name)(
                getattr(features, stage.name)
            )
            for stage in self.stages
        }


class FineHeads(nn.Module):
    """The memory's keys and values at the fine stages."""

    stages: tuple[FineStage, ...]
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, features: Features) -> dict[int, KeyValue]:
        """A head for each stage's features."""
        return {
            stage.stage: KeyValueHead(
                stage.key_dim, stage.value_dim, self.numerics, name=stage.name
            )(getattr(features, stage.name))
            for stage in self.stages
        }


class SkipConvs(nn.Module):
    """The part of the decoder that depends on the frame alone.

    The residual blocks behind these convolutions come after what was read is added, so
    each object has its own.
    """

    features: int = 256
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, res3: Float[Array, "1 H8 W8 C3"], res2: Float[Array, "1 H4 W4 C2"]
    ) -> Skips:
        """Compresses the encoder's features of strides 8 and 4."""
        return Skips(
            Conv(self.features, numerics=self.numerics, name="res3")(res3),
            Conv(self.features, numerics=self.numerics, name="res2")(res2),
        )


class FineConvs(nn.Module):
    """From what was read at the fine stages to what is added to the skips, sec. 3.2.

    Without biases: a read of zeros adds nothing.
    """

    stages: tuple[FineStage, ...]
    features: int = 256
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, reads: Mapping[int, Float[Array, "O hs ws Dv"]]
    ) -> dict[int, Float[Array, "O hs ws C"]]:
        """A 3x3 convolution of each stage's read."""
        return {
            stage.stage: Conv(
                self.features, use_bias=False, numerics=self.numerics, name=stage.name
            )(reads[stage.stage])
            for stage in self.stages
        }


class Decoder(nn.Module):
    """STM's decoder with what was read at the fine stages added to its skips."""

    features: int = 256
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self,
        read: Float[Array, "O h w Cr"],
        fine: Mapping[int, Float[Array, "O hs ws C"]],
        skips: Skips,
    ) -> Float[Array, "O H4 W4 2"]:
        """Two logits (background, object) at stride 4; all objects as one batch.

        Args:
          read: Of stride 16, with the query's own value.
          fine: What `FineConvs` makes; a stage that is missing adds nothing.
          skips: What `SkipConvs` makes.
        """
        x = ConvResBlock(self.features, self.numerics, name="compress")(read)
        for stage, skip in ((3, skips.skip3), (2, skips.skip2)):
            if stage in fine:
                skip = skip + fine[stage]
            skip = ResBlock(self.features, self.numerics, name=f"join{stage}")(skip)
            merge = ResBlock(self.features, self.numerics, name=f"merge{stage}")
            x = merge(skip + upsample(x, 2))
        return Conv(2, numerics=self.numerics, name="predict")(nn.relu(x))
