"""A method in time: start on a frame with masks, then step from frame to frame.

The state is a pytree of the memory and the latest frame with its masks, which is not
memorised before the next step. `start` and `step` are pure and traceable.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from vos_jax.errors import InputError
from vos_jax.methods.base import Encoded, Method
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.memory_bank import Bank, Moment, add_objects, forget, grow

MAX_OBJECTS = 254
"""Labels are 8 bit: 0 is background, 255 means ignore."""

IGNORE = 255

_DEFAULT_FRAMES = 100


class State(NamedTuple):
    """Everything that the next step needs.

    Attributes:
      memory: The method's own; holds all frames before the latest.
      frame: The latest frame, RGB in [0, 1].
      keep: What the method wants again when it memorises that frame.
      probs: The latest frame's soft masks, background first.
      first: Objects whose mask was given in the latest frame for the first time.
      corrected: A user changed an object's mask in the latest frame.
      time: Index of the latest frame, from 0.
      ids: The caller's id of each object slot; 0 where the slot is free.
    """

    memory: Any
    frame: Float[Array, "H W 3"]
    keep: Any
    probs: Float[Array, "O+1 H W"]
    first: Bool[Array, " O"]
    corrected: Bool[Array, ""]
    time: Int[Array, ""]
    ids: Int[Array, " O"]

    @property
    def active(self) -> Bool[Array, " O"]:
        """Which object slots hold an object."""
        return self.ids > 0

    @property
    def labels(self) -> Int[Array, "H W"]:
        """Ids of the most probable objects of the latest frame, uint8."""
        return label_map(self.probs, self.ids)


class Output(NamedTuple):
    """What a step found.

    Attributes:
      logits: Log-odds of background and objects, in the order of `ids`.
      probs: Their softmax.
      ids: The caller's ids; 0 for a free slot, whose probability is exactly 0.
    """

    logits: Float[Array, "O+1 H W"]
    probs: Float[Array, "O+1 H W"]
    ids: Int[Array, " O"]

    @property
    def labels(self) -> Int[Array, "H W"]:
        """Ids of the most probable objects, uint8; the lowest slot on ties."""
        return label_map(self.probs, self.ids)


def label_map(
    probs: Float[Array, "O+1 H W"], ids: Int[Array, " O"]
) -> Int[Array, "H W"]:
    """The most probable id at every pixel, uint8, 0 where that is the background."""
    names = jnp.concatenate([jnp.zeros_like(ids[:1]), ids]).astype(jnp.uint8)
    return names[jnp.argmax(probs, axis=0)]


def start(
    method: Method,
    variables: Mapping[str, Any],
    frame: ArrayLike,
    masks: ArrayLike,
    *,
    ids: Sequence[int] | None = None,
    objects: int | None = None,
    frames: int = _DEFAULT_FRAMES,
) -> State:
    """Begins a video at a frame whose masks are given.

    Args:
      method: From `create`.
      variables: Its weights.
      frame: `[H, W, 3]` RGB, uint8, or float in [0, 1].
      masks: `[O, H, W]`, one per object, or a label map `[H, W]` (0 background, 255
        ignore). A traced label map needs `ids`.
      ids: Ids of the masks, or the labels to follow; by default 1..O, or every label.
      objects: Object slots to provide, for objects that come later.
      frames: Length of video to reserve memory for. `step` reserves more when needed
        unless it is traced: then shapes are fixed, and once the slots are used up the
        oldest kept frame is overwritten.

    Returns:
      The state; nothing is memorised yet.

    Raises:
      InputError: Shapes disagree, a mask is empty, or there are too many objects.
    """
    frame = _checked_frame(frame)
    given, ids = _checked_masks(frame, masks, ids)
    if objects is not None and objects < len(ids):
        raise InputError(f"objects={objects} is less than the {len(ids)} masks given")
    if objects is not None and objects > MAX_OBJECTS:
        raise InputError(f"objects={objects}: at most {MAX_OBJECTS} are possible")
    return _start(
        method,
        variables,
        frame,
        given,
        ids=tuple(ids),
        objects=objects or len(ids),
        frames=frames,
    )


@partial(jax.jit, static_argnums=0, static_argnames=("ids", "objects", "frames"))
def _start(
    method: Method,
    variables: Mapping[str, Any],
    frame: Array,
    given: Float[Array, "O+1 H W"],
    *,
    ids: tuple[int, ...],
    objects: int,
    frames: int,
) -> State:
    frame = to_unit_range(frame)
    height, width, _ = frame.shape
    free = objects - len(ids)
    slots = _bucket(method, method.slots(frames))
    _, keep = _encode(method, variables, frame)
    return State(
        memory=method.init_memory(height, width, objects, slots),
        frame=frame,
        keep=keep,
        probs=jnp.pad(given, [(0, free), (0, 0), (0, 0)]),
        first=jnp.arange(objects) < len(ids),
        corrected=jnp.bool_(False),
        time=jnp.int32(0),
        ids=jnp.array([*ids, *[0] * free], jnp.int32),
    )


def step(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: ArrayLike,
    inputs: Any = None,
) -> tuple[State, Output]:
    """Segments the next frame.

    Args:
      method: As given to `start`.
      variables: As given to `start`.
      state: Of the frame before; stays valid and can be stepped again.
      frame: `[H, W, 3]` like the first one.
      inputs: What else the method takes with each frame; STM takes nothing.

    Returns:
      The new state, and logits and probabilities at the frame's size.
    """
    frame = _checked_frame(frame)
    if frame.shape != state.frame.shape:
        raise InputError(
            f"frame: its size is {_size(frame)}, that of the frames before"
            f" {_size(state.frame)}; all frames of a video must have one size"
        )
    if not _is_traced(state):
        state = reserve(
            method, state, int(state.time) + 2, corrections=_corrections(method, state)
        )
    return _step_jitted(method, variables, state, frame, inputs)


def step_traced(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: Array,
    inputs: Any = None,
) -> tuple[State, Output]:
    """`step` without checks and compilation of its own, for use inside a program."""
    frame = to_unit_range(frame)
    memory = _memorize(method, variables, state)
    query, keep = _encode(method, variables, frame)
    logits, memory = method.apply(
        variables, memory, query, frame, state.active, inputs, method="segment"
    )
    probs = jax.nn.softmax(logits, axis=0)
    state = State(
        memory=memory,
        frame=frame,
        keep=keep,
        probs=probs,
        first=jnp.zeros_like(state.first),
        corrected=jnp.bool_(False),
        time=state.time + 1,
        ids=state.ids,
    )
    return state, Output(logits, probs, state.ids)


# Traced once for all numbers of objects and capacities, of which it knows nothing.
@partial(jax.jit, static_argnums=0, inline=True)
def _encode(method: Method, variables: Mapping[str, Any], frame: Array) -> Encoded:
    return method.apply(variables, frame, method="encode")  # type: ignore[return-value]


_step_jitted = jax.jit(step_traced, static_argnums=0)


def _moment(state: State) -> Moment:
    return Moment(state.time, state.active, state.first, state.corrected)


def _memorize(method: Method, variables: Mapping[str, Any], state: State) -> Any:
    moment = _moment(state)

    def memorize(memory: Any) -> Any:
        return method.apply(
            variables,
            memory,
            state.frame,
            state.keep,
            state.probs,
            moment,
            method="memorize",
        )

    due = method.due(state.memory, moment)
    if due is True:
        return memorize(state.memory)
    return lax.cond(due, memorize, lambda memory: memory, state.memory)


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
    needed = min(method.slots(frames) + corrections, _most_slots(method))
    have = state.ids.shape[0]
    if needed <= slots and (objects or 0) <= have:
        return state
    if needed > slots:
        slots = _bucket(method, max(needed, 2 * slots))
    objects = max(objects or 0, have)
    height, width, _ = state.frame.shape
    larger = method.init_memory(height, width, objects, slots)
    extra = [(0, objects - have)]
    return state._replace(
        memory=jax.tree.map(
            _enlarge, larger, state.memory, is_leaf=lambda x: isinstance(x, Bank)
        ),
        probs=jnp.pad(state.probs, [*extra, (0, 0), (0, 0)]),
        first=jnp.pad(state.first, extra),
        ids=jnp.pad(state.ids, extra),
    )


def _bucket(method: Method, needed: int) -> int:
    """Rounds slots up to 2^n or 3 * 2^n: few capacities, so few compilations."""
    power = 1 << (needed - 1).bit_length()
    rounded = power * 3 // 4 if power * 3 // 4 >= needed else power
    return min(rounded, _most_slots(method))


def _most_slots(method: Method) -> int:
    """Slots of an endless video; the bound of a method with a fixed capacity."""
    return method.slots(1 << 40)


def _corrections(method: Method, state: State) -> int:
    """Frames kept beyond the schedule, with the latest if it is one of them."""
    if _slot_capacity(state.memory) >= _most_slots(method):
        # There is no room to make, and asking would wait for the device.
        return 0
    time = int(state.time)
    kept = max(int(bank.kept) for bank in _banks(state.memory))
    extra = max(0, kept - _scheduled(method, time)) + int(state.corrected)
    due = method.due(state.memory, _moment(state))
    # A late object starts the count of some methods anew, so that the schedule may lag
    # behind what is kept.
    if due is not True and bool(due) and bool((state.active & ~state.first).any()):
        extra = max(extra, kept + 1 - _scheduled(method, time + 2))
    return extra


def _scheduled(method: Method, frames: int) -> int:
    """Slots that a method plans to fill beyond those of a single frame."""
    return method.slots(frames) - method.slots(1)


def _slot_capacity(memory: Any) -> int:
    return max(bank.capacity for bank in _banks(memory))


def _banks(memory: Any) -> list[Bank]:
    nodes = jax.tree.leaves(memory, is_leaf=lambda x: isinstance(x, Bank))
    return [node for node in nodes if isinstance(node, Bank)]


def _enlarge(larger: Any, old: Any) -> Any:
    if isinstance(old, Bank):
        return add_objects(grow(old, larger.capacity), larger.time.shape[1])
    return larger.at[tuple(slice(size) for size in old.shape)].set(old)


def add_masks(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: ArrayLike,
    masks: ArrayLike,
    ids: Sequence[int] | None = None,
) -> State:
    """Gives masks for the latest frame: new objects, or corrections of known ones.

    Where a mask is given its object is certain; elsewhere it is absent. Other objects
    keep their probabilities outside the given masks. The rule for objects that appear
    later is YouTube-VOS's. A corrected frame stays in the memory like a kept one.

    Args:
      method: As given to `start`.
      variables: As given to `start`.
      state: After the step (or start) on that frame. Not changed.
      frame: The same frame again.
      masks: `[O', H, W]`, or a label map: only its labels change, 0 means nothing.
      ids: Ids of the masks, or the labels to use; by default every label. An empty
        mask says that a known object is not in the frame.

    Returns:
      The state with the masks; more object slots are added where none is free.

    Raises:
      InputError: As `start`, or `frame` is not the latest frame.
    """
    frame = _checked_frame(frame)
    if frame.shape != state.frame.shape or not np.array_equal(
        np.asarray(to_unit_range(frame)), np.asarray(state.frame)
    ):
        raise InputError(
            "frame: not the latest frame of the state; step on it first, then add masks"
        )
    return merge_masks(method, state, masks, ids, int(state.time))


def merge_masks(
    method: Method,
    state: State,
    masks: ArrayLike,
    ids: Sequence[int] | None,
    time: int,
) -> State:
    """`add_masks` for a caller that knows the frame and its time."""
    known = np.asarray(state.ids).tolist()
    given, ids = _checked_masks(state.frame, masks, ids, known)
    new = []
    for number in (n for n in ids if n not in known):
        free = known.index(0) if 0 in known else len(known)
        known[free:] = [number, *known[free + 1 :]]
        new.append(free)
    state = reserve(method, state, time + 1, len(known))
    slots = np.array([known.index(number) for number in ids])
    is_new = np.isin(np.arange(len(known)), new)
    return _place_masks(state, given[1:], slots, np.array(known, np.int32), is_new)


@jax.jit
def _place_masks(
    state: State,
    given: Float[Array, "G H W"],
    slots: Int[Array, " G"],
    ids: Int[Array, " O"],
    is_new: Bool[Array, " O"],
) -> State:
    claimed = given.sum(0, keepdims=True) > 0
    objects = jnp.where(claimed, 0, state.probs[1:]).at[slots].set(given)
    background = jnp.clip(1 - objects.sum(0, keepdims=True), 0, 1)
    corrects = ~is_new[slots]
    return state._replace(
        memory=_forget(state.memory, is_new),
        probs=jnp.concatenate([background, objects]),
        first=state.first | is_new,
        corrected=state.corrected | corrects.any(),
        ids=ids,
    )


def _forget(memory: Any, gone: Bool[Array, " O"]) -> Any:
    return jax.tree.map(
        lambda x: forget(x, gone) if isinstance(x, Bank) else x,
        memory,
        is_leaf=lambda x: isinstance(x, Bank),
    )


def remove_object(state: State, id: int | Array) -> State:
    """Ends an object: its slot is free, its pixels become background.

    Raises:
      InputError: The state has no object of that id (not checked when traced).
    """
    if not _is_traced((state.ids, id)) and not (state.active & (state.ids == id)).any():
        raise InputError(f"id {id}: no such object; the state has {_names(state.ids)}")
    gone = (state.ids == id) & state.active
    objects = jnp.where(gone[:, None, None], 0, state.probs[1:])
    lost = jnp.where(gone[:, None, None], state.probs[1:], 0).sum(0, keepdims=True)
    return state._replace(
        memory=_forget(state.memory, gone),
        probs=jnp.concatenate([state.probs[:1] + lost, objects]),
        first=state.first & ~gone,
        ids=jnp.where(gone, 0, state.ids),
    )


def state_bytes(
    method: Method,
    shape: tuple[int, int],
    objects: int,
    frames: int = _DEFAULT_FRAMES,
    *,
    variables: Mapping[str, Any] | None = None,
) -> int:
    """Bytes that a state will occupy, without allocating it.

    Args:
      method: From `create`.
      shape: Height and width of the frames.
      objects: Number of objects.
      frames: Length of the video.
      variables: Its weights where they are at hand, which saves some time.
    """
    if variables is None:
        frame = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
        masks = jax.ShapeDtypeStruct((objects, *shape), jnp.float32)
        variables = jax.eval_shape(method.init, jax.random.key(0), frame, masks)
    state = _abstract_state(method, variables, shape, objects, frames)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


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
    ids = tuple(range(1, objects + 1))
    fill = partial(_start, method, ids=ids, objects=objects, frames=frames)
    return jax.eval_shape(fill, variables, frame, probs)


def _checked_frame(frame: ArrayLike) -> Array:
    frame = frame if isinstance(frame, jax.Array) else jnp.asarray(frame)
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise InputError(f"frame: shape {frame.shape} given, [height, width, 3] needed")
    if frame.dtype != jnp.uint8 and not jnp.issubdtype(frame.dtype, jnp.floating):
        raise InputError(f"frame: dtype {frame.dtype} given, uint8 or float needed")
    return frame


def _checked_masks(
    frame: Array,
    masks: ArrayLike,
    ids: Sequence[int] | None,
    known: Collection[int] | None = None,
) -> tuple[Float[Array, "O+1 H W"], Sequence[int]]:
    """Masks as probabilities with background first, and their ids.

    Objects already `known` need ids, and may be said to be gone by an empty mask.
    """
    traced = _is_traced(masks)
    # Even arrays that are known become unknown by operations inside of a trace.
    masks = cast(Array, masks) if traced else np.asarray(masks)
    if masks.ndim not in (2, 3):
        raise InputError(
            f"masks: shape {masks.shape} given, [O, H, W] or [H, W] needed"
        )
    if masks.shape[-2:] != frame.shape[:2]:
        raise InputError(
            f"masks: their size is {masks.shape[-1]}x{masks.shape[-2]}, the frame's"
            f" {_size(frame)}; give both at one size"
        )
    if masks.ndim == 2:
        if ids is None and traced:
            raise InputError("masks: a traced label map needs ids=...")
        if ids is None:
            ids = [int(x) for x in np.unique(np.asarray(masks)) if x not in (0, IGNORE)]
        numbers = np.array([0, *ids]).reshape(-1, 1, 1)
        given = masks[None] == numbers
    else:
        if ids is None and known is not None:
            raise InputError("ids: needed with masks of shape [O, H, W]")
        ids = list(range(1, len(masks) + 1)) if ids is None else ids
        if len(ids) != len(masks):
            raise InputError(f"ids: {len(ids)} given for {len(masks)} masks")
        xp: Any = jnp if traced else np
        background = xp.clip(1 - masks.astype(np.float32).sum(0, keepdims=True), 0, 1)
        given = xp.concatenate([background, masks.astype(np.float32)])
    _check_ids(ids)
    if not traced:
        host = np.asarray(given[1:])
        low, high = host.min(initial=0), host.max(initial=0)
        if not 0 <= low <= high <= 1:
            raise InputError(f"masks: values from {low:g} to {high:g}; use 0..1")
        empty = [id for id, mask in zip(ids, host, strict=True) if not mask.any()]
        if missing := [id for id in empty if id not in (known or ())]:
            raise InputError(f"masks: no pixel of object {_list(missing)}")
    return jnp.asarray(given, jnp.float32), ids


def _check_ids(ids: Sequence[int]) -> None:
    if not ids:
        raise InputError("masks: no object in them; label at least one pixel 1..254")
    if len(ids) > MAX_OBJECTS:
        raise InputError(
            f"masks: {len(ids)} objects, at most {MAX_OBJECTS} are possible"
        )
    if len(set(ids)) < len(ids) or not all(0 < id <= MAX_OBJECTS for id in ids):
        raise InputError(f"ids: {_list(ids)}; they must differ and lie in 1..254")


def _is_traced(tree: Any) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def _names(ids: Array) -> str:
    return _list([x for x in np.asarray(ids).tolist() if x])


def _list(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _size(frame: Array) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"
