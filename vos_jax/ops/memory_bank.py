"""A memory of fixed capacity and the rule that says which frame goes into which slot.

A bank is a pytree; writing returns a new one (in place when the old one is donated).
Slot 0 holds the previous frame, slot 1 each object's first frame, the others the frames
that are kept. So filled slots come first, a bank grows at its end without moving, and
an object that appears late has its own first frame like any other.

With a mesh the entries are divided between its devices, slot by slot in their order;
`time` and `kept`, which are small, are on all of them.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from vos_jax.ops.divided import (
    BY_SLOT,
    SLOTS,
    WHOLE,
    keep_by_slot,
    keep_whole,
    on_each,
    parts,
    rounded_up,
)

PREVIOUS, FIRST, KEPT = 0, 1, 2
"""Slots of the previous frame, of the first frame, and of the oldest kept frame."""

Sampling = Literal["first+prev", "first", "prev"]
"""Frames in a memory beside every N-th: the first, the one before, or both."""

EMPTY = -1
"""The time of a slot that holds no frame."""


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
        return self.time != EMPTY

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


def empty(entry: Any, capacity: int, mesh: Mesh | None = None) -> Bank:
    """A bank without content for entries shaped like `entry`, leaves `[O, ...]`.

    With a mesh it has as many slots more as it takes to divide by its devices.

    Raises:
      ValueError: There is no room for the previous and the first frame.
    """
    if capacity < KEPT:
        raise ValueError(
            f"capacity={capacity} leaves no slot for the previous and the first frame;"
            f" use at least {KEPT}"
        )
    return placed(_empty(entry, rounded_up(capacity, parts(mesh))), mesh)


def placed(bank: Bank, mesh: Mesh | None) -> Bank:
    """The same bank, divided between the devices of a mesh; without one as it is."""
    whole = keep_whole(mesh, (bank.time, bank.kept))
    return Bank(keep_by_slot(mesh, bank.entries), *whole)


def single(entry: Any) -> Bank:
    """A bank like `empty` of one slot, for what `overwrite` writes."""
    return _empty(entry, 1)


def _empty(entry: Any, capacity: int) -> Bank:
    objects = jax.tree.leaves(entry)[0].shape[0]
    return Bank(
        jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), entry),
        jnp.full((capacity, objects), EMPTY, jnp.int32),
        jnp.int32(0),
    )


def is_evicting(
    bank: Bank, policy: Policy, moment: Moment, *, most: int | None = None
) -> Bool[Array, ""]:
    """Whether a kept frame has to give way to the one that is memorised.

    Of a bank with slots that are not to be filled `most` says how many are.
    """
    room = min(bank.capacity, most or bank.capacity) - KEPT
    if room < 1:
        return jnp.bool_(False)
    return policy._is_kept(moment) & (bank.kept >= room)


def write(
    bank: Bank,
    policy: Policy,
    entry: Any,
    moment: Moment,
    evicted: Int[Array, ""] | None = None,
    *,
    most: int | None = None,
    mesh: Mesh | None = None,
) -> Bank:
    """Writes one frame's `entry`, leaves `[O, ...]`, where `policy` wants it.

    When all slots for kept frames are taken one of them is overwritten. The first frame
    never is.

    Args:
      bank: Divided as `mesh` says.
      policy: Which frames are remembered.
      entry: Of the frame.
      moment: Of the frame.
      evicted: The slot, from `KEPT` on, that is overwritten; None for the oldest.
      most: Slots that may be filled where the bank has more; None for all.
      mesh: Each of its devices writes what is in its own slots; nothing travels.
    """
    is_kept = policy._is_kept(moment)
    room = min(bank.capacity, most or bank.capacity) - KEPT
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
    entries = _put(bank.entries, entry, at, mesh)
    # A frame that is kept is the previous one too: once is enough.
    elsewhere = moment.active & (slot != PREVIOUS)
    time = bank.time.at[PREVIOUS].set(jnp.where(elsewhere, EMPTY, bank.time[PREVIOUS]))
    time = time.at[at].set(moment.time, mode="drop")
    took_slot = is_kept & (moment.active & ~is_first).any()
    return Bank(entries, *keep_whole(mesh, (time, bank.kept + took_slot)))


def _put(
    entries: Any,
    entry: Any,
    at: tuple[Int[Array, " O"], Int[Array, " O"]],
    mesh: Mesh | None,
) -> Any:
    """Entries with each object's new one in its slot; nothing beyond the last slot."""

    def put(entries: Any, entry: Any, at: tuple[Array, Array]) -> Any:
        return jax.tree.map(
            lambda old, new: old.at[at].set(new.astype(old.dtype), mode="drop"),
            entries,
            entry,
        )

    def put_own(entries: Any, entry: Any, at: tuple[Array, Array]) -> Any:
        here, is_own = _own(entries, at[0])
        # A negative place would be counted from the end.
        here = jnp.where(is_own, here, _slots(entries))
        return put(entries, entry, (here, at[1]))

    if mesh is None:
        return put(entries, entry, at)
    return on_each(mesh, put_own, (BY_SLOT, WHOLE, WHOLE), BY_SLOT)(entries, entry, at)


def take(entries: Any, slot: Int[Array, "*S O"], mesh: Mesh | None = None) -> Any:
    """Entries of a slot, or of some slots, of each object: `[*S, O, ...]`.

    Args:
      entries: Any pytree of arrays `[N, O, ...]`.
      slot: For each object its own.
      mesh: That of the bank; all of its devices get what is taken, by one sum over the
        devices for each array.
    """
    objects = jnp.arange(slot.shape[-1]).reshape(*[1] * (slot.ndim - 1), -1)
    if mesh is None:
        return jax.tree.map(lambda x: x[slot, objects], entries)

    def own(entries: Any, slot: Array) -> Any:
        here, is_own = _own(entries, slot)

        def of(x: Array) -> Array:
            found = x[jnp.where(is_own, here, 0), objects]
            is_here = is_own.reshape(*is_own.shape, *[1] * (found.ndim - is_own.ndim))
            # All devices but one have nothing: the sum is that one's, exactly.
            return lax.psum(jnp.where(is_here, found, 0), SLOTS)

        return jax.tree.map(of, entries)

    return on_each(mesh, own, (BY_SLOT, WHOLE), WHOLE)(entries, slot)


def _own(entries: Any, slot: Int[Array, "*b"]) -> tuple[Array, Array]:
    """Where slots are among those of this device, and whether they are."""
    slots = _slots(entries)
    here = slot - lax.axis_index(SLOTS) * slots
    return here, (here >= 0) & (here < slots)


def _slots(entries: Any) -> int:
    return int(jax.tree.leaves(entries)[0].shape[0])


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


def grow(
    bank: Bank, capacity: int, *, most: int | None = None, mesh: Mesh | None = None
) -> Bank:
    """The same content in a bank of more slots.

    The kept frames are put into the order of their age, so that a bank that had begun
    to overwrite fills its new slots first and then goes on with the oldest frame.

    Args:
      bank: Divided as `mesh` says.
      capacity: Of the new one; with a mesh it divides by the devices.
      most: As `write` was told.
      mesh: Slots go to where they belong among more of them, as many at a time as
        there are devices.

    Raises:
      ValueError: There would be fewer slots.
    """
    extra = capacity - bank.capacity
    if extra < 0:
        raise ValueError(f"a bank of {bank.capacity} slots cannot shrink to {capacity}")
    room = max(min(bank.capacity, most or bank.capacity) - KEPT, 0)
    oldest = jnp.where(bank.kept > room, bank.kept % max(room, 1), 0)

    def widen(x: Array, fill: int) -> Array:
        kept = jnp.roll(x[KEPT : KEPT + room], -oldest, axis=0)
        x = jnp.concatenate([x[:KEPT], kept, x[KEPT + room :]])
        return jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1), constant_values=fill)

    if mesh is None:
        entries = jax.tree.map(lambda x: widen(x, 0), bank.entries)
    else:
        came_from = widen(jnp.arange(bank.capacity), EMPTY)
        entries = _moved(bank.entries, came_from, mesh)
    whole = widen(bank.time, EMPTY), jnp.minimum(bank.kept, room)
    return Bank(entries, *keep_whole(mesh, whole))


def _moved(entries: Any, came_from: Int[Array, " N"], mesh: Mesh) -> Any:
    """Entries in another order of slots; zeros where one came from nowhere."""

    def own(entries: Any, came_from: Array) -> Any:
        wanted = came_from.reshape(parts(mesh), -1)

        def of(x: Array) -> Array:
            def bring(wanted: Int[Array, " D"]) -> Array:
                here, is_own = _own(x, wanted)
                is_own = is_own.reshape(-1, *[1] * (x.ndim - 1))
                found = jnp.where(is_own, x[jnp.clip(here, 0, x.shape[0] - 1)], 0)
                # One device has what another one wants: the sum is that, exactly.
                return lax.psum_scatter(found, SLOTS)

            return lax.map(bring, wanted.T)

        return jax.tree.map(of, entries)

    return on_each(mesh, own, (BY_SLOT, WHOLE), BY_SLOT)(entries, came_from)


def add_objects(bank: Bank, objects: int) -> Bank:
    """The same content with empty object slots added at the end, up to `objects`."""
    extra = objects - bank.time.shape[1]

    def widen(x: Array, fill: int) -> Array:
        pads = [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2)
        return jnp.pad(x, pads, constant_values=fill)

    return Bank(
        jax.tree.map(lambda x: widen(x, 0), bank.entries),
        widen(bank.time, EMPTY),
        bank.kept,
    )


def forget(bank: Bank, gone: Bool[Array, " O"]) -> Bank:
    """Empties all slots of some objects."""
    return bank._replace(time=jnp.where(gone, EMPTY, bank.time))
