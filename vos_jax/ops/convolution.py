"""2-D convolutions in the forms that the backends compute fastest.

`Ci` input, `Co` output channels. Zero padding of half the kernel on every side.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.platform import Platform, by_platform

# Winograd's F(4, 3) on the points 0, 1, -1, 1/2, -2 and infinity: their rounding error
# is a fifth less than that of the usual 0, 1, -1, 2, -2 (Barabasz et al., TOMS 2020).
_INPUT = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
_KERNEL = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 1 / 2, -2, 0),
    (0, 1, 1, 1 / 4, 4, 0),
    (0, 1, -1, 1 / 8, -8, 1),
)
_ROWS = 4
_LEAST_ROWS, _LEAST_CHANNELS = 8, 16


def conv(
    x: Float[Array, "B H W Ci"],
    kernel: Float[Array, "k k Ci Co"],
    stride: int = 1,
    precision: lax.PrecisionLike = "highest",
    dilation: int = 1,
) -> Float[Array, "B Hs Ws Co"]:
    """The plain convolution; 1x1 kernels as a matrix product, which XLA does faster."""
    size = kernel.shape[0]
    if size == 1:
        x = x[:, ::stride, ::stride]
        return jnp.einsum("bhwc,cd->bhwd", x, kernel[0, 0], precision=precision)
    reach = size // 2 * dilation
    return _conv(x, kernel, (reach, reach), stride, precision, dilation)


def conv_outputs_first(
    x: Float[Array, "B H W Ci"],
    kernel: Float[Array, "Co k k Ci"],
    stride: int = 1,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "B Hs Ws Co"]:
    """`conv` with a kernel that lies as the convolutions of GPUs take it."""
    reach = kernel.shape[1] // 2
    return _conv(x, kernel, (reach, reach), stride, precision, layout="OHWI")


def _conv(
    x: Array,
    kernel: Array,
    pads: tuple[int, int],
    stride: int,
    precision: lax.PrecisionLike,
    dilation: int = 1,
    layout: str = "HWIO",
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pads[0], pads[0]), (pads[1], pads[1])],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", layout, "NHWC"),
        precision=precision,
    )


def conv_few_products(
    x: Float[Array, "B H W Ci"],
    kernel: Float[Array, "3 3 Ci Co"],
    precision: lax.PrecisionLike = "highest",
    platform: Platform | None = None,
) -> Float[Array, "B H W Co"]:
    """A 3x3 convolution of stride 1 with half the products on CPUs.

    Winograd's minimal filtering (Lavin & Gray, CVPR 2016) along the rows alone: 4 rows
    from 6 convolutions of 1x3 in place of 12. In both directions it would save more
    products, but the transforms would cost more than that, and the error is larger.
    Float32 rounding is about 2.7 times that of the direct form. Shorter types are
    transformed in float32, in which CPUs multiply them anyway, and rounded once.
    """

    def plain(x: Array, kernel: Array) -> Array:
        return conv(x, kernel, 1, precision)

    if x.shape[1] < _LEAST_ROWS or min(kernel.shape[2:]) < _LEAST_CHANNELS:
        return plain(x, kernel)

    def fewer(x: Array, kernel: Array) -> Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        out = _by_four_rows(x.astype(wide), kernel.astype(wide), precision)
        return out.astype(x.dtype)

    return by_platform(platform, fewer, plain, x, kernel)


# Layers of one shape are traced once, and the program is as if they were not.
@partial(jax.jit, static_argnums=2, inline=True)
def _by_four_rows(x: Array, kernel: Array, precision: lax.PrecisionLike) -> Array:
    batch, height, width, _ = x.shape
    tiles = -(-height // _ROWS)
    x = jnp.pad(x, [(0, 0), (1, 1 + _ROWS * tiles - height), (0, 0), (0, 0)])
    last = _ROWS * (tiles - 1) + 1
    rows = [x[:, i : i + last : _ROWS] for i in range(_ROWS + 2)]
    kernels = _blend(_KERNEL, [kernel[i : i + 1] for i in range(3)])
    products = [
        _conv(row, part, (0, 1), 1, precision)
        for row, part in zip(_blend(_INPUT, rows), kernels, strict=True)
    ]
    out = jnp.stack(_blend(_OUTPUT, products), axis=2)
    return out.reshape(batch, _ROWS * tiles, width, -1)[:, :height]


def _blend(matrix: tuple[tuple[float, ...], ...], arrays: list[Array]) -> list[Array]:
    """A small matrix times a list of arrays, without its zeros."""
    return [
        sum(c * x for c, x in zip(line, arrays, strict=True) if c)  # type: ignore[misc]
        for line in matrix
    ]
