"""How much memory segmenting a video takes, and when a state gets more of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vos_jax.errors import InputError
from vos_jax.inference.state import State, first_state, moment_of
from vos_jax.methods.base import Method
from vos_jax.ops.divided import parts, rounded_up
from vos_jax.ops.memory_bank import Bank, add_objects, grow

DEFAULT_FRAMES = 100
"""Length of a video of which nothing is said."""


def reserve(
    method: Method,
    state: State,
    frames: int,
    objects: int | None = None,
    corrections: int = 0,
) -> State:
    """The same state with room for a longer video.

    Slots at least double, so that a long video is compiled for few capacities.

    Args:
      method: As given to `start`.
      state: Not changed.
      frames: Length of the video.
      objects: Number of objects.
      corrections: Number of frames that a user corrected: each is kept like every
        N-th frame.
    """
    slots = _slot_capacity(state.memory)
    needed = _needed(method, frames, corrections)
    have = state.ids.shape[0]
    if needed <= slots and (objects or 0) <= have:
        return state
    if needed > slots:
        slots = _round_up(method, max(needed, 2 * slots))
    return enlarge(method, state, slots, max(objects or 0, have))


def enlarge(method: Method, state: State, slots: int, objects: int) -> State:
    """The same state with more slots of the memory, or for more objects."""
    # A memory on several devices is enlarged by a program, which says where it lies.
    enlarged = _enlarged if method.mesh is None else _enlarged_where_it_lies
    height, width, _ = state.frame.shape
    extra = [(0, objects - state.ids.shape[0])]
    return state._replace(
        memory=enlarged(method, state.memory, (height, width), objects, slots),
        probs=jnp.pad(state.probs, [*extra, (0, 0), (0, 0)]),
        first=jnp.pad(state.first, extra),
        ids=jnp.pad(state.ids, extra),
    )


def room_of(state: State) -> tuple[int, int]:
    """Slots of a state's memory, and objects that it has room for."""
    return _slot_capacity(state.memory), state.ids.shape[0]


def _enlarged(
    method: Method, memory: Any, size: tuple[int, int], objects: int, slots: int
) -> Any:
    larger = method.init_memory(*size, objects, slots)
    most = method.most_filled

    def enlarge(larger: Any, old: Any) -> Any:
        if not isinstance(old, Bank):
            return larger.at[tuple(slice(size) for size in old.shape)].set(old)
        mesh = method.mesh
        if mesh is not None and old is not memory.bank:
            mesh = None
        grown = grow(old, larger.capacity, most=most, mesh=mesh)
        return add_objects(grown, objects)

    is_bank = partial(_is, Bank)
    return method.place(jax.tree.map(enlarge, larger, memory, is_leaf=is_bank))


_enlarged_where_it_lies = jax.jit(_enlarged, static_argnums=(0, 2, 3, 4))


def _is(kind: type, node: Any) -> bool:
    return isinstance(node, kind)


def reserve_next(method: Method, state: State) -> State:
    """`reserve` for one more frame, however often the user has corrected.

    Raises:
      InputError: The state is of another number of devices than the method.
    """
    count, slots = parts(method.mesh), _slot_capacity(state.memory)
    if slots % count:
        raise InputError(
            f"state: its {slots} slots do not divide by the {count} devices of the"
            " method; start with this method, too"
        )
    if slots >= method.most_slots:
        # There is no room to make, and asking would wait for the device.
        return state
    frames = int(state.time) + 2
    return reserve(method, state, frames, corrections=_corrections(method, state))


def slots_for(method: Method, frames: int, corrections: int = 0) -> int:
    """Slots for a video of `frames` frames, of which a user corrects some."""
    return _round_up(method, _needed(method, frames, corrections))


def _needed(method: Method, frames: int, corrections: int) -> int:
    return min(method.slots(frames) + corrections, method.most_slots)


def _round_up(method: Method, needed: int) -> int:
    """Rounds slots up to 2^n or 3 * 2^n: few capacities, so few compilations."""
    power = 1 << (needed - 1).bit_length()
    rounded = power * 3 // 4 if power * 3 // 4 >= needed else power
    return min(rounded, method.most_slots)


def _corrections(method: Method, state: State) -> int:
    """Frames kept beyond the schedule, with the latest if it is one of them."""
    if _slot_capacity(state.memory) >= method.most_slots:
        # There is no room to make, and asking would wait for the device.
        return 0
    time = int(state.time)
    kept = max(int(bank.kept) for bank in _banks(state.memory))
    extra = max(0, kept - _plan(method, time)) + int(state.corrected)
    due = method.due(state.memory, moment_of(state))
    # A late object starts the count of some methods anew, so that the schedule may lag
    # behind what is kept.
    if due is not True and bool(due) and bool((state.active & ~state.first).any()):
        extra = max(extra, kept + 1 - _plan(method, time + 2))
    return extra


def _plan(method: Method, frames: int) -> int:
    """Slots that a method plans to fill beyond those of a single frame."""
    return method.slots(frames) - method.slots(1)


def _slot_capacity(memory: Any) -> int:
    return max(bank.capacity for bank in _banks(memory))


def _banks(memory: Any) -> list[Bank]:
    nodes = jax.tree.leaves(memory, is_leaf=partial(_is, Bank))
    return [node for node in nodes if isinstance(node, Bank)]


def state_bytes(
    method: Method,
    shape: tuple[int, int],
    objects: int,
    frames: int = DEFAULT_FRAMES,
    *,
    variables: Mapping[str, Any] | None = None,
    devices: int | None = None,
) -> int:
    """Bytes that a state will occupy on each device, without allocating it.

    Args:
      method: From `create`.
      shape: Height and width of the frames.
      objects: Number of objects.
      frames: Length of the video.
      variables: Its weights where they are at hand, which saves some time.
      devices: That its memory is divided between, which need not be here; by default
        those of `over_devices`, or one.

    Raises:
      InputError: The memory cannot be divided.
    """
    if devices is None:
        devices = parts(method.mesh)
    if devices < 1:
        raise InputError(f"devices={devices}: use at least 1")
    method.check_divided(devices)
    method = method.divided(None)
    if variables is None:
        frame = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
        masks = jax.ShapeDtypeStruct((objects, *shape), jnp.float32)
        variables = jax.eval_shape(method.init, jax.random.key(0), frame, masks)
    state = _abstract_state(method, variables, shape, objects, frames)
    whole = _bytes(state)
    if devices == 1:
        return whole
    bank = state.memory.bank
    slot = _bytes(bank.entries) // bank.capacity
    slots = rounded_up(bank.capacity, devices)
    times = _bytes(bank.time) // bank.capacity
    more = times * (slots - bank.capacity)
    return whole - slot * bank.capacity + slot * slots // devices + more


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def state_structure(method: Method, variables: Mapping[str, Any]) -> Any:
    """The tree structure of the method's states; computes nothing."""
    return jax.tree.structure(_abstract_state(method, variables, (32, 32), 1, 1))


def _abstract_state(
    method: Method,
    variables: Mapping[str, Any],
    shape: tuple[int, int],
    objects: int,
    frames: int,
) -> Any:
    frame = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    probs = jax.ShapeDtypeStruct((objects + 1, *shape), jnp.float32)
    ids = jax.ShapeDtypeStruct((objects,), jnp.int32)
    fill = partial(first_state, method, slots=slots_for(method, frames))
    return jax.eval_shape(fill, variables, frame, probs, ids)


def segmenting_remedy(method: Method) -> str:
    """The options with which segmenting by a method needs less memory."""
    options = ["a smaller --size N"]
    # Some methods' memory never grows.
    if method.most_slots > method.slots(1):
        options.append("--mem-capacity N")
    if method.config.dtype != "bfloat16":
        options.append("--dtype bfloat16")
    *first, last = options
    choice = f"{', '.join(first)} or {last}" if first else last
    return f"use {choice}; masks that are written stay"
