"""Moving a frame's content to where another frame shows the same.

Letters beside the package's: `i` cells of the frame that it is moved to, `j` of the
frame that it comes from, both `h * w` flattened row by row.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.scores import product_of

UNIT_EPSILON = 1e-12
"""Added to squared lengths, so that a vector of zeros stays one."""


def unit(x: Float[Array, "*b C"]) -> Float[Array, "*b C"]:
    """Vectors of length 1, float32; one of zeros stays one, with a finite gradient."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + UNIT_EPSILON)


def cosine_correspondence(
    current: Float[Array, "h w C"],
    reference: Float[Array, "h w C"],
    alpha: float = 100.0,
    *,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "i j"]:
    """What each cell of a frame takes of each cell of a reference.

        S_ij = softmax_j(alpha cos(current_i, reference_j))

    DMN-AOA (ICCV 2021) sec. 3.3, eq. 2, for whole frames. Costs (hw)^2 C multiply-adds.

    Returns:
      float32, with similarities and softmax in it; rows sum to 1.
    """
    here, there = (unit(x).reshape(-1, x.shape[-1]) for x in (current, reference))
    cosine = product_of(precision, "ic,jc->ij", here, there)
    return jax.nn.softmax(alpha * cosine, axis=-1)


def move_patches(
    feature: Float[Array, "H W C"],
    correspondence: Float[Array, "i j"],
    k: int,
    *,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "H W C"]:
    """Replaces each patch of k x k by a weighted sum of all patches.

        patch_i = sum_j S_ij patch_j

    So one correspondence of cells moves maps of any finer stride, and what is inside a
    cell keeps its order. Costs (hw)^2 k^2 C multiply-adds, that is hw H W C.

    Args:
      feature: `[h k, w k, C]`.
      correspondence: Of the h w patches, from `cosine_correspondence`.
      k: Side of a patch.
      precision: Of the matrix product, which is added up in float32.

    Returns:
      Of the feature's type.
    """
    height, width, channels = feature.shape
    rows, columns = height // k, width // k
    patches = feature.reshape(rows, k, columns, k, channels).swapaxes(1, 2)
    weights = correspondence.astype(feature.dtype)
    patches = patches.reshape(rows * columns, -1)
    moved = product_of(precision, "ij,jc->ic", weights, patches).astype(feature.dtype)
    moved = moved.reshape(rows, columns, k, k, channels).swapaxes(1, 2)
    return moved.reshape(height, width, channels)
