"""The matching layer: which proposals are which object, softly and differentiably.

DMM-Net (Zeng et al., ICCV 2019) sec. 3.3 relaxes the assignment of objects to proposals
to a linear program, and unrolls projected gradient descent on it; DMN-AOA (ICCV 2021)
sec. 3.1 takes that layer. Where paper and released program differ this is the program:
the corrections of Dykstra's projections are kept between gradient steps, and what is
averaged are the start and the iterates before their projection. So rows do not sum to
1, and each entry has a direct derivative with respect to its own similarity.

Letters beside the package's: `N` proposals.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

Average = Literal["iterates", "projected"]
"""`iterates`: as released; `projected`: after projection, so that rows sum to 1."""


def match(
    similarity: Float[Array, "O N"],
    proposal_valid: Bool[Array, " N"],
    object_valid: Bool[Array, " O"],
    *,
    n_grad: int = 40,
    n_proj: int = 5,
    step: float = 0.1,
    average: Average = "iterates",
) -> Float[Array, "O N"]:
    """Weights of proposals for objects, from one problem for all objects.

    Minimises `-sum A similarity` for A with rows that sum to 1 and columns that sum to
    at most 1: `n_grad` gradient steps, each followed by `n_proj` rounds of Dykstra's
    projections. Where there are not more proposals than objects, columns that are not
    valid become null columns, of similarity 0, until there is one more of them.

    Args:
      similarity: Of objects and proposals; what is not valid may hold anything.
      proposal_valid: Proposals that there are, out of N >= O + 1 columns.
      object_valid: Objects that there are.
      n_grad: Gradient steps.
      n_proj: Rounds of projections after each of them.
      step: Of the gradient.
      average: Of which points.

    Returns:
      float32; 0 off the valid rows and the valid and null columns. The problem is that
      of the valid ones alone. Gradients go through all steps but not through the start.

    Raises:
      ValueError: There is no column for a null proposal, or an option is unknown.
    """
    objects, columns = similarity.shape
    if columns <= objects:
        raise ValueError(
            f"{columns} columns for {objects} objects: pad to at least {objects + 1}"
        )
    if average not in get_args(Average):
        raise ValueError(f"average={average!r}: use one of {list(get_args(Average))}")
    rows = object_valid.sum()
    active = proposal_valid | _null_columns(proposal_valid, rows)
    real = object_valid[:, None] & proposal_valid[None]
    inside = object_valid[:, None] & active[None]
    cost = jnp.where(real, -similarity.astype(jnp.float32), 0)
    start = _start(lax.stop_gradient(cost), object_valid, active)
    project = _Projections(
        inside, 1 / jnp.maximum(rows, 1), 1 / jnp.maximum(active.sum(), 1)
    )

    def descend(seen: _Seen, _: None) -> tuple[_Seen, None]:
        point = seen.point - step * cost
        total = seen.total + point
        corrections = seen.corrections
        for _round in range(n_proj):
            point, corrections = project(point, corrections)
        if average == "projected":
            total = seen.total + point
        return _Seen(point, corrections, total), None

    zeros = jnp.zeros_like(cost)
    first = zeros if average == "projected" else start
    seen = _Seen(start, (zeros,) * 3, first)
    total = lax.scan(descend, seen, length=n_grad)[0].total
    return total / (n_grad if average == "projected" else n_grad + 1)


_Corrections = tuple[Array, Array, Array]


class _Seen(NamedTuple):
    """Where the descent is, Dykstra's corrections, and the sum for the average."""

    point: Float[Array, "O N"]
    corrections: _Corrections
    total: Float[Array, "O N"]


class _Projections(NamedTuple):
    """A round of projections of points that are 0 off the problem, and stay so."""

    inside: Bool[Array, "O N"]
    per_row: Float[Array, ""]
    per_column: Float[Array, ""]

    def __call__(
        self, point: Array, corrections: _Corrections
    ) -> tuple[Array, _Corrections]:
        """To entries of at least 0, columns of at most 1, rows of 1, in this order."""
        nonnegative, columns, rows = corrections
        moved = point + nonnegative
        point = jnp.maximum(moved, 0)
        nonnegative = moved - point
        moved = point + columns
        excess = jnp.maximum(moved.sum(0, keepdims=True) - 1, 0)
        columns = jnp.where(self.inside, excess * self.per_row, 0)
        point = moved - columns
        moved = point + rows
        excess = moved.sum(1, keepdims=True) - 1
        rows = jnp.where(self.inside, excess * self.per_column, 0)
        return moved - rows, (nonnegative, columns, rows)


def _null_columns(proposal_valid: Bool[Array, " N"], rows: Array) -> Bool[Array, " N"]:
    """The first columns that are not valid, as many as the problem lacks."""
    missing = rows + 1 - proposal_valid.sum()
    return ~proposal_valid & (jnp.cumsum(~proposal_valid) <= missing)


def _start(
    cost: Float[Array, "O N"],
    object_valid: Bool[Array, " O"],
    active: Bool[Array, " N"],
) -> Float[Array, "O N"]:
    """Each object's best proposal among those that prefer it; one 1 in each row."""
    rows = object_valid[:, None]
    owner = jnp.argmin(jnp.where(rows, cost, jnp.inf), axis=0)
    inside = rows & active[None]
    highest = jnp.max(jnp.where(inside, cost, -jnp.inf))
    own = owner[None] == jnp.arange(cost.shape[0])[:, None]
    best = jnp.argmin(jnp.where(inside, jnp.where(own, cost, highest), jnp.inf), axis=1)
    return jax.nn.one_hot(best, cost.shape[1]) * rows


def assign_greedily(overlap: Float[Array, "O N"]) -> Float[Array, "O N"]:
    """Pairs objects and proposals one to one, the largest overlaps first.

    Returns:
      1 for pairs, else 0. No pair has an overlap of 0.
    """

    def take(pairs: Array, _: None) -> tuple[Array, None]:
        free = ~(pairs.any(1)[:, None] | pairs.any(0)[None])
        left = jnp.where(free, overlap, 0)
        best = left == left.max()
        # One of those that tie: the first.
        best &= jnp.cumsum(best).reshape(best.shape) == 1
        return pairs | (best & (left > 0)), None

    nothing = jnp.zeros(overlap.shape, bool)
    pairs = lax.scan(take, nothing, length=overlap.shape[0])[0]
    return pairs.astype(jnp.float32)
