"""A method in time: start on a frame with masks, then step from frame to frame.

`start` and `step` are pure and traceable.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vos_jax.inference.capacity import DEFAULT_FRAMES, reserve_next, slots_for
from vos_jax.inference.checks import as_frame, as_probs, check_slots, is_traced
from vos_jax.inference.form import built
from vos_jax.inference.state import Output, State, encode, first_state, moment_of
from vos_jax.methods.base import Encoded, Method
from vos_jax.methods.inputs import check_inputs
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.memory_bank import Bank, Moment
from vos_jax.ops.platform import by_platform


def start(
    method: Method,
    variables: Mapping[str, Any],
    frame: ArrayLike,
    masks: ArrayLike,
    *,
    ids: Sequence[int] | None = None,
    objects: int | None = None,
    frames: int = DEFAULT_FRAMES,
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
    frame = as_frame(frame)
    given, ids = as_probs(masks, ids, frame.shape[:2])
    if objects is not None:
        check_slots(objects, ids)
    free = (objects or len(ids)) - len(ids)
    return first_state(
        method,
        variables,
        frame,
        jnp.pad(given, [(0, free), (0, 0), (0, 0)]) if free else given,
        np.array([*ids, *[0] * free], np.int32),
        slots=slots_for(method, frames),
    )


def step(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: ArrayLike,
    inputs: Any = None,
    *,
    donate: bool = False,
) -> tuple[State, Output]:
    """Segments the next frame.

    Args:
      method: As given to `start`.
      variables: As given to `start`.
      state: Of the frame before; stays valid and can be stepped again, unless it is
        donated.
      frame: `[H, W, 3]` like the first one.
      inputs: What else `method.inputs` says that it takes with each frame.
      donate: Give the state away: the memory is changed where it is and not copied, and
        the old state is gone. What a loop over frames wants. Inside of a program of
        your own it changes nothing; donate that one's arguments.

    Returns:
      The new state, and logits and probabilities at the frame's size.

    Raises:
      InputError: The frame is of another size, or the inputs are not what is taken.
    """
    height, width, _ = state.frame.shape
    frame = as_frame(frame, (height, width))
    check_inputs(method.inputs, inputs, (height, width))
    method = built(method)
    if not is_traced(state):
        state = reserve_next(method, state)
    program = _step_donating if donate else _step_jitted
    return program(method, variables, state, frame, inputs)


def step_traced(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: Array,
    inputs: Any = None,
) -> tuple[State, Output]:
    """`step` without checks and compilation of its own, for use inside a program."""
    frame = to_unit_range(frame)
    encoded = encode(method, variables, frame)
    return step_encoded(method, variables, state, frame, encoded, inputs)


def step_encoded(
    method: Method,
    variables: Mapping[str, Any],
    state: State,
    frame: Float[Array, "H W 3"],
    encoded: Encoded,
    inputs: Any = None,
) -> tuple[State, Output]:
    """`step_traced` of a frame in [0, 1] that has been encoded, with others perhaps."""
    memory = method.place(_memorize(method, variables, state))
    query, keep = encoded
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


_step_jitted = jax.jit(step_traced, static_argnums=0)
_step_donating = jax.jit(step_traced, static_argnums=0, donate_argnums=2)


def _memorize(method: Method, variables: Mapping[str, Any], state: State) -> Any:
    moment = moment_of(state)

    def memorize(memory: Any, moment: Moment) -> Any:
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
        return memorize(state.memory, moment)

    def ask(memory: Any, moment: Moment) -> Any:
        return lax.cond(due, memorize, lambda memory, _: memory, memory, moment)

    def choose(memory: Any, moment: Moment) -> Any:
        active, first = moment.active & due, moment.first & due
        new = memorize(memory, moment._replace(active=active, first=first))

        def is_kept(node: Any) -> bool:
            return method.keeps_inactive and isinstance(node, Bank)

        return jax.tree.map(
            lambda new, old: new if is_kept(new) else jnp.where(due, new, old),
            *(new, memory),
            is_leaf=is_kept,
        )

    return by_platform(method.platform, ask, choose, state.memory, moment)
