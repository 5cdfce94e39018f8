"""Convolutions and normalisation."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.nn import initial
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.convolution import conv, conv_few_products, conv_outputs_first

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet, RGB in [0, 1]; encoders subtract it."""

IMAGE_STD = (0.229, 0.224, 0.225)
"""Of ImageNet, RGB in [0, 1]; encoders divide by it."""

_KERNEL, _FILTERS = "kernel", "filters"
"""Names of a convolution's weights: `[k, k, Ci, Co]`, and `[Co, k, k, Ci]`."""

_EPSILON = 1e-5
"""Of every norm, as in PyTorch; Linen's own is a tenth of it."""


def normalize_image(image: Float[Array, "*b H W 3"]) -> Float[Array, "*b H W 3"]:
    """ImageNet normalisation of RGB in [0, 1]."""
    mean, std = jnp.array(IMAGE_MEAN, image.dtype), jnp.array(IMAGE_STD, image.dtype)
    shape = (1,) * (image.ndim - 1) + (3,)
    return (image - mean.reshape(shape)) / std.reshape(shape)


def convolve(
    x: Float[Array, "B H W Ci"],
    kernel: Float[Array, "k k Ci Co"] | Float[Array, "Co k k Ci"],
    numerics: Numerics,
    *,
    stride: int = 1,
    dilation: int = 1,
    outputs_first: bool = False,
) -> Float[Array, "B Hs Ws Co"]:
    """A convolution in the compute type, in the form that suits how it is used."""
    x, kernel = (each.astype(numerics.compute_dtype) for each in (x, kernel))
    if outputs_first:
        return conv_outputs_first(x, kernel, stride, numerics.precision)
    # Inference only: gradients and the published numbers stay with the plain form.
    if numerics.folded and (kernel.shape[0], stride, dilation) == (3, 1, 1):
        precision, platform = numerics.precision, numerics.platform
        return conv_few_products(x, kernel, precision, platform)
    return conv(x, kernel, stride, numerics.precision, dilation)


class Conv(nn.Module):
    """A convolution with padding `kernel // 2` on every side, as PyTorch places it.

    Linen's "SAME" pads a strided convolution on one side more than the other, which
    shifts the grid by a pixel against published weights.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = True
    numerics: Numerics = Numerics()
    zero_init: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B Hs Ws Co"]:
        """Convolves in the compute type."""
        side = self.kernel, self.kernel
        init = initial.zeros if self.zero_init else initial.he_normal
        # A convolution of 1x1 is a matrix product.
        outputs_first = self.numerics.outputs_first and self.kernel > 1
        if outputs_first:
            name, shape = _FILTERS, (self.features, *side, x.shape[-1])
        else:
            name, shape = _KERNEL, (*side, x.shape[-1], self.features)
        kernel = self.param(name, init, shape, jnp.float32)
        x = convolve(
            x,
            kernel,
            self.numerics,
            stride=self.stride,
            outputs_first=outputs_first,
        )
        if not self.use_bias:
            return x
        bias = self.param("bias", initial.zeros, (self.features,), jnp.float32)
        return x + bias.astype(x.dtype)[None, None, None]


class FrozenNorm(nn.Module):
    """Batch normalisation that always uses its stored statistics.

    STM and RDE-VOS train and test this way. Scale and bias are parameters, mean and
    variance live in `batch_stats`. In float32; once folded only the bias is left.
    """

    scale_init: float = 1.0
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Applies scale and shift, in the type that comes in."""
        shape = (x.shape[-1],)
        bias = self.param("bias", initial.zeros, shape, jnp.float32)
        if self.numerics.folded:
            return x + bias.astype(x.dtype)[None, None, None]
        scale = self.param(
            "scale", initial.constant(self.scale_init), shape, jnp.float32
        )
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale, shift = _affine(scale, bias, mean.value, var.value)
        wide = x.astype(jnp.float32)
        wide = wide * scale[None, None, None] + shift[None, None, None]
        return wide.astype(x.dtype)


def _affine(scale: Array, bias: Array, mean: Array, var: Array) -> tuple[Array, Array]:
    scale = scale / jnp.sqrt(var + _EPSILON)
    return scale, bias - mean * scale


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He, ECCV 2018), computed in float32.

    A group of channels has mean 0 and variance 1 over each image before every channel
    is scaled and shifted. Nothing of it can be folded: it depends on the image.
    """

    groups: int
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Normalises, in the type that comes in."""
        batch, channels = x.shape[0], x.shape[-1]
        ones, zeros = initial.ones, initial.zeros
        scale = self.param("scale", ones, (channels,), jnp.float32)
        bias = self.param("bias", zeros, (channels,), jnp.float32)

        def mean(each: Float[Array, "B H W C"]) -> Float[Array, "B 1 1 C"]:
            """Of a channel's group, first over the cells: channels lie closest."""
            of_channel = each.mean((1, 2), dtype=jnp.float32)
            of_group = of_channel.reshape(batch, self.groups, -1).mean(-1)
            each = jnp.repeat(of_group, channels // self.groups, axis=-1)
            return each[:, None, None]

        wide = x.astype(jnp.float32)
        centre = mean(wide)
        # A variance is a small difference where the mean is large: not that of squares.
        inverse = jax.lax.rsqrt(mean(jnp.square(wide - centre)) + _EPSILON)
        gain = inverse * scale[None, None, None]
        shift = bias[None, None, None] - centre * gain
        return (wide * gain + shift).astype(x.dtype)


class ConvNorm(nn.Module):
    """A convolution followed by `FrozenNorm`, which `fold_norms` makes one."""

    features: int
    kernel: int = 3
    stride: int = 1
    scale_init: float = 1.0
    use_bias: bool = False
    numerics: Numerics = Numerics()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W Ci"]) -> Float[Array, "B Hs Ws Co"]:
        """Convolves and normalises; no activation."""
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            self.use_bias,
            self.numerics,
            name="conv",
        )(x)
        return FrozenNorm(self.scale_init, self.numerics, name="norm")(x)


def fold_norms(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Folds every frozen norm into the convolutions beside it.

    A group with a child `norm` has its other children's kernels (and biases) scaled;
    the norm keeps the shift. Exact up to float32 rounding.

    Args:
      variables: With `params` and `batch_stats`.

    Returns:
      Variables for the same model with `Numerics.folded=True`; no `batch_stats`.
    """
    return {"params": _fold(variables["params"], variables.get("batch_stats", {}))}


def _scale_outputs(value: Array, scale: Array) -> Array:
    return value * scale.reshape((1,) * (value.ndim - 1) + (-1,))


def _fold(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    norm = params.get("norm")
    if not isinstance(norm, Mapping) or "norm" not in stats:
        return {
            name: _fold(child, stats.get(name, {}))
            if isinstance(child, Mapping)
            else child
            for name, child in params.items()
        }
    scale, shift = _affine(norm["scale"], norm["bias"], **stats["norm"])
    folded = {
        name: {leaf: _scale_outputs(value, scale) for leaf, value in child.items()}
        for name, child in params.items()
        if name != "norm"
    }
    return {**folded, "norm": {"bias": shift}}


def lay_out(params: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """The same kernels with their output channels last or first, as a network has them.

    A GPU's kernels take the latter, and would change the order in every frame.

    Args:
      params: Of a network.
      expected: Of the same network, for one platform or another; shapes will do.
    """
    laid_out: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            laid_out[name] = lay_out(value, expected[name])
        elif name == _KERNEL and _FILTERS in expected:
            laid_out[_FILTERS] = jnp.moveaxis(value, -1, 0)
        elif name == _FILTERS and _KERNEL in expected:
            laid_out[_KERNEL] = jnp.moveaxis(value, 0, -1)
        else:
            laid_out[name] = value
    return laid_out
