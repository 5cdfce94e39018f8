"""Blocks of DMN-AOA (Liang et al., ICCV 2021): levels, projectors, RefineNet.

| sec. | eq. | what | where |
|---|---|---|---|
| 3.1 | | base features | `Reductions` |
| 3.3 | | projectors | `Projector` |
| 3.1 | | its references | `references` |
| 3.1 | | RefineNet | `RefineNet`, `RefineBlock` |
| 4.3 | | coarse masks without proposals | `MaskHead` |
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.nn import initial
from vos_jax.nn.layers import Conv, GroupNorm
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import Features
from vos_jax.ops.resample import upsample

STRIDES = (4, 8, 16)
"""Of the levels."""


class Levels(NamedTuple):
    """The base features of a frame, at strides 4, 8 and 16."""

    res2: Float[Array, "*b H4 W4 C2"]
    res3: Float[Array, "*b H8 W8 C3"]
    res4: Float[Array, "*b h w C4"]


class Reductions(nn.Module):
    """Base features from those of a ResNet: 1x1 convolution, norm and ReLU (sec. 3.1).

    Computed once a frame, for all objects, proposals and RefineNet.
    """

    dims: tuple[int, int, int]
    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, features: Features) -> Levels:
        """Levels of the one frame."""
        levels = []
        for stage, (width, x) in enumerate(zip(self.dims, features, strict=True), 2):
            x = Conv(width, 1, 1, False, self.numerics, name=f"res{stage}_conv")(x)
            x = GroupNorm(self.groups, self.numerics, name=f"res{stage}_norm")(x)
            levels.append(nn.relu(x)[0])
        return Levels(*levels)


class Projector(nn.Module):
    """3x3 convolution, norm, ReLU, 3x3 convolution (sec. 3.3)."""

    features: int
    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B h w Ci"]) -> Float[Array, "B h w Co"]:
        """Into the space in which places are compared."""
        x = Conv(self.features, numerics=self.numerics, name="conv1")(x)
        x = nn.relu(GroupNorm(self.groups, self.numerics, name="norm")(x))
        return Conv(self.features, numerics=self.numerics, name="conv2")(x)


class MaskHead(nn.Module):
    """Coarse masks from templates alone, for the ablation without proposals."""

    features: int
    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, template: Float[Array, "O s s C"]) -> Float[Array, "O s s"]:
        """Probabilities, float32."""
        x = Conv(self.features, numerics=self.numerics, name="conv")(template)
        x = nn.relu(GroupNorm(self.groups, self.numerics, name="norm")(x))
        x = Conv(1, 1, numerics=self.numerics, name="predict")(x)
        return jax.nn.sigmoid(x[..., 0].astype(jnp.float32))


class NormResBlock(nn.Module):
    """`x + norm(conv(relu(norm(conv(relu(x))))))`."""

    features: int
    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Applies the block."""
        y = Conv(self.features, numerics=self.numerics, name="conv1")(nn.relu(x))
        y = GroupNorm(self.groups, self.numerics, name="norm1")(y)
        y = Conv(self.features, numerics=self.numerics, name="conv2")(nn.relu(y))
        y = GroupNorm(self.groups, self.numerics, name="norm2")(y)
        # As in `nn.resnet`: or later blocks compute the sum again.
        return lax.optimization_barrier(x + y)


class Kernels(NamedTuple):
    """A block's first convolution by what it is applied to.

    It is linear, so that what all objects share is convolved once for all of them.

    Attributes:
      frame: For the current and the previous level, moved.
      first: For the level of the first frame, moved.
      masks: For the coarse mask, and those of the first and the previous frame.
      bias: Of the sum.
    """

    frame: Float[Array, "3 3 2*C F"]
    first: Float[Array, "3 3 C F"]
    masks: Float[Array, "3 3 3 F"]
    bias: Float[Array, " F"]


class FirstConv(nn.Module):
    """The parameters of a 3x3 convolution over what a block is given.

    In this order: current level, coarse mask; first level and mask; previous level and
    mask.
    """

    channels: int
    features: int

    @nn.compact
    def __call__(self) -> Kernels:
        """Its parts; arrays, so that control flow may use them."""
        width = self.channels
        shape = (3, 3, 3 * width + 3, self.features)
        init = initial.he_normal
        kernel = self.param("kernel", init, shape, jnp.float32)
        bias = self.param("bias", initial.zeros, shape[-1:], jnp.float32)
        sizes = (width, 1, width, 1, width)
        ends = [sum(sizes[:i]) for i in range(1, len(sizes) + 1)]
        current, coarse, first, first_mask, previous, previous_mask = jnp.split(
            kernel, ends, axis=2
        )
        return Kernels(
            jnp.concatenate([current, previous], axis=2),
            first,
            jnp.concatenate([coarse, first_mask, previous_mask], axis=2),
            bias,
        )


class RefineBlock(nn.Module):
    """What follows the first convolution of a block (sec. 3.1)."""

    features: int
    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "O H W F"],
        deeper: Float[Array, "O H/2 W/2 F"] | None = None,
    ) -> Float[Array, "O H W F"]:
        """Normalises, and merges what the deeper block made; the deepest has none."""

        def res_block(name: str) -> NormResBlock:
            return NormResBlock(self.features, self.groups, self.numerics, name=name)

        x = GroupNorm(self.groups, self.numerics, name="norm")(x)
        if deeper is not None:
            x = res_block("res_in")(x) + upsample(deeper, 2)
        return res_block("res_out")(x)


class RefineNet(nn.Module):
    """RefineNet (sec. 3.1): coarse masks to two logits of each object at stride 4.

    STM's refinement with norms, which also sees the coarse masks, and levels and masks
    of two references that are laid out as the current frame is.
    """

    dims: tuple[int, int, int]
    features: int
    groups: int
    numerics: Numerics = Numerics()

    def setup(self) -> None:
        """Projectors of current frame and references, blocks, and the prediction."""
        width, groups, numerics = self.features, self.groups, self.numerics
        self.project_current = Projector(width, groups, numerics)
        self.project_reference = Projector(width, groups, numerics)
        self.first_convs = [
            FirstConv(channels, width, name=f"conv{stage}")
            for stage, channels in enumerate(self.dims, 2)
        ]
        self.blocks = [
            RefineBlock(width, groups, numerics, name=f"block{stage}")
            for stage in (2, 3, 4)
        ]
        self.predict = Conv(2, 1, numerics=numerics)

    def place(self, levels: Levels) -> Float[Array, "h w D"]:
        """Of the current frame."""
        return self.project_current(levels.res4[None])[0]

    def reference_place(self, levels: Levels) -> Float[Array, "h w D"]:
        """Of a reference."""
        return self.project_reference(levels.res4[None])[0]

    def kernels(self) -> tuple[Kernels, ...]:
        """First convolutions of the blocks, from stride 4 to 16."""
        return tuple(conv() for conv in self.first_convs)

    def __call__(
        self, joined: tuple[Float[Array, "O H W F"], ...]
    ) -> Float[Array, "O H4 W4 2"]:
        """Logits from the sums of the first convolutions, strides 4, 8 and 16."""
        fine, middle, coarse = self.blocks
        x = coarse(joined[2])
        x = middle(joined[1], x)
        x = fine(joined[0], x)
        return self.predict(nn.relu(x))
