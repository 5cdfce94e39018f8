"""Objects that come, are corrected and go between two frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from vos_jax.inference.capacity import reserve
from vos_jax.inference.checks import (
    as_frame,
    as_probs,
    check_is_there,
    check_latest,
    is_traced,
)
from vos_jax.inference.state import State
from vos_jax.methods.base import Method
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.memory_bank import Bank, forget


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

    Masks may be traced, so that `jax.vmap` tries several and `jax.grad` asks how much
    each pixel of one matters; so may the state, whose shapes are fixed then. Values
    that are not known are not checked: masks, and whether `frame` is the latest one.

    Args:
      method: As given to `start`.
      variables: As given to `start`.
      state: After the step (or start) on that frame. Not changed.
      frame: The same frame again.
      masks: `[O', H, W]`, or a label map: only its labels change, 0 means nothing.
      ids: Ids of the masks, or the labels to use; by default every label. An empty
        mask says that a known object is not in the frame. With a traced state all of
        them must be known to it.

    Returns:
      The state with the masks; more object slots are added where none is free.

    Raises:
      InputError: As `start`, or `frame` is not the latest frame.
    """
    frame = to_unit_range(as_frame(frame))
    if is_traced(state):
        return _correct(state, masks, ids)
    if not is_traced(frame):
        check_latest(np.asarray(frame), np.asarray(state.frame))
    return merge_masks(method, state, masks, ids, int(state.time))


def _correct(state: State, masks: ArrayLike, ids: Sequence[int] | None) -> State:
    """`add_masks` to a traced state, of objects that it knows.

    A mask whose id it does not know changes nothing.
    """
    given, ids = as_probs(masks, ids, state.frame.shape[:2], ids or ())
    is_own = state.ids[None] == jnp.array(ids)[:, None]
    known = is_own.any(1)
    slots = jnp.where(known, is_own.argmax(1), len(state.ids))
    given = jnp.where(known[:, None, None], given[1:], 0)
    none = jnp.zeros(state.ids.shape, bool)
    corrected = _place_masks(state, given, slots, state.ids, none)
    return corrected._replace(corrected=state.corrected | known.any())


def merge_masks(
    method: Method,
    state: State,
    masks: ArrayLike,
    ids: Sequence[int] | None,
    time: int,
) -> State:
    """`add_masks` for a caller that knows the frame and its time."""
    known = np.asarray(state.ids).tolist()
    given, ids = as_probs(masks, ids, state.frame.shape[:2], known)
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
        memory=forget_objects(state.memory, is_new),
        probs=jnp.concatenate([background, objects]),
        first=state.first | is_new,
        corrected=state.corrected | corrects.any(),
        ids=ids,
    )


def forget_objects(memory: Any, gone: Bool[Array, " O"]) -> Any:
    """A method's memory without anything of some objects."""
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
    if not is_traced((state.ids, id)):
        check_is_there(int(id), np.asarray(state.ids))
    gone = (state.ids == id) & state.active
    objects = jnp.where(gone[:, None, None], 0, state.probs[1:])
    lost = jnp.where(gone[:, None, None], state.probs[1:], 0).sum(0, keepdims=True)
    return state._replace(
        memory=forget_objects(state.memory, gone),
        probs=jnp.concatenate([state.probs[:1] + lost, objects]),
        first=state.first & ~gone,
        ids=jnp.where(gone, 0, state.ids),
    )
