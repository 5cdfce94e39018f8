"""The position map as a kind of read.

Letters and what is counted are those of `kind`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from vos_jax.bench.reads.kind import (
    Memory,
    ReadKind,
    Variant,
    Work,
    fast_form,
    moved_bytes,
    normal,
)
from vos_jax.ops.position_map import position_map


@dataclass(frozen=True, kw_only=True)
class PositionMap(ReadKind):
    """The position map: the mean of the k strongest responses of memory cells.

    Reads the previous frame alone, so it is the same for any T. All cells respond,
    whatever k is: k only says how many of them are looked for. The reference holds
    `O n^2` responses; the peak memory beside it is what the fast one is for.
    """

    name: str = "position-map"
    key_dim: int = 128
    top_k: tuple[int, ...] = (1, 8, 32)

    def variants(self) -> list[Variant]:
        """A reference and a fast map for each k."""
        return [
            Variant(implementation, top_k)
            for top_k in self.top_k
            for implementation in ("reference", fast_form())
        ]

    def program(self, variant: Variant, precision: str) -> Callable[..., jax.Array]:
        """The map, a function of query keys, memory keys and coverage."""
        assert variant.top_k is not None
        return partial(
            position_map,
            k=variant.top_k,
            implementation=variant.implementation,
            precision=precision,
        )

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Keys `[h, w, C]` and `[O, h, w, C]`, coverage `[O, h, w]`; of one frame."""
        grid = self.grid(memory)
        cells = memory.objects, *grid
        keys = normal(memory.dtype, (*grid, self.key_dim), (*cells, self.key_dim))
        return (*keys, jax.random.uniform(jax.random.key(1), cells))

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O n^2 C`, of the scores; loads `(1 + O) n` keys, stores `O n`.

        No T and no k in it. Coverage is not counted: a number beside each key.
        """
        height, width = self.grid(memory)
        cells = height * width
        mapped = memory.objects * cells
        loaded = (cells + mapped) * self.key_dim
        flop = 2 * cells * mapped * self.key_dim
        return Work(flop, moved_bytes(memory, loaded, stored=mapped))
