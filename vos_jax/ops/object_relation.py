"""Relations between an object as it was first seen and a frame.

LCM (Hu et al., CVPR 2021) sec. 3.4. Object and frame are sets of cells, and each cell
x_j of the one gathers from all cells f_i of the other, of which a frame has d:

    x_j + 1/d sum_i (f_i . x_j) g(f_i),   g(f) = W f + b

Eqs. 7 to 10 are this, both ways. The weights are plain dot products, without a softmax,
so the sum is a matrix times x_j: no affinity of cells with cells is ever needed, and
what is kept of an object does not grow with the frame.

Letters beside the package's: `i j` channels of values.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from vos_jax.ops.scores import product_of


class CellSet(NamedTuple):
    """What relations need of a set of cells; float32.

    Attributes:
      products: Sum of the cells' outer products, over the number d of a frame's cells.
      total: Sum of the cells, over the same number.
      mean: Of the cells; zeros of an empty set.
    """

    products: Float[Array, "*b Cv Cv"]
    total: Float[Array, "*b Cv"]
    mean: Float[Array, "*b Cv"]


def foreground_cells(coverage: Float[Array, "*b h w"]) -> Bool[Array, "*b h w"]:
    """The cells of an object: those that its mask covers by half.

    An object that covers none so far has the cells that it covers most; an empty mask
    has none.
    """
    most = coverage.max(axis=(-2, -1), keepdims=True)
    return (coverage >= jnp.minimum(most, 0.5)) & (most > 0)


def cell_set(
    value: Float[Array, "*b h w Cv"],
    chosen: Bool[Array, "*b h w"],
    precision: lax.PrecisionLike = "highest",
) -> CellSet:
    """Sums over the chosen cells, in the shapes of all of them.

    Others count as zeros, which is the same as leaving them out, whatever `b` adds to
    their `g`: their dot products are 0.
    """
    *batch, height, width, channels = value.shape
    value = jnp.where(chosen[..., None], value, 0)
    value = value.reshape(*batch, height * width, channels)
    count = chosen.sum(axis=(-2, -1)).astype(jnp.float32)[..., None]
    total = value.sum(axis=-2, dtype=jnp.float32)
    return CellSet(
        product_of(precision, "...ci,...cj->...ij", value, value) / (height * width),
        total / (height * width),
        total / jnp.maximum(count, 1),
    )


def gather_matrix(
    cells: CellSet,
    kernel: Float[Array, "Cv Cv"],
    bias: Float[Array, " Cv"],
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "*b Cv Cv"]:
    """The matrix A of what a cell x gathers from a set: `A x` is added to it.

        A = 1/d sum_i g(f_i) f_i^T = W (1/d sum_i f_i f_i^T) + b (1/d sum_i f_i)^T

    In float32; rows are outputs.

    Args:
      cells: The set.
      kernel: W, transposed as layers have it: inputs, then outputs.
      bias: b.
      precision: Of the matrix product.
    """
    outer = (
        bias.reshape(*[1] * (cells.total.ndim - 1), -1, 1) * cells.total[..., None, :]
    )
    return product_of(precision, "ki,...kj->...ij", kernel, cells.products) + outer
