"""A memory of fixed capacity and the rule that says which frame goes into which slot.

A bank is a pytree; writing returns a new one (in place when the old one is donated).
Slot 0 holds the previous frame, slot 1 each object's first frame, the others the frames
that are kept. So filled slots come first, a bank grows at its end without moving, and
an object that appears late has its own first frame like any other.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

PREVIOUS, FIRST, KEPT = 0, 1, 2
"""Slots of the previous frame, of the first frame, and of the oldest kept frame."""

Sampling = Literal["first+prev", "first", "prev"]
"""Frames in a memory beside every N-th: the first, the one before, or both."""

_EMPTY = -1


class Bank(NamedTuple):
    """What is remembered.

    Attributes:
      entries: Any pytree of arrays `[N, O, ...]`.
      time: Index of the frame in each slot, -1 where there is none.
      kept: Number of frames ever written to the slots from `KEPT` on.
    """

    entries: Any
    time: Int[Array, "N O"]
    kept: Int[Array, ""]

    @property
    def filled(self) -> Bool[Array, "N O"]:
        """Which slots of which objects may be read."""
        return self.time != _EMPTY

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.time.shape[-2]


class Moment(NamedTuple):
    """The frame being memorised, as inference, which owns time, describes it.

    Attributes:
      time: Frame index, from 0.
      active: Objects that exist.
      first: Objects whose mask was given in this frame for the first time.
      keep: The frame must be kept whatever its index (a user corrected it).
    """

    time: Int[Array, ""]
    active: Bool[Array, " O"]
    first: Bool[Array, " O"]
    keep: Bool[Array, ""]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which frames are remembered: the first, the previous and every N-th.

    STM (ICCV 2019) sec. 3.6, indices as in the released program: frame 0 counts as a
    multiple, and the previous frame is never in the memory twice.

    Attributes:
      every: Keep the frames whose index is a multiple of this; None keeps none.
      previous: Remember the previous frame until the next one is memorised.
      first: Remember each object's first frame for ever; else it is a previous frame
        like any other.
    """

    every: int | None = 5
    previous: bool = True
    first: bool = True

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every={self.every}: use at least 1, or None for never")

    def slots(self, frames: int) -> int:
        """Slots that the first `frames` frames of a video fill."""
        kept = 0 if self.every is None else max(frames - 1, 0) // self.every
        return KEPT + kept

    def due(self, moment: Moment) -> bool | Bool[Array, ""]:
        """Whether this policy writes anything now; a plain True if it always does."""
        if self.previous:
            return True
        return self._is_kept(moment) | moment.first.any()

    def _is_kept(self, moment: Moment) -> Bool[Array, ""]:
        if self.every is None:
            return moment.keep
        return moment.keep | (moment.time % self.every == 0)


def check_sampling(sampling: str, every: int | None) -> None:
    """Refuses frames of a memory that are none, or do not go with every N-th.

    Raises:
      ValueError: They do not.
    """
    if sampling not in get_args(Sampling):
        raise ValueError(
            f"memory_sampling={sampling!r}: use one of {list(get_args(Sampling))}"
        )
    if sampling != "first+prev" and every is not None:
        raise ValueError(
            f"memory_sampling={sampling!r} with mem_every={every}: use mem_every=None"
        )


def empty(entry: Any, capacity: int) -> Bank:
    """A bank without content for entries shaped like `entry`, leaves `[O, ...]`."""
    if capacity < KEPT:
        raise ValueError(
            f"capacity={capacity} leaves no slot for the previous and the first frame;"
            f" use at least {KEPT}"
        )
    return _empty(entry, capacity)


def single(entry: Any) -> Bank:
    """A bank like `empty` of one slot, for what `overwrite` writes."""
    return _empty(entry, 1)


def _empty(entry: Any, capacity: int) -> Bank:
    objects = jax.tree.leaves(entry)[0].shape[0]
    return Bank(
        jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), entry),
        jnp.full((capacity, objects), _EMPTY, jnp.int32),
        jnp.int32(0),
    )


def is_evicting(bank: Bank, policy: Policy, moment: Moment) -> Bool[Array, ""]:
    """Whether a kept frame has to give way to the one that is memorised."""
    room = bank.capacity - KEPT
    if room < 1:
        return jnp.bool_(False)
    return policy._is_kept(moment) & (bank.kept >= room)


def write(
    bank: Bank,
    policy: Policy,
    entry: Any,
    moment: Moment,
    evicted: Int[Array, ""] | None = None,
) -> Bank:
    """Writes one frame's `entry`, leaves `[O, ...]`, where `policy` wants it.

    When all slots for kept frames are taken one of them is overwritten: `evicted`, a
    slot from `KEPT` on, or the oldest. The first frame never is.
    """
    is_kept, room = policy._is_kept(moment), bank.capacity - KEPT
    if room:
        slot = KEPT + bank.kept % room
        if evicted is not None:
            slot = jnp.where(bank.kept >= room, evicted, slot)
        last = jnp.where(is_kept, slot, PREVIOUS)
    else:
        last, is_kept = jnp.int32(PREVIOUS), jnp.bool_(False)
    is_first = moment.first & policy.first
    slot = jnp.where(is_first, FIRST, last)
    dropped = ~moment.active
    if not policy.previous:
        dropped |= slot == PREVIOUS
    slot = jnp.where(dropped, bank.capacity, slot)
    at = (slot, jnp.arange(slot.shape[0]))
    entries = jax.tree.map(
        lambda old, new: old.at[at].set(new.astype(old.dtype), mode="drop"),
        bank.entries,
        entry,
    )
    # A frame that is kept is the previous one too: once is enough.
    elsewhere = moment.active & (slot != PREVIOUS)
    time = bank.time.at[PREVIOUS].set(jnp.where(elsewhere, _EMPTY, bank.time[PREVIOUS]))
    time = time.at[at].set(moment.time, mode="drop")
    took_slot = is_kept & (moment.active & ~is_first).any()
    return Bank(entries, time, bank.kept + took_slot)


def overwrite(
    bank: Bank,
    slot: int,
    entry: Any,
    which: Bool[Array, " O"],
    time: Int[Array, ""],
) -> Bank:
    """Puts `entry`, leaves `[O, ...]`, of some objects into a slot, by no policy."""

    def put(old: Array, new: Array) -> Array:
        chosen = which.reshape(-1, *[1] * (new.ndim - 1))
        new = jnp.where(chosen, new.astype(old.dtype), old[slot])
        return old.at[slot].set(new)

    entries = jax.tree.map(put, bank.entries, entry)
    return bank._replace(
        entries=entries,
        time=bank.time.at[slot].set(jnp.where(which, time, bank.time[slot])),
    )


def grow(bank: Bank, capacity: int) -> Bank:
    """The same content in a bank of more slots.

    The kept frames are put into the order of their age, so that a bank that had begun
    to overwrite fills its new slots first and then goes on with the oldest frame.
    """
    extra = capacity - bank.capacity
    if extra < 0:
        raise ValueError(f"a bank of {bank.capacity} slots cannot shrink to {capacity}")
    room = max(bank.capacity - KEPT, 0)
    oldest = jnp.where(bank.kept > room, bank.kept % max(room, 1), 0)

    def widen(x: Array, fill: int) -> Array:
        kept = jnp.roll(x[KEPT:], -oldest, axis=0)
        x = jnp.concatenate([x[:KEPT], kept])
        return jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1), constant_values=fill)

    return Bank(
        jax.tree.map(lambda x: widen(x, 0), bank.entries),
        widen(bank.time, _EMPTY),
        jnp.minimum(bank.kept, room),
    )


def add_objects(bank: Bank, objects: int) -> Bank:
    """The same content with empty object slots added at the end, up to `objects`."""
    extra = objects - bank.time.shape[1]

    def widen(x: Array, fill: int) -> Array:
        pads = [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2)
        return jnp.pad(x, pads, constant_values=fill)

    return Bank(
        jax.tree.map(lambda x: widen(x, 0), bank.entries),
        widen(bank.time, _EMPTY),
        bank.kept,
    )


def forget(bank: Bank, gone: Bool[Array, " O"]) -> Bank:
    """Empties all slots of some objects."""
    return bank._replace(time=jnp.where(gone, _EMPTY, bank.time))
