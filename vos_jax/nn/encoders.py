"""Encoders that see masks, and the heads that make keys and values."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn.layers import Conv, FrozenNorm
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import Features, ResNetConfig, Trunk


class _MaskedStem(nn.Module):
    """Image and masks through convolutions of their own, summed before the norm.

    The same as one convolution of five channels, but the image's share is computed
    once for all objects.
    """

    features: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, image: Float[Array, "1 H W 3"], masks: Float[Array, "O H W 2"]
    ) -> Float[Array, "O H2 W2 C"]:
        conv_image = Conv(self.features, 7, 2, False, self.numerics, name="image")
        conv_masks = Conv(self.features, 7, 2, False, self.numerics, name="masks")
        x = conv_image(image) + conv_masks(masks)
        return FrozenNorm(numerics=self.numerics, name="norm")(x)


class MaskedEncoder(nn.Module):
    """STM's memory encoder: a ResNet that also sees an object's mask and the others'.

    STM (ICCV 2019) sec. 3.1; the map of the other objects is the released program's.
    """

    config: ResNetConfig = ResNetConfig()
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, image: Float[Array, "1 H W 3"], masks: Float[Array, "O H W"]
    ) -> Features:
        """Encodes one normalised image with each object's mask in [0, 1]."""
        masks = jnp.stack([masks, other_objects(masks)], axis=-1)
        stem = _MaskedStem(self.config.width, self.numerics, name="stem")(image, masks)
        return Trunk(self.config, numerics=self.numerics, name="trunk")(stem)


def other_objects(masks: Float[Array, "O H W"]) -> Float[Array, "O H W"]:
    """For each object the union of all others, clamped to [0, 1]."""
    return jnp.clip(masks.sum(0, keepdims=True) - masks, 0, 1)


class KeyValue(NamedTuple):
    """What a memory is made of."""

    key: Float[Array, "*b h w Ck"]
    value: Float[Array, "*b h w Cv"]


class KeyValueHead(nn.Module):
    """Two 3x3 convolutions without activation, STM (ICCV 2019) sec. 3.1."""

    key_dim: int = 128
    value_dim: int = 512
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, features: Float[Array, "B h w C"]) -> KeyValue:
        """Keys and values at the features' resolution."""
        return KeyValue(
            Conv(self.key_dim, numerics=self.numerics, name="key")(features),
            Conv(self.value_dim, numerics=self.numerics, name="value")(features),
        )
