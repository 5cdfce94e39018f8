"""Position maps: where in a frame the objects of the frame before are likely to be.

LCM (Hu et al., CVPR 2021) sec. 3.3. A softmax over places of the *query* sends every
memory cell somewhere; a query cell is likely to show the object when cells of its mask
are sent there.

Letters beside the package's: `q` query cell and `m` memory cell, both `h * w` flattened
row by row.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import Implementation, form_of
from vos_jax.ops.scores import product_of


def position_map(
    query: Float[Array, "h w C"],
    memory: Float[Array, "O h w C"],
    coverage: Float[Array, "O h w"],
    *,
    k: int = 8,
    scaled: bool = True,
    implementation: Implementation = "auto",
    platform: Platform | None = None,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O h w"]:
    """Mean of the k strongest responses of memory cells to each query cell.

        map_q = mean of the k largest S_qm over m

    LCM sec. 3.3: S is the `response` (eq. 5), the map what the query's value is
    multiplied with (eq. 6). Costs 2 O (hw)^2 C FLOP.

    Args:
      query: Local keys with their positions.
      memory: The same of the frame before, for each object.
      coverage: How much of each memory cell the object's mask covers, in [0, 1].
      k: Responses that count; all of them where there are fewer.
      scaled: Divide the dot products by sqrt(C), which the paper does not show.
      implementation: `reference` holds the responses of all cells of all objects;
        `slots` as many as a core's cache holds and `blocks` as keep an accelerator
        busy, in the backward pass too. `auto` takes `slots` on CPUs, else `blocks`.
      platform: What the program is built for; None leaves it to the lowering.
      precision: Of the matrix product.

    Returns:
      float32, above 0 and below 1: similarities and softmax are float32 whatever comes
      in.
    """
    objects, height, width, channels = memory.shape
    cells = height * width
    respond = partial(
        response, query.reshape(cells, channels), scaled=scaled, precision=precision
    )
    find = {
        "reference": partial(_reference, respond, min(k, cells)),
        "slots": partial(_in_parts, CACHE, respond, min(k, cells)),
        "blocks": partial(_in_parts, ROOM, respond, min(k, cells)),
    }
    found = form_of(find, implementation, platform)(
        memory.reshape(objects, cells, channels),
        coverage.reshape(objects, cells),
    )
    return found.reshape(objects, height, width)


def response(
    query: Float[Array, "q C"],
    memory: Float[Array, "m C"],
    coverage: Float[Array, " m"],
    *,
    scaled: bool = True,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "q m"]:
    """Where memory cells are sent: a softmax over the query, weighted by the mask.

        S_qm = softmax_q(query_q . memory_m / sqrt(C)) exp(coverage_m) / e

    LCM sec. 3.3, eq. 5; without the division where not `scaled`. Needs all query cells,
    and as many memory cells as are asked for; float32.
    """
    scores = product_of(precision, "qc,mc->qm", query, memory)
    if scaled:
        scores = scores * query.shape[-1] ** -0.5
    weight = jnp.exp(coverage.astype(jnp.float32) - 1)
    return jax.nn.softmax(scores, axis=0) * weight[None]


CACHE, ROOM = 2**20, 2**26
"""Responses at a time: that a core's cache holds, that an accelerator has room for."""

_Respond = Callable[..., Float[Array, "q m"]]


def _reference(
    respond: _Respond,
    k: int,
    memory: Float[Array, "O m C"],
    coverage: Float[Array, "O m"],
) -> Float[Array, "O q"]:
    """The formula as written."""
    return lax.top_k(jax.vmap(respond)(memory, coverage), k)[0].mean(-1)


def _in_parts(
    room: int,
    respond: _Respond,
    k: int,
    memory: Float[Array, "O m C"],
    coverage: Float[Array, "O m"],
) -> Float[Array, "O q"]:
    """Some memory cells of one object, or all of some objects, after the others.

    Each of them needs all query cells, for its softmax, and no other memory cell: so
    one pass that keeps the k best so far is enough. Rematerialised in the backward
    pass.
    """
    cells, channels = memory.shape[1:]
    parts = -(-cells * cells // room)
    size = -(-cells // parts)
    extra = parts * size - cells

    @partial(jax.checkpoint, prevent_cse=False)
    def add(
        best: Float[Array, "q k"], part: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, "q k"], None]:
        memory, coverage, is_cell = part
        # No response is below 0, so that a cell that is none does not count.
        found = jnp.where(is_cell[None], respond(memory, coverage), 0)
        return lax.top_k(jnp.concatenate([best, found], -1), k)[0], None

    def find(own: tuple[Array, Array]) -> Float[Array, " q"]:
        memory, coverage = own
        split = (
            jnp.pad(memory, ((0, extra), (0, 0))).reshape(parts, size, channels),
            jnp.pad(coverage, (0, extra)).reshape(parts, size),
            (jnp.arange(parts * size) < cells).reshape(parts, size),
        )
        return lax.scan(add, jnp.zeros((cells, k)), split)[0].mean(-1)

    together = min(memory.shape[0], max(room // (cells * cells), 1))
    return lax.map(find, (memory, coverage), batch_size=together)
