"""Kernel guidance: where memory cells have gone, and reads that stay near there.

HMMN (Seong et al., ICCV 2021) sec. 3.1. Every memory cell has a centre in the frame
that is being segmented, and a Gaussian about it weighs what the cell gives to each
query cell. Cells of a grid are numbered row by row.

Letters beside the package's: `q` query cell and `m` memory cell, both `h * w` flattened
row by row.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from vos_jax.ops.divided import by_slot
from vos_jax.ops.platform import Platform
from vos_jax.ops.read import space_time_read
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.read_forms.problem import SlotBias
from vos_jax.ops.scores import LOWEST, product_of


class Kernel(NamedTuple):
    """Gaussians over the query's grid, one for every memory cell.

    Attributes:
      centre: The query cell in the middle.
      sigma: Standard deviation in cells, positive, in slots that are not filled too.
    """

    centre: Int[Array, "N O h w"]
    sigma: Float[Array, "N O"]


def kernel_log(
    centre: Int[Array, "h w"], sigma: Float[Array, ""]
) -> Float[Array, "q m"]:
    """Logarithm of the Gaussians of one slot, 0 at their peaks.

        log G_qm = -|q - centre_m|^2 / (2 sigma^2)

    The kernels of HMMN eq. 2. In the log domain they are added to the scores. The
    published program multiplies the softmax and divides by the new sum instead, which
    is the same but for underflow: far from all centres that is 0 / 0.
    """
    height, width = centre.shape
    row, column = jnp.divmod(jnp.arange(height * width), width)
    centre_row, centre_column = jnp.divmod(centre.reshape(-1), width)
    down = row[:, None] - centre_row[None]
    right = column[:, None] - centre_column[None]
    distance = (down * down + right * right).astype(jnp.float32)
    return distance * (-0.5 / jnp.square(sigma))


def kernel_guided_read(
    query_key: Float[Array, "h w Ck"],
    memory_key: Float[Array, "N O h w Ck"],
    memory_value: Float[Array, "N O h w Cv"],
    filled: Bool[Array, "N O"],
    kernel: Kernel | None,
    *,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
    mesh: Mesh | None = None,
) -> Float[Array, "O h w Cv"]:
    """Reads each object's memory near where its cells have gone.

        out_q = sum_m w_qm value_m,   w_qm = A_qm G_qm / sum_m' A_qm' G_qm'

    HMMN sec. 3.1: scores (eq. 1), whose softmax over all memory cells is A; times the
    Gaussians (eq. 2); retrieved value (eq. 3). None for `kernel` is the plain read of
    `vos_jax.ops.read.space_time_read`, which explains the other arguments.
    """
    return space_time_read(
        query_key,
        memory_key,
        memory_value,
        filled,
        bias=None if kernel is None else _bias(kernel),
        implementation=implementation,
        platform=platform,
        precision=precision,
        mesh=mesh,
    )


def _bias(kernel: Kernel) -> SlotBias:
    return SlotBias(kernel_log, tuple(jnp.asarray(x) for x in kernel))


def local_match(
    memory_key: Float[Array, "h w Ck"],
    query_key: Float[Array, "h w Ck"],
    window: int = 7,
    precision: lax.PrecisionLike = "highest",
) -> Int[Array, "h w"]:
    """The best query cell of every memory cell, among those of a window around it.

    HMMN sec. 3.1: the arg-max of the dot products; the earlier cell of those that tie.
    At its border the window is cut. Holds `window` rows of the affinity for each cell.

    Args:
      memory_key: Of the previous frame, one object.
      query_key: Of the frame that is being segmented.
      window: Side of the window in cells, odd.
      precision: Of the matrix products.

    Raises:
      ValueError: The window has no middle.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: use an odd number of cells, such as 7")
    height, width, _ = memory_key.shape
    reach = window // 2
    query = jnp.pad(query_key, ((reach, reach), (0, 0), (0, 0)))
    shifts, row, column = (jnp.arange(size) for size in (window, height, width))
    # Every cell with the whole of each row that is `shift - reach` below it.
    rows = query[row[:, None] + shifts[None]]
    scores = product_of(precision, "hwc,hsvc->hwsv", memory_key, rows)
    below = row[:, None] + shifts[None] - reach
    is_row = (below >= 0) & (below < height)
    is_near = jnp.abs(column[:, None] - column[None]) <= reach
    inside = is_row[:, None, :, None] & is_near[None, :, None]
    best = jnp.where(inside, scores, LOWEST).reshape(height, width, -1).argmax(-1)
    down, to = jnp.divmod(best, width)
    return ((row[:, None] + down - reach) * width + to).astype(jnp.int32)


def global_match(
    memory_key: Float[Array, "h w Ck"],
    query_key: Float[Array, "h w Ck"],
    precision: lax.PrecisionLike = "highest",
) -> Int[Array, "h w"]:
    """The best query cell of every memory cell, wherever it is.

    The centres of KMN (Seong et al., ECCV 2020), which HMMN compares its own with.
    """
    channels = memory_key.shape[-1]
    memory, query = (x.reshape(-1, channels) for x in (memory_key, query_key))
    scores = product_of(precision, "mc,qc->mq", memory, query)
    return scores.argmax(-1).astype(jnp.int32).reshape(memory_key.shape[:2])


def follow(
    track: Int[Array, "N O h w"],
    hop: Int[Array, "O h w"],
    mesh: Mesh | None = None,
) -> Int[Array, "N O h w"]:
    """Tracks that ended in a frame, with one hop more to the next one.

    Args:
      track: The cell that each memory cell has come to.
      hop: The cell of the next frame that each cell of the frame goes to.
      mesh: Between whose devices slots are divided; nothing travels.
    """
    return by_slot(mesh, _follow, track, hop)


def _follow(track: Array, hop: Array) -> Array:
    flat, hop = track.reshape(*track.shape[:2], -1), hop.reshape(1, hop.shape[0], -1)
    return jnp.take_along_axis(hop, flat, axis=-1).reshape(track.shape)
