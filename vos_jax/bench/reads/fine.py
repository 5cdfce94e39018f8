"""Kinds of read of fine cells, at few candidates each, and the choice of these.

Letters and what is counted are those of `kind`.
"""

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
    fast_form,
    filled_slots,
    kernels,
    moved_bytes,
    normal,
)
from vos_jax.errors import InputError
from vos_jax.ops.guided_read import Cells, best_cells, guided_read
from vos_jax.ops.read import space_time_read


@dataclass(frozen=True, kw_only=True)
class Guided(ReadKind):
    """A fine read: of the cells that k given coarse cells cover, and no others.

    Without k it is the space-time read of the same fine memory, which all are compared
    with. All T frames have a fine memory here. Candidates are given: `Candidates` times
    their choice.

    Attributes:
      value_dim: Cv.
      coarse_stride: Pixels of a coarse cell; a multiple of `stride`.
    """

    name: str = "guided-8"
    key_dim: int = 128
    value_dim: int = 256
    top_k: tuple[int, ...] = (8, 32, 128)
    stride: int = 8
    coarse_stride: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coarse_stride % self.stride:
            raise InputError(
                f"stride={self.stride}: coarse cells of {self.coarse_stride} pixels do"
                " not divide into such; use 8 or 4"
            )

    @property
    def _ratio(self) -> int:
        return self.coarse_stride // self.stride

    def grid(self, memory: Memory) -> tuple[int, int]:
        """Fine cells of a frame: so many that the coarse ones divide into them."""
        height, width = (-(-side // self.coarse_stride) for side in memory.size)
        return self._ratio * height, self._ratio * width

    def variants(self) -> list[Variant]:
        """The dense read, and a reference and a fast read for each k."""
        variants = [Variant(fast_form())]
        for top_k in self.top_k:
            variants += [Variant("reference", top_k), Variant(fast_form(), top_k)]
        return variants

    def baseline(self, variant: Variant) -> Variant:
        """The dense read."""
        return Variant(fast_form())

    def program(self, variant: Variant, precision: str) -> Callable[..., jax.Array]:
        """The sparse read, or without k the dense one."""
        return partial(
            space_time_read if variant.top_k is None else guided_read,
            implementation=variant.implementation,
            precision=precision,
        )

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """As of `SpaceTime`, but fine, and with k candidates in place of `filled`."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        which: Any = filled_slots(memory)
        if top_k is not None:
            coarse = grid[0] // self._ratio, grid[1] // self._ratio
            which = _spread_cells(memory, coarse, top_k)
        return (
            *normal(
                memory.dtype,
                (*grid, self.key_dim),
                (*slots, *grid, self.key_dim),
                (*slots, *grid, self.value_dim),
            ),
            which,
        )

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O n k r^4 (Ck + Cv)`: n coarse cells of r^2 fine ones, k at most T n.

        No T in it. Loads keys and values of `T n` coarse cells of every object, or of
        `k n` if that is less: as if no two query cells had the same candidate.
        """
        height, width = self.grid(memory)
        fine, share = height * width, self._ratio**2
        coarse, channels = fine // share, self.key_dim + self.value_dim
        keys = memory.frames * coarse
        kept = keys if top_k is None else min(top_k, keys)
        loaded = memory.objects * min(keys, kept * coarse) * share * channels
        flop = 2 * memory.objects * fine * kept * share * channels
        stored = memory.objects * fine * self.value_dim
        loaded += fine * self.key_dim
        return Work(flop, moved_bytes(memory, loaded, stored))


@dataclass(frozen=True, kw_only=True)
class Candidates(ReadKind):
    """The choice of candidates for fine reads: the k best of a guided affinity.

    Unlike those reads it looks at all T frames, once for all fine reads of a frame.
    """

    name: str = "candidates"
    key_dim: int = 128
    top_k: tuple[int, ...] = (8, 32, 128)

    def variants(self) -> list[Variant]:
        """There is one implementation."""
        return [Variant("reference", top_k) for top_k in self.top_k]

    def program(self, variant: Variant, precision: str) -> Callable[..., Cells]:
        """The choice, a function of query key, memory keys, filled slots and kernel."""
        assert variant.top_k is not None
        return partial(best_cells, k=variant.top_k, precision=precision)

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Keys `[N, O, h, w, Ck]`, filled `[N, O]`, kernels."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        shapes = (*grid, self.key_dim), (*slots, *grid, self.key_dim)
        keys = normal(memory.dtype, *shapes)
        return (*keys, filled_slots(memory), kernels(memory, grid))

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O T n^2 Ck`, of the scores; loads `O T n` keys, stores `O n k`."""
        height, width = self.grid(memory)
        cells = height * width
        keys = memory.frames * cells
        kept = keys if top_k is None else min(top_k, keys)
        loaded = (cells + memory.objects * keys) * self.key_dim
        stored = memory.objects * cells * kept
        flop = 2 * memory.objects * cells * keys * self.key_dim
        return Work(flop, moved_bytes(memory, loaded, stored))


def _spread_cells(memory: Memory, grid: tuple[int, int], k: int) -> Cells:
    """Candidates of every cell: one each of k equal parts of what is filled, by chance.

    So they differ from one another, and hardly any are shared by cells side by side,
    as they would be in a video: nothing is in a cache because of its neighbours.
    """
    cells = memory.frames * grid[0] * grid[1]
    k = min(k, cells)
    ends = jnp.array([part * cells // k for part in range(k + 1)])[None, None, None]
    shape = memory.objects, *grid, k
    index = jax.random.randint(
        jax.random.key(1), shape, ends[..., :-1], ends[..., 1:], jnp.int32
    )
    return Cells(index, jnp.ones(shape, bool))
