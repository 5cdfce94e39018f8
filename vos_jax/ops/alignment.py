"""Adaptive object alignment: how alike an object and proposals are, pose aside.

DMN-AOA (ICCV 2021) sec. 3.3. Each cell i of a template looks for its like among the
cells j of a proposal; the proposal is laid out as the template is, and only then
compared with it, cell by cell.

Letters beside the package's: `N` proposals, `s` side of a map, `i j` cells of template
and proposal, both `s * s` flattened row by row.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vos_jax.ops.patches import unit
from vos_jax.ops.read_forms import Implementation
from vos_jax.ops.scores import product_of


class Aligned(NamedTuple):
    """What an alignment finds; all float32.

    Attributes:
      similarity: Of objects and proposals, from -1 to 1.
      aligned: Proposals as each object lays them out; None where it was not kept.
      correspondence: What a template's cell takes of a proposal's; None likewise.
    """

    similarity: Float[Array, "O N"]
    aligned: Float[Array, "O N s s C"] | None = None
    correspondence: Float[Array, "O N i j"] | None = None


def align(
    template: Float[Array, "O s s C"],
    proposals: Float[Array, "N s s C"],
    alpha: float = 100.0,
    center: bool = False,
    *,
    implementation: Implementation = "auto",
    precision: lax.PrecisionLike = "highest",
) -> Aligned:
    """Aligns every proposal to every template and compares them.

        S_ij = softmax_j(alpha cos(T_i, P_j))           eq. 2
        P'_i = sum_j S_ij P_j                           eq. 3
        similarity = mean over i of cos(T_i, P'_i)

    The last line is ours: the paper compares T with P' and does not say whether as
    wholes. Costs 2 O N s^4 C multiply-adds.

    Args:
      template: Projected templates.
      proposals: Projected proposals.
      alpha: Sharpens the correspondence.
      center: Subtract each map's mean over its cells from it first.
      implementation: `reference` is the formula, and keeps all of it; `slots` and
        `blocks` align to one object after the other, in the backward pass too, and keep
        the similarity alone. So does `auto`.
      precision: Of the matrix products.
    """
    maps = _cells(template, center), _cells(proposals, center)
    product = partial(product_of, precision)
    # No form has conditions, and one object's work is large enough for any device.
    find = _reference if implementation == "reference" else _by_object
    return find(*maps, alpha, product)


def compare_unaligned(
    template: Float[Array, "O s s C"],
    proposals: Float[Array, "N s s C"],
    center: bool = False,
    *,
    precision: lax.PrecisionLike = "highest",
) -> Float[Array, "O N"]:
    """The similarity of `align` with the identity for S: cells of the same place."""
    maps = _cells(template, center), _cells(proposals, center)
    cosine = product_of(precision, "oic,nic->on", *map(unit, maps))
    return cosine / maps[0].shape[1]


def _cells(x: Float[Array, "*b s s C"], center: bool) -> Float[Array, "*b i C"]:
    x = x.reshape(*x.shape[:-3], -1, x.shape[-1]).astype(jnp.float32)
    return x - x.mean(axis=-2, keepdims=True) if center else x


_Product = Callable[..., Array]


def _reference(
    template: Float[Array, "O i C"],
    proposals: Float[Array, "N j C"],
    alpha: float,
    product: _Product,
) -> Aligned:
    """The formula as written."""
    template, objects = unit(template), template.shape[0]
    cosine = product("oic,njc->onij", template, unit(proposals))
    correspondence = jax.nn.softmax(alpha * cosine, axis=-1)
    aligned = product("onij,njc->onic", correspondence, proposals)
    similarity = (template[:, None] * unit(aligned)).sum(-1).mean(-1)
    side = round(proposals.shape[1] ** 0.5)
    shape = objects, proposals.shape[0], side, side, -1
    return Aligned(similarity, aligned.reshape(shape), correspondence)


def _by_object(
    template: Float[Array, "O i C"],
    proposals: Float[Array, "N j C"],
    alpha: float,
    product: _Product,
) -> Aligned:
    """One object at a time, each with all proposals."""
    proposals_unit = unit(proposals)

    @partial(jax.checkpoint, prevent_cse=False)
    def compare(own: Float[Array, "i C"]) -> Float[Array, " N"]:
        cosine = product("njc,ic->nij", proposals_unit, own)
        correspondence = jax.nn.softmax(alpha * cosine, axis=-1)
        aligned = product("nij,njc->nic", correspondence, proposals)
        return (own[None] * unit(aligned)).sum(-1).mean(-1)

    return Aligned(lax.map(compare, unit(template)))
