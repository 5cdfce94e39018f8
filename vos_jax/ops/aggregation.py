"""The recurrence of RDE-VOS: two embeddings of a video become one of the same size.

SAM, the spatio-temporal aggregation module (Li et al., CVPR 2022, sec. 3.3): extract,
enhance, squeeze. As in the released program, whose extraction has an output convolution
and a residual that the paper does not show, pools after the convolutions, and divides
by the number of pooled cells.

    section  equation  what        here
    3.3      4         recurrence  `aggregate`; over a clip `aggregate_clip`
    3.3      5         extract     `extract`
    3.3      6         enhance     `enhance`
    3.3      6         squeeze     `aggregate`

Letters beside the package's: `T` the two frames of an input, the older one first; `C`
channels of an embedding, `D` half and `E` a quarter of them; `i` cells of both frames
and `j` what pooling leaves of them, both flattened, frames first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.convolution import conv, conv_few_products
from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.scores import product_of

RATES = (2, 4, 6)
"""Dilations of the three kernels of 3x3 that `enhance` looks around with."""


class Affine(NamedTuple):
    """A convolution with a bias."""

    kernel: Float[Array, "*k Ci Co"]
    bias: Float[Array, " Co"]


class Extract(NamedTuple):
    """Weights of `extract`; all kernels are 1x1.

    Attributes:
      theta: `[1, 1, C, D]`, of the cells that gather.
      phi: `[1, 1, C, D]`, of the pooled cells that they are compared with.
      g: `[1, 1, C, D]`, what is gathered of these.
      out: `[1, 1, D, C]`.
    """

    theta: Affine
    phi: Affine
    g: Affine
    out: Affine


class Enhance(NamedTuple):
    """Weights of `enhance`, which has no bias.

    Attributes:
      rates: `[1, 1, C, E]` and, of the dilations `RATES`, `[3, 3, C, E]`.
      merge: `[3, 3, 4 E, C]`, of the four together.
    """

    rates: tuple[Float[Array, "k k C E"], ...]
    merge: Float[Array, "3 3 C4 C"]


class Weights(NamedTuple):
    """What SAM has learnt; keys and values have weights of their own.

    Attributes:
      extract: Of `extract`.
      enhance: Of `enhance`.
      squeeze: `[2, 3, 3, C, C]`, whose first tap meets the older frame.
    """

    extract: Extract
    enhance: Enhance
    squeeze: Affine


def aggregate(
    weights: Weights,
    recurrent: Float[Array, "O h w C"],
    new: Float[Array, "O h w C"],
    *,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
    few_products: bool = False,
    platform: Platform | None = None,
) -> Float[Array, "O h w C"]:
    """The next recurrent embedding, of the one there is and that of a new frame.

        R' = squeeze(enhance(extract([R, new])))

    RDE-VOS sec. 3.3, eqs. 4 to 6. Objects do not see one another. Costs some 110 hw C^2
    FLOP for each object, however long the video is.

    Args:
      weights: Cast to the type of the embeddings, in which all is computed.
      recurrent: R, which begins as the embedding of the first frame.
      new: Of the same type.
      implementation: `reference` holds the matrix of all cells by all pooled cells,
        `[O, 2 hw, hw / 2]`; all others one of channels by channels.
      precision: Of the products.
      few_products: Take `conv_few_products` for the 3x3 kernels without dilation: in
        inference.
      platform: What the program is built for; None leaves it to the lowering.
    """
    x = jnp.stack([recurrent, new], axis=1)
    x = extract(weights.extract, x, implementation=implementation, precision=precision)
    x = enhance(
        weights.enhance,
        x,
        precision=precision,
        few_products=few_products,
        platform=platform,
    )
    kernel, bias = weights.squeeze
    # Frames as channels: a kernel as long as its input has one position in time.
    x = jnp.moveaxis(x, 1, 3).reshape(*new.shape[:3], -1)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, -1, kernel.shape[-1])
    x = _near(x, kernel, precision, few_products, platform)
    return x + bias.astype(x.dtype)[None, None, None]


def aggregate_clip(
    weights: Weights,
    embeddings: Float[Array, "T O h w C"],
    *,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
    few_products: bool = False,
    platform: Platform | None = None,
) -> Float[Array, "T O h w C"]:
    """The recurrent embedding after every frame of a clip, by a scan over time.

        R_0 = e_0,   R_t = aggregate(R_(t-1), e_t)

    RDE-VOS sec. 3.3, eq. 4. The first result is the first embedding itself; the last is
    what a video that ends there has. Arguments are those of `aggregate`.
    """

    def step(recurrent: Array, new: Array) -> tuple[Array, Array]:
        following = aggregate(
            weights,
            recurrent,
            new,
            implementation=implementation,
            precision=precision,
            few_products=few_products,
            platform=platform,
        )
        return following, following

    first, later = embeddings[:1], embeddings[1:]
    return jnp.concatenate([first, lax.scan(step, first[0], later)[1]])


def extract(
    weights: Extract,
    x: Float[Array, "O T h w C"],
    *,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O T h w C"]:
    """Adds to every cell what it finds in all cells of all frames.

        x + out(1/n (theta phi^T) g),   theta of x, phi and g of x with 2x2 cells pooled

    The non-local block (Wang et al., CVPR 2018) without a softmax, n being the pooled
    cells; RDE-VOS sec. 3.3, eq. 5.
    """
    theta = _of_cells(x, weights.theta, precision)
    phi, g = (_pool(_of_cells(x, each, precision)) for each in (weights.phi, weights.g))
    relate = _reference if implementation == "reference" else _by_channels
    found = relate(theta, phi, g, precision)
    return x + _of_cells(found, weights.out, precision)


def enhance(
    weights: Enhance,
    x: Float[Array, "O T h w C"],
    *,
    precision: lax.PrecisionLike = "highest",
    few_products: bool = False,
    platform: Platform | None = None,
) -> Float[Array, "O T h w C"]:
    """Adds the context of several sizes to every cell, of each frame alone.

        x + relu(merge(relu([rate0(x), rate2(x), rate4(x), rate6(x)])))

    ASPP (Chen et al., 2017) without norms; RDE-VOS sec. 3.3, eq. 6.
    """
    parts = [
        conv(_frames_of(x), kernel.astype(x.dtype), 1, precision, rate)
        for kernel, rate in zip(weights.rates, (1, *RATES), strict=True)
    ]
    y = jax.nn.relu(jnp.concatenate(parts, axis=-1))
    y = _near(y, weights.merge, precision, few_products, platform)
    return x + jax.nn.relu(y).reshape(x.shape)


def _near(
    x: Float[Array, "B h w Ci"],
    kernel: Float[Array, "3 3 Ci Co"],
    precision: lax.PrecisionLike,
    few_products: bool,
    platform: Platform | None,
) -> Float[Array, "B h w Co"]:
    kernel = kernel.astype(x.dtype)
    if few_products:
        return conv_few_products(x, kernel, precision, platform)
    return conv(x, kernel, 1, precision)


def _of_cells(
    x: Float[Array, "O T h w Ci"], weights: Affine, precision: lax.PrecisionLike
) -> Float[Array, "O T h w Co"]:
    """A convolution of 1x1."""
    kernel, bias = (each.astype(x.dtype) for each in weights)
    y = conv(_frames_of(x), kernel, 1, precision)
    return (y + bias[None, None, None]).reshape(*x.shape[:-1], -1)


def _frames_of(x: Float[Array, "O T h w C"]) -> Float[Array, "OT h w C"]:
    return x.reshape(-1, *x.shape[2:])


def _pool(x: Float[Array, "O T h w D"]) -> Float[Array, "O T h2 w2 D"]:
    """Maxima of 2x2 cells; an odd last row or column is dropped."""
    objects, frames, height, width, channels = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    split = (objects, frames, height // 2, 2, width // 2, 2, channels)
    return x.reshape(split).max((3, 5))


def _reference(
    theta: Float[Array, "O T h w D"],
    phi: Float[Array, "O T h2 w2 D"],
    g: Float[Array, "O T h2 w2 D"],
    precision: lax.PrecisionLike,
) -> Float[Array, "O T h w D"]:
    """The formula as written: relations of all cells, in float32."""
    cells, *pooled = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (theta, phi, g))
    related = product_of(precision, "oid,ojd->oij", cells, pooled[0])
    related = (related / pooled[0].shape[1]).astype(theta.dtype)
    found = product_of(precision, "oij,ojd->oid", related, pooled[1])
    return found.astype(theta.dtype).reshape(theta.shape)


def _by_channels(
    theta: Float[Array, "O T h w D"],
    phi: Float[Array, "O T h2 w2 D"],
    g: Float[Array, "O T h2 w2 D"],
    precision: lax.PrecisionLike,
) -> Float[Array, "O T h w D"]:
    """Without a softmax the products may change places: `theta (phi^T g) / n`."""
    cells = phi.shape[1] * phi.shape[2] * phi.shape[3]
    related = jnp.einsum("othwc,othwd->ocd", phi / cells, g, precision=precision)
    return jnp.einsum("othwc,ocd->othwd", theta, related, precision=precision)
