"""What a memory read is asked for, and what all of its forms share.

    out_q = sum_m w_qm value_m,   w_qm = n_m exp(s_qm) / sum_m' n_m' exp(s_qm')

with s the similarity of keys and a bias, and n how often a cell counts. Letters beside
the package's: `q` query cell and `m` memory cell of one slot, both `h * w` flattened
row by row; `K` keys of a slot: one for all objects or one for each; `G` objects that
have the same keys, `O = K * G`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.ops.scores import Similarity, product_of

Bias = Callable[[Int[Array, ""], Int[Array, ""]], Float[Array, "q m"]]
"""What to add to the scores of one slot (first argument) of one object (second)."""


@dataclass(frozen=True)
class SlotBias:
    """A `Bias` that is computed from what each slot of each object has.

    A bank that is divided between devices takes such a one alone, since it is divided
    with the bank.

    Attributes:
      of: Makes the bias of one slot of one object, from its share of `given`.
      given: Arrays `[N, O, ...]`.
    """

    of: Callable[..., Float[Array, "q m"]]
    given: tuple[Array, ...]

    def __call__(self, slot: Array, which: Array) -> Float[Array, "q m"]:
        """As a `Bias`."""
        return self.of(*(x[slot, which] for x in self.given))


Ties = Literal["all", "first"]
"""Of cells that tie with the k-th best: all count, or those that come first."""


class Rules(NamedTuple):
    """How cells are weighted; nothing that is traced but what `bias` refers to.

    Attributes:
      similarity: Of a query key and a memory key.
      top_k: Keep only the k best cells of each query cell; None keeps all.
      ties: Which of those that tie with the k-th.
      bias: Added to the scores before all else; None for nothing.
      precision: Of the matrix products.
    """

    similarity: Similarity = "dot"
    top_k: int | None = None
    ties: Ties = "all"
    bias: Bias | None = None
    precision: lax.PrecisionLike = "highest"

    @property
    def exactly(self) -> int | None:
        """`top_k` where no more than so many cells count; None else."""
        return self.top_k if self.ties == "first" else None

    def product(self, equation: str, a: Array, b: Array) -> Array:
        """`product_of` at this precision."""
        return product_of(self.precision, equation, a, b)


class Problem(NamedTuple):
    """A read: who asks, what there is, and by which rules.

    Attributes:
      query: One key per query cell, for all objects or for each.
      keys: Slots in any order; the order changes rounding only.
      values: Of each object.
      copies: How often each slot counts, 0 for not at all.
      rules: How cells are weighted.
    """

    query: Float[Array, "Q q Ck"]
    keys: Float[Array, "N K h w Ck"]
    values: Float[Array, "N O h w Cv"]
    copies: Int[Array, "N K"]
    rules: Rules

    @property
    def cells(self) -> int:
        """Memory cells of a slot."""
        return self.keys.shape[2] * self.keys.shape[3]

    @property
    def best(self) -> int | None:
        """Cells that are kept; None where that is all there are."""
        k = self.rules.top_k
        return None if k is None or k >= self.keys.shape[0] * self.cells else k


class Reading(NamedTuple):
    """What was read.

    Attributes:
      value: Float32; zeros where nothing counts.
      usage: Sum of the weights that all query cells gave to each memory cell; None
        unless it was asked for. Sums to the query cells.
    """

    value: Float[Array, "O q Cv"]
    usage: Float[Array, "N K h w"] | None


class Partial(NamedTuple):
    """Softmax over some of the cells (Milakov & Gimelshein, 2018).

    Attributes:
      highest: The maximum that is taken from the scores before `exp`.
      total: Sum of the weights.
      value: Weighted sum of the values.
    """

    highest: Float[Array, "*b q"]
    total: Float[Array, "*b q"]
    value: Float[Array, "*b G q Cv"]


def divided(
    total: Float[Array, "*b q"], value: Float[Array, "*b G q Cv"]
) -> Float[Array, "*b G q Cv"]:
    """The mean, zeros where nothing counts."""
    return value / jnp.where(total > 0, total, 1)[..., None, :, None]


class Best(NamedTuple):
    """The best cells, best first.

    Attributes:
      scores: Their similarities; the lowest number where there is none.
      cells: Their indices among those of all slots.
      copies: How often each counts.
    """

    scores: Float[Array, "*b q k"]
    cells: Int[Array, "*b q k"]
    copies: Int[Array, "*b q k"]

    def weights(self, top_k: int) -> Float[Array, "*b q k"]:
        """Softmax over the cells with their copies, at most `top_k` of them."""
        before = jnp.cumsum(self.copies, axis=-1) - self.copies
        taken = jnp.clip(top_k - before, 0, self.copies)
        return softmax_of_copies(self.scores, taken)


def softmax_of_copies(
    scores: Float[Array, "*b q n"], copies: Int[Array, "*b q n"]
) -> Float[Array, "*b q n"]:
    """Weights of cells that count `copies` times; zeros where none does."""
    highest = lax.stop_gradient(scores.max(-1, keepdims=True))
    # What is not taken must not reach exp: its gradient would be 0 * inf.
    shifted = jnp.where(copies > 0, scores - highest, 0)
    weights = copies * jnp.exp(shifted)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def usage_of_best(
    weights: Float[Array, "K q k"], cells: Int[Array, "K q k"], count: int
) -> Float[Array, "K M"]:
    """What query cells gave to each of `count` memory cells."""

    def add(weights: Array, cells: Array) -> Array:
        return jnp.zeros(count).at[cells].add(weights)

    return jax.vmap(add)(weights, cells)


def flat(bank: Float[Array, "N K h w C"]) -> Float[Array, "N K m C"]:
    """With the cells of a slot in one axis."""
    return bank.reshape(*bank.shape[:2], -1, bank.shape[-1])


def biases(
    rules: Rules, slots: Int[Array, " n"], objects: int
) -> Float[Array, "n O q m"] | None:
    """The bias of some slots of all objects."""
    if rules.bias is None:
        return None
    each = jax.vmap(jax.vmap(rules.bias, (None, 0)), (0, None))
    found: Array = each(slots, jnp.arange(objects))
    return found
