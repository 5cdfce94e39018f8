"""Kinds of read that look at every cell of the memory at stride 16.

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
from vos_jax.ops.guidance import kernel_guided_read
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.read import space_time_read


@dataclass(frozen=True, kw_only=True)
class SpaceTime(ReadKind):
    """A read over space and time: each object has keys and an affinity of its own.

    Its filtered read keeps all cells that tie with the k-th, which may be any number.
    Its work is therefore that of all cells, and it is compared with the reference of
    the read that keeps all.

    Attributes:
      value_dim: Cv.
    """

    read = staticmethod(space_time_read)

    name: str = "space-time"
    key_dim: int = 128
    value_dim: int = 512
    top_k: tuple[int, ...] = (20,)

    def variants(self) -> list[Variant]:
        """With one reference."""
        return [
            Variant("reference"),
            Variant(fast_form()),
            *(Variant(fast_form(), top_k) for top_k in self.top_k),
            Variant(fast_form(), in_larger_bank=True),
        ]

    def baseline(self, variant: Variant) -> Variant:
        """One reference for all."""
        return Variant("reference")

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Keys `[N, O, h, w, Ck]`, values `[N, O, h, w, Cv]`, filled `[N, O]`."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        return (
            *normal(
                memory.dtype,
                (*grid, self.key_dim),
                (*slots, *grid, self.key_dim),
                (*slots, *grid, self.value_dim),
            ),
            filled_slots(memory),
        )

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O T n^2 (Ck + Cv)`; loads `O T n` keys and values."""
        height, width = self.grid(memory)
        cells = height * width
        entries = memory.objects * memory.frames * cells
        channels = self.key_dim + self.value_dim
        loaded = cells * self.key_dim + entries * channels
        stored = memory.objects * cells * self.value_dim
        return Work(2 * cells * entries * channels, moved_bytes(memory, loaded, stored))


@dataclass(frozen=True, kw_only=True)
class KernelGuided(SpaceTime):
    """The space-time read with a Gaussian about where each cell has gone.

    Guidance adds no matrix product, so the work is the same. What it costs is the
    speedup of the read without kernels, which is compared with the guided one.
    """

    name: str = "kernel-guided"
    top_k: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k:
            raise InputError(f"top_k={self.top_k}: {self.name} reads keep all cells")

    def variants(self) -> list[Variant]:
        """The guided reads, and what the better one would be without guidance."""
        return [
            Variant("reference"),
            Variant(fast_form()),
            Variant(fast_form(), in_larger_bank=True),
            Variant(fast_form(), without_kernels=True),
        ]

    def baseline(self, variant: Variant) -> Variant:
        """The reference; of the read without kernels the same one with them."""
        if variant.without_kernels:
            return variant._replace(without_kernels=False)
        return super().baseline(variant)

    def program(self, variant: Variant, precision: str) -> Callable[..., jax.Array]:
        """The guided read, or the same without what guides it."""
        guided = partial(
            kernel_guided_read,
            implementation=variant.implementation,
            precision=precision,
        )
        if variant.without_kernels:
            return lambda query, keys, values, filled, _: guided(
                query, keys, values, filled, None
            )
        return guided

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Those of the space-time read, and kernels."""
        kernel = kernels(memory, self.grid(memory))
        return (*super().arguments(memory, top_k), kernel)


@dataclass(frozen=True, kw_only=True)
class L2(ReadKind):
    """A read by distance: one affinity, by keys that all objects share.

    Its filtered read keeps exactly k cells, and is compared with the one that takes
    them from the whole affinity, by one `lax.top_k`.

    Attributes:
      value_dim: Cv.
    """

    read = staticmethod(l2_read)

    name: str = "l2"
    key_dim: int = 64
    value_dim: int = 512
    top_k: tuple[int, ...] = (20, 40)

    def variants(self) -> list[Variant]:
        """A reference that keeps all, and one for each k."""
        variants = [
            Variant("reference"),
            Variant(fast_form()),
            Variant(fast_form(), in_larger_bank=True),
        ]
        for top_k in self.top_k:
            variants += [Variant("reference", top_k), Variant(fast_form(), top_k)]
        return variants

    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Keys `[N, h, w, Ck]`, values `[N, O, h, w, Cv]`, copies `[N]`, 1 or 0."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        filled = jnp.arange(memory.capacity) < memory.frames
        return (
            *normal(
                memory.dtype,
                (*grid, self.key_dim),
                (memory.capacity, *grid, self.key_dim),
                (*slots, *grid, self.value_dim),
            ),
            filled.astype(jnp.int32),
        )

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 n (T n Ck + O m Cv)`, with m = T n, or k if that is less.

        Scores are computed once for all objects. Loads `T n` keys, and the values of
        `T n` cells of every object, or of `k n` if that is less: as if no two query
        cells kept the same cell.
        """
        height, width = self.grid(memory)
        cells = height * width
        keys = memory.frames * cells
        kept = keys if top_k is None else min(top_k, keys)
        values = memory.objects * min(keys, kept * cells)
        scores = keys * self.key_dim
        weighted = memory.objects * kept * self.value_dim
        loaded = (cells + keys) * self.key_dim + values * self.value_dim
        stored = memory.objects * cells * self.value_dim
        flop = 2 * cells * (scores + weighted)
        return Work(flop, moved_bytes(memory, loaded, stored))
