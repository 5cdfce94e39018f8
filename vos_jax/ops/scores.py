"""Scores of memory cells: products of keys, as similarities.

Letters beside the package's: `q` query cell and `m` memory cell, both `h * w` flattened
row by row.
"""

from typing import Literal

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


def scores_of(
    similarity: Similarity,
    products: Float[Array, "*b q m"],
    squares: Float[Array, "*b m"] | None,
    channels: int,
    bias: Float[Array, "*b q m"] | None = None,
) -> Float[Array, "*b q m"]:
    """Scores from products of keys.

    Args:
      similarity: Of the keys.
      products: `<q, m>`.
      squares: `<m, m>`; None for dot products.
      channels: Ck.
      bias: What is added.
    """
    if similarity == "l2":
        assert squares is not None
        products = 2 * products - squares[..., None, :]
    scores = products * channels**-0.5
    return scores if bias is None else scores + bias


def just_below(
    threshold: Float[Array, "*b q 1"],
    scores: Float[Array, "*b q m"],
    squares: Float[Array, "*b m"] | None,
    bias: Float[Array, "*b q m"] | None,
) -> Float[Array, "*b q m"]:
    """The threshold less what rounding may have done to a score that is a sum.

    A sum may be rounded in another way here than where it was ranked, and the last cell
    that counts must not be below itself.
    """
    if bias is None and squares is None:
        return threshold
    terms = jnp.abs(scores)
    if bias is not None:
        terms = terms + jnp.abs(bias)
    if squares is not None:
        terms = terms + jnp.abs(squares)[..., None, :]
    return threshold - 4 * _EPSILON * lax.stop_gradient(terms)
