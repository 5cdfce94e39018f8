"""Scores of memory cells: products of keys, as similarities.

Letters beside the package's: `q` query cell and `m` memory cell, both `h * w` flattened
row by row.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Similarity = Literal["dot", "l2"]
"""`dot`: `<q, m> / sqrt(Ck)`; `l2`: `-|q - m|^2 / sqrt(Ck)` up to a constant of q."""

LOWEST = float(jnp.finfo(jnp.float32).min)
"""A score that stands for none: no weight, and unlike infinity no NaN."""

_EPSILON = float(jnp.finfo(jnp.float32).eps)


def product_of(
    precision: lax.PrecisionLike, equation: str, a: Array, b: Array
) -> Array:
    """A matrix product that is added up in float32, whatever the types."""
    return jnp.einsum(
        equation, a, b, precision=precision, preferred_element_type=jnp.float32
    )


def squares_of(keys: Float[Array, "*b m Ck"]) -> Float[Array, "*b m"]:
    """Squared lengths, in float32."""
    return jnp.square(keys.astype(jnp.float32)).sum(-1)


class Scores(NamedTuple):
    """Scores, with what they are the sum of.

    Attributes:
      scores: Similarities, and the bias where there is one.
      squares: `<m, m>`; None for dot products.
      bias: What was added; None for nothing.
    """

    scores: Float[Array, "*b q m"]
    squares: Float[Array, "*b m"] | None
    bias: Float[Array, "*b q m"] | None

    def not_below(
        self, threshold: Float[Array, "*b q 1"] | None
    ) -> Float[Array, "*b q m"]:
        """The scores, `LOWEST` where they are below the threshold, if there is one.

        Before any maximum is taken of them, or exp overflows and its gradient is
        0 * inf.
        """
        if threshold is None:
            return self.scores
        lowest = threshold
        if self.bias is not None or self.squares is not None:
            # A sum may be rounded in another way here than where it was ranked, and
            # the last cell that counts must not be below itself.
            terms = jnp.abs(self.scores)
            if self.bias is not None:
                terms = terms + jnp.abs(self.bias)
            if self.squares is not None:
                terms = terms + jnp.abs(self.squares)[..., None, :]
            lowest = threshold - 4 * _EPSILON * lax.stop_gradient(terms)
        return jnp.where(self.scores < lowest, LOWEST, self.scores)


def scores_of(
    similarity: Similarity,
    products: Float[Array, "*b q m"],
    keys: Float[Array, "*b m Ck"],
    bias: Float[Array, "*b q m"] | None = None,
) -> Scores:
    """Scores from products of keys.

    Args:
      similarity: Of the keys.
      products: `<q, m>`.
      keys: Of the memory.
      bias: What is added.
    """
    squares = squares_of(keys) if similarity == "l2" else None
    if squares is not None:
        products = 2 * products - squares[..., None, :]
    scores = products * keys.shape[-1] ** -0.5
    return Scores(scores if bias is None else scores + bias, squares, bias)


def weights_of(
    scores: Float[Array, "*b q m"],
    highest: Float[Array, "*b q"],
    threshold: Float[Array, "*b q 1"] | None,
) -> Float[Array, "*b q m"]:
    """Weights of scores `not_below` a threshold, not yet divided by their sum."""
    weights = jnp.exp(scores - highest[..., None])
    return weights if threshold is None else jnp.where(scores > LOWEST, weights, 0)
