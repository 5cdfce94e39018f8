"""The update of a recurrent embedding as a kind of read.

Letters are those of `kind`, and C the channels of an embedding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vos_jax.bench.reads.kind import (
    Memory,
    ReadKind,
    Variant,
    Work,
    moved_bytes,
    normal,
)
from vos_jax.errors import InputError
from vos_jax.ops.aggregation import (
    RATES,
    Affine,
    Enhance,
    Extract,
    Weights,
    aggregate,
)


@dataclass(frozen=True, kw_only=True)
class Recurrent(ReadKind):
    """SAM: all frames so far, in one embedding, and a new one become the next.

    It stands for a memory that grows, so it costs the same for any T. Each object has
    an embedding of its own; all share the weights. The reference has a matrix of all
    cells by all pooled cells of both frames.

    Attributes:
      key_dim: C, of keys or of values; a multiple of 4.
    """

    name: str = "recurrent-value"
    key_dim: int = 512
    top_k: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.key_dim % 4:
            raise InputError(f"key_dim={self.key_dim}: use a multiple of 4")
        if self.top_k:
            raise InputError(f"top_k={self.top_k}: {self.name} reads keep all cells")

    def variants(self) -> list[Variant]:
        """A reference and the fast update."""
        return [Variant("reference"), Variant("auto")]

    def program(self, variant: Variant, precision: str) -> Callable[..., jax.Array]:
        """The update, a function of weights, recurrent and new embedding."""
        return partial(
            aggregate, implementation=variant.implementation, precision=precision
        )

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Weights, float32 as those of networks, and two embeddings `[O, h, w, C]`."""
        shape = memory.objects, *self.grid(memory), self.key_dim
        return _weights(self.key_dim), *normal(memory.dtype, shape, shape)

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O C^2 (54 n + (p + 2 n) / 4)`, p of the 2 n cells being pooled.

        No T in it. For each cell of two frames: 2 C^2 multiply-adds by the kernels of
        1x1 around the relations, 7 C^2 by those of several rates, 9 C^2 by the merging
        one, 9 C^2 by the squeezing one; places beside the frame count as cells. And
        relations, which need a matrix of C/2 by C/2: p C^2 / 4 to make and 2 n C^2 / 4
        to apply it. Loads the weights, float32, once for all objects, and two
        embeddings; stores one, in the type of these.
        """
        height, width = self.grid(memory)
        cells, pooled = height * width, 2 * (height // 2) * (width // 2)
        kernels = 54 * cells * self.key_dim**2
        relations = (pooled + 2 * cells) * (self.key_dim // 2) ** 2
        flop = 2 * memory.objects * (kernels + relations)
        shapes = jax.eval_shape(lambda: _weights(self.key_dim))
        weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        embeddings = 3 * memory.objects * cells * self.key_dim
        return Work(flop, 4 * weights + moved_bytes(memory, embeddings, stored=0))


def _weights(channels: int) -> Weights:
    """Random kernels that keep the scale of what they are given, and no bias."""
    half, quarter = channels // 2, channels // 4
    keys = iter(jax.random.split(jax.random.key(1), 10))

    def kernel(*shape: int) -> jax.Array:
        taken = math.prod(shape[:-1])
        return jax.random.normal(next(keys), shape) * taken**-0.5

    def affine(*shape: int) -> Affine:
        return Affine(kernel(*shape), jnp.zeros(shape[-1]))

    return Weights(
        Extract(
            theta=affine(1, 1, channels, half),
            phi=affine(1, 1, channels, half),
            g=affine(1, 1, channels, half),
            out=affine(1, 1, half, channels),
        ),
        Enhance(
            (
                kernel(1, 1, channels, quarter),
                *(kernel(3, 3, channels, quarter) for _ in RATES),
            ),
            kernel(3, 3, 4 * quarter, channels),
        ),
        affine(2, 3, 3, channels, channels),
    )
