"""SAM, the spatio-temporal aggregation module of RDE-VOS (CVPR 2022).

Two embeddings of a video, the recurrent one and that of a new frame, become the next
recurrent one: extract, enhance, squeeze. As in the released program, whose extraction
has an output convolution and a residual that the paper does not show, pools after the
convolutions, and divides by the number of pooled cells.

    section  equation  what       here
    3.3      4         input      `Aggregation`
    3.3      5         extract    `Extraction`
    3.3      6         enhance    `Enhancement`
    3.3      6         squeeze    `Aggregation`
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn.layers import convolve
from vos_jax.nn.numerics import Numerics

_RATES = (2, 4, 6)


def _torch_init() -> nn.initializers.Initializer:
    """PyTorch's default; SAM is never pre-trained, and it is cubic in its input."""
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class FrameConv(nn.Module):
    """A 3-D convolution over `frames` frames: of each one alone, or of all together.

    Attributes:
      features: Output channels.
      frames: Of the kernel; the input must have as many, or this must be 1.
      kernel: Height and width.
      dilation: In space.
      use_bias: Whether there is one.
    """

    features: int
    frames: int = 1
    kernel: int = 1
    dilation: int = 1
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w Ci"]) -> Float[Array, "B Tk h w Co"]:
        """Convolves; one frame is left of several that the kernel spans."""
        batch, length, height, width, channels = x.shape
        side = (self.kernel, self.kernel)
        shape = (self.frames, *side, channels, self.features)
        kernel = self.param("kernel", _torch_init(), shape, jnp.float32)
        if self.frames > 1:
            # Frames as channels: a kernel as long as the clip has one position in time.
            x = jnp.moveaxis(x, 1, 3).reshape(batch, height, width, -1)
            kernel = jnp.moveaxis(kernel, 0, 2).reshape(*side, -1, self.features)
        else:
            x, kernel = x.reshape(-1, height, width, channels), kernel[0]
        x = convolve(x, kernel, self.numerics, dilation=self.dilation)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)
            x = x + bias.astype(x.dtype)[None, None, None]
        return x.reshape(batch, length // self.frames, height, width, -1)


class Extraction(nn.Module):
    """Relations of all cells of both frames (non-local, Wang et al., CVPR 2018); eq. 5.

    `x + out(theta (phi g) / n)`, with n the pooled cells of both frames. Without a
    softmax the two products may change places: no matrix of cells by cells is needed.
    """

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w C"]) -> Float[Array, "B T h w C"]:
        """Adds to every cell what it finds in the others."""
        channels = x.shape[-1]

        def conv(features: int, name: str) -> FrameConv:
            return FrameConv(features, use_bias=True, numerics=self.numerics, name=name)

        theta = conv(channels // 2, "theta")(x)
        phi, g = (_pool(conv(channels // 2, name)(x)) for name in ("phi", "g"))
        cells = phi.shape[1] * phi.shape[2] * phi.shape[3]
        precision = self.numerics.precision
        related = jnp.einsum("bthwc,bthwd->bcd", phi / cells, g, precision=precision)
        found = jnp.einsum("bthwc,bcd->bthwd", theta, related, precision=precision)
        return x + conv(channels, "out")(found)


def _pool(x: Float[Array, "B T h w C"]) -> Float[Array, "B T h2 w2 C"]:
    """Maxima of 2x2 cells; an odd last row or column is dropped."""
    batch, length, height, width, channels = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    split = (batch, length, height // 2, 2, width // 2, 2, channels)
    return x.reshape(split).max((3, 5))


class Enhancement(nn.Module):
    """Context of several sizes (ASPP, Chen et al., 2017), each frame alone; eq. 6.

    `x + relu(merge(relu([rate0(x), rate2(x), rate4(x), rate6(x)])))`.
    """

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w C"]) -> Float[Array, "B T h w C"]:
        """Adds the context."""
        channels, numerics = x.shape[-1], self.numerics
        parts = [FrameConv(channels // 4, numerics=numerics, name="rate0")(x)]
        for rate in _RATES:
            conv = FrameConv(
                channels // 4,
                kernel=3,
                dilation=rate,
                numerics=numerics,
                name=f"rate{rate}",
            )
            parts.append(conv(x))
        y = nn.relu(jnp.concatenate(parts, axis=-1))
        y = FrameConv(channels, kernel=3, numerics=numerics, name="merge")(y)
        return x + nn.relu(y)


class Aggregation(nn.Module):
    """The recurrence for keys or for values; eqs. 4 to 6.

    `next = squeeze(enhance(extract([recurrent, new])))`.
    """

    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(
        self, recurrent: Float[Array, "B h w C"], new: Float[Array, "B h w C"]
    ) -> Float[Array, "B h w C"]:
        """Aggregates; what is older comes first."""
        x = jnp.stack([recurrent, new], axis=1)
        x = Extraction(self.numerics, name="extract")(x)
        x = Enhancement(self.numerics, name="enhance")(x)
        squeeze = FrameConv(
            x.shape[-1],
            frames=2,
            kernel=3,
            use_bias=True,
            numerics=self.numerics,
            name="squeeze",
        )
        return squeeze(x)[:, 0]
