"""The kinds of memory read that `vos-jax bench read` times, and what each must cost.

Letters: T memory frames that are filled, O objects, `n = h w` cells of a frame, Ck and
Cv channels of keys and values, k cells that a filtered read keeps.

What is counted, of every kind:

- FLOP: two matrix products, the scores and the weighted sum, over what is filled. A
  multiply-add is two. Softmax, selection and squares of keys are not counted, nor what
  an implementation computes twice.
- Bytes: what must cross the memory bus at least once: the query's key, filled keys and
  values, the float32 result. Affinities are not in it: they can stay in caches.

A further kind is a further class, and an entry of `KINDS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vos_jax.errors import InputError
from vos_jax.ops.l2_read import l2_read
from vos_jax.ops.read import Implementation, space_time_read


class Memory(NamedTuple):
    """What there is to read from, and for which frame.

    Attributes:
      size: Height and width of the frames in pixels.
      dtype: Of keys and values.
      objects: O.
      frames: T.
      capacity: Slots, filled or not.
    """

    size: tuple[int, int]
    dtype: str
    objects: int
    frames: int
    capacity: int


class Variant(NamedTuple):
    """One way to compute a read.

    Attributes:
      implementation: As the read's function names it. "reference" is what the variants
        after it are compared with, up to the next reference.
      top_k: Cells that are kept; None for all.
      in_larger_bank: With more slots than are filled.
    """

    implementation: Implementation
    top_k: int | None = None
    in_larger_bank: bool = False


class Work(NamedTuple):
    """FLOP, and bytes that are moved, by the formulas of this module."""

    flop: int
    moved: int


@dataclass(frozen=True, kw_only=True)
class ReadKind(ABC):
    """A kind of read: its sizes, what is timed of it, its arguments and their cost.

    Attributes:
      read: Takes the arguments, and by name what `program` gives it.
      name: On the command line and in tables.
      key_dim: Ck.
      value_dim: Cv.
      top_k: Numbers of cells that filtered reads keep, each with rows of its own.
      stride: Pixels of a cell, down and across.
    """

    read: ClassVar[Callable[..., jax.Array]]

    name: str
    key_dim: int
    value_dim: int
    top_k: tuple[int, ...]
    stride: int = 16

    def __post_init__(self) -> None:
        for name in ("key_dim", "value_dim", "stride"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: use at least 1")
        for count in self.top_k:
            if count < 1:
                raise InputError(f"top_k={count}: use at least 1")

    def grid(self, memory: Memory) -> tuple[int, int]:
        """Cells of a frame, down and across."""
        height, width = memory.size
        return -(-height // self.stride), -(-width // self.stride)

    def program(self, variant: Variant, precision: str) -> Callable[..., jax.Array]:
        """The read as a function of the arguments alone."""
        return partial(
            type(self).read,
            top_k=variant.top_k,
            implementation=variant.implementation,
            precision=precision,
        )

    @abstractmethod
    def variants(self) -> list[Variant]:
        """What is timed, in the order of the table; a reference comes first."""

    @abstractmethod
    def arguments(self, memory: Memory) -> tuple[jax.Array, ...]:
        """Query key, memory keys, memory values, and which slots count."""

    @abstractmethod
    def work(self, memory: Memory, top_k: int | None) -> Work:
        """What the read of a memory must cost, whatever the implementation."""


@dataclass(frozen=True, kw_only=True)
class SpaceTime(ReadKind):
    """STM's read: each object has keys and an affinity of its own.

    Its filtered read keeps all cells that tie with the k-th, which may be any number.
    Its work is therefore that of all cells, and it is compared with the reference of
    the read that keeps all.
    """

    read = staticmethod(space_time_read)

    name: str = "space-time"
    key_dim: int = 128
    value_dim: int = 512
    top_k: tuple[int, ...] = (20,)

    def variants(self) -> list[Variant]:
        """One reference for all."""
        return [
            Variant("reference"),
            Variant("chunked"),
            *(Variant("chunked", top_k) for top_k in self.top_k),
            Variant("chunked", in_larger_bank=True),
        ]

    def arguments(self, memory: Memory) -> tuple[jax.Array, ...]:
        """Keys `[N, O, h, w, Ck]`, values `[N, O, h, w, Cv]`, filled `[N, O]`."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        filled = jnp.arange(memory.capacity)[:, None] < memory.frames
        return (
            *_normal(
                memory.dtype,
                (*grid, self.key_dim),
                (*slots, *grid, self.key_dim),
                (*slots, *grid, self.value_dim),
            ),
            jnp.broadcast_to(filled, slots),
        )

    def work(self, memory: Memory, top_k: int | None) -> Work:
        """FLOP `2 O T n^2 (Ck + Cv)`; loads `O T n` keys and values."""
        height, width = self.grid(memory)
        cells = height * width
        entries = memory.objects * memory.frames * cells
        channels = self.key_dim + self.value_dim
        loaded = cells * self.key_dim + entries * channels
        stored = memory.objects * cells * self.value_dim
        return Work(2 * cells * entries * channels, _bytes(memory, loaded, stored))


@dataclass(frozen=True, kw_only=True)
class L2(ReadKind):
    """The read of STCN and RDE-VOS: one affinity, by keys that all objects share.

    Its filtered read keeps exactly k cells, and is compared with the one that takes
    them from the whole affinity, by one `lax.top_k`.
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
            Variant("chunked"),
            Variant("chunked", in_larger_bank=True),
        ]
        for top_k in self.top_k:
            variants += [Variant("reference", top_k), Variant("chunked", top_k)]
        return variants

    def arguments(self, memory: Memory) -> tuple[jax.Array, ...]:
        """Keys `[N, h, w, Ck]`, values `[N, O, h, w, Cv]`, copies `[N]`, 1 or 0."""
        grid, slots = self.grid(memory), (memory.capacity, memory.objects)
        filled = jnp.arange(memory.capacity) < memory.frames
        return (
            *_normal(
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
        return Work(2 * cells * (scores + weighted), _bytes(memory, loaded, stored))


def _bytes(memory: Memory, loaded: int, stored: int) -> int:
    """Of numbers in the memory's type that are loaded and of float32 results."""
    return jnp.dtype(memory.dtype).itemsize * loaded + 4 * stored


def _normal(dtype: str, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Normal numbers, so that scores differ like those of a network."""
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        jax.random.normal(key, shape, dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]


KINDS: dict[str, ReadKind] = {kind.name: kind for kind in (SpaceTime(), L2())}
"""By the names that the command line takes."""


def chosen(names: Sequence[str] | None) -> tuple[ReadKind, ...]:
    """Kinds by their names, each once; all of them for None.

    Raises:
      InputError: There is no kind of a name.
    """
    for name in names or ():
        if name not in KINDS:
            raise InputError(f"reads: no kind {name!r}; use {' or '.join(KINDS)}")
    return tuple(
        KINDS[name] for name in dict.fromkeys(KINDS if names is None else names)
    )
