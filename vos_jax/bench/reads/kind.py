"""What `vos-jax bench read` must know of a kind of memory read; `kinds` lists them.

Letters: T memory frames that are filled, O objects, `n = h w` cells of a frame, Ck and
Cv channels of keys and values, k cells that a filtered read keeps.

What is counted, of every kind:

- FLOP: the matrix products, scores and weighted sum, over what is filled. A
  multiply-add is two. Softmax, kernels, selection and squares of keys are not counted,
  nor what an implementation computes twice.
- Bytes: what must cross the memory bus at least once: the query's key, filled keys and
  values, the float32 result. Affinities are not in it: they can stay in caches. Nor is
  what says where to read: slots, tracks and candidates, less than a hundredth.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vos_jax.errors import InputError
from vos_jax.ops.guidance import Kernel
from vos_jax.ops.read_forms import Implementation


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
      implementation: As the read's function names it.
      top_k: Cells that are kept; None for all.
      in_larger_bank: With more slots than are filled.
      without_kernels: Not guided: what a guided read can do without.
    """

    implementation: Implementation
    top_k: int | None = None
    in_larger_bank: bool = False
    without_kernels: bool = False


def fast_form() -> Implementation:
    """The form that `auto` is on the devices that are timed."""
    return "slots" if jax.default_backend() == "cpu" else "blocks"


class Work(NamedTuple):
    """FLOP, and bytes that are moved, by the rules of this module."""

    flop: int
    moved: int


@dataclass(frozen=True, kw_only=True)
class ReadKind(ABC):
    """A kind of read: its sizes, what is timed of it, its arguments and their cost.

    Attributes:
      read: Takes the arguments, and by name what `program` gives it.
      name: On the command line and in tables.
      key_dim: Ck.
      top_k: Numbers of cells that filtered reads keep, each with rows of its own.
      stride: Pixels of a cell, down and across.
    """

    read: ClassVar[Callable[..., Any]]

    name: str
    key_dim: int
    top_k: tuple[int, ...]
    stride: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"{field.name}={value}: use at least 1")
        for count in self.top_k:
            if count < 1:
                raise InputError(f"top_k={count}: use at least 1")

    def grid(self, memory: Memory) -> tuple[int, int]:
        """Cells of a frame, down and across."""
        height, width = memory.size
        return -(-height // self.stride), -(-width // self.stride)

    def program(self, variant: Variant, precision: str) -> Callable[..., Any]:
        """The read as a function of the arguments alone."""
        return partial(
            type(self).read,
            top_k=variant.top_k,
            implementation=variant.implementation,
            precision=precision,
        )

    def baseline(self, variant: Variant) -> Variant:
        """The variant that this one's time is compared with; earlier, or itself."""
        return variant._replace(implementation="reference", in_larger_bank=False)

    @abstractmethod
    def variants(self) -> list[Variant]:
        """What is timed, in the order of the table."""

    @abstractmethod
    def arguments(self, memory: Memory, top_k: int | None) -> tuple[Any, ...]:
        """Query key, memory keys and values, and which of them count."""

    @abstractmethod
    def work(self, memory: Memory, top_k: int | None) -> Work:
        """What the read of a memory must cost, whatever the implementation."""


def moved_bytes(memory: Memory, loaded: int, stored: int) -> int:
    """Of numbers in the memory's type that are loaded and of results of four bytes."""
    return jnp.dtype(memory.dtype).itemsize * loaded + 4 * stored


def normal(dtype: str, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Normal numbers, so that scores differ like those of a network."""
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        jax.random.normal(key, shape, dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]


def filled_slots(memory: Memory) -> jax.Array:
    """Slots of objects that count, `[N, O]`: the first T."""
    filled = jnp.arange(memory.capacity)[:, None] < memory.frames
    return jnp.broadcast_to(filled, (memory.capacity, memory.objects))


def kernels(memory: Memory, grid: tuple[int, int]) -> Kernel:
    """Of guided reads where all cells have gone up to three cells down and across."""
    slots, sides = (memory.capacity, memory.objects), jnp.array(grid)
    hop = jax.random.randint(jax.random.key(1), (*slots, *grid, 2), -3, 4)
    start = jnp.stack(jnp.indices(grid), -1)[None, None]
    to = jnp.clip(start + hop, 0, sides[None, None, None, None] - 1)
    later = jnp.maximum(memory.frames - 1 - jnp.arange(memory.capacity), 0)
    sigma = jnp.broadcast_to(3 + 1.5 * later[:, None], slots)
    return Kernel(to[..., 0] * grid[1] + to[..., 1], sigma.astype(jnp.float32))
