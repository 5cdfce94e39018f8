"""What a step leaves: the state for the next one, and the output for the caller.

The state is a pytree of the memory and the latest frame with its masks, which is not
memorised before the next step.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods.base import Encoded, Method
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.memory_bank import Moment


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

    Its arrays are its own, though the state has equal ones: whoever gives the state
    away to the next step (donates it) keeps them.

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
        """Ids of the most probable objects, uint8; the lowest slot on ties.

        Of stacked results those of each.
        """
        return label_map(self.probs, self.ids)


def label_map(
    probs: Float[Array, "*b O+1 H W"], ids: Int[Array, "*b O"]
) -> Int[Array, "*b H W"]:
    """The most probable id at every pixel, uint8, 0 where that is the background.

    Leading axes are those that `jax.vmap` or `jax.lax.scan` put there.
    """
    if ids.ndim > 1:
        labels: Array = jax.vmap(label_map)(probs, ids)
        return labels
    names = jnp.concatenate([jnp.zeros_like(ids[:1]), ids]).astype(jnp.uint8)
    return names[jnp.argmax(probs, axis=0)]


@partial(jax.jit, static_argnums=0, static_argnames="slots")
def first_state(
    method: Method,
    variables: Mapping[str, Any],
    frame: Float[Array, "H W 3"],
    given: Float[Array, "O+1 H W"],
    ids: Int[Array, " O"],
    *,
    slots: int,
) -> State:
    """The state of the first frame, of which nothing is memorised yet.

    Which ids there are is not part of the program, nor how many slots are free.

    Args:
      method: From `create`.
      variables: Its weights.
      frame: uint8, or float in [0, 1].
      given: Masks of the first objects, background first; zeros for a free slot.
      ids: Of the object slots, 0 for a free one.
      slots: Slots of the memory.
    """
    return begun(method, variables, frame, given, ids, slots)


def begun(
    method: Method,
    variables: Mapping[str, Any],
    frame: Float[Array, "H W 3"],
    probs: Float[Array, "O+1 H W"],
    ids: Int[Array, " O"],
    slots: int,
) -> State:
    """`first_state` of ids that may be traced, 0 for a free slot, and all their masks.

    Shapes may be symbolic, as those of exported programs are.
    """
    frame = to_unit_range(frame)
    height, width, _ = frame.shape
    _, keep = encode(method, variables, frame)
    return State(
        memory=method.init_memory(height, width, ids.shape[0], slots),
        frame=frame,
        keep=keep,
        probs=probs,
        first=ids > 0,
        corrected=jnp.bool_(False),
        time=jnp.int32(0),
        ids=ids,
    )


# Traced once for all numbers of objects and capacities, of which it knows nothing.
@partial(jax.jit, static_argnums=0, inline=True)
def encode(method: Method, variables: Mapping[str, Any], frame: Array) -> Encoded:
    """What the method computes from a frame alone, as a program of its own."""
    return method.apply(variables, frame, method="encode")  # type: ignore[return-value]


def moment_of(state: State) -> Moment:
    """The latest frame as the memory is told of it."""
    return Moment(state.time, state.active, state.first, state.corrected)
