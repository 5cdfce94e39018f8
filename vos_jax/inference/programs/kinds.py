"""What can be exported: four functions of plain trees, and what they take.

Letters: `O` object slots, `H W` frame, `T` frames, `N` slots of the memory.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.inference.programs.plain import from_plain, to_plain
from vos_jax.inference.state import State, begun, encode
from vos_jax.inference.step import step_traced
from vos_jax.methods.base import Method

What = Literal["start", "step", "video", "read"]
"""The functions that are exported: a first state, a step, a video, a memory read."""

KINDS: Mapping[What, str] = {
    "start": "the state of a first frame, from its label map",
    "step": "the next frame: a state and a frame to the next state and its masks",
    "video": "frames and the first label map to all label maps",
    "read": "the memory read of the method alone",
}
"""Each kind, in words."""


class Sizes(NamedTuple):
    """Lengths of axes, numbers or symbolic dimensions.

    Attributes:
      height: Of the frames.
      width: Of the frames.
      objects: Object slots.
      slots: Of the memory.
      frames: Of a video.
    """

    height: Any
    width: Any
    objects: Any
    slots: Any
    frames: Any


class Argument(NamedTuple):
    """An argument of a program.

    Attributes:
      tree: Plain, its leaves `jax.ShapeDtypeStruct`.
      about: Its meaning.
    """

    tree: Any
    about: str


class Program(NamedTuple):
    """A function to export.

    Attributes:
      function: Of variables and the arguments.
      arguments: By name, in their order, without the variables.
      about: The meaning of what it returns.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Argument]
    about: Mapping[str, str]


STATE = "all that the next step needs; of no interest but for ids, time and probs"
"""What descriptions of programs say of a state."""

_FRAME = "RGB"
_LABELS = "label map of the first frame: 0 background, 255 ignore"
_IDS = "the labels to follow, each with at least one pixel, or 0 for a free slot"
_OUT = {
    "logits": "of background and objects, in the order of state.ids",
    "probs": "their softmax; that of a free slot is exactly 0",
    "labels": "ids of the most probable objects",
}


def program_of(what: What, method: Method, variables: Any, sizes: Sizes) -> Program:
    """The function of a kind, and the shapes of what it takes.

    Args:
      what: Of `KINDS`.
      method: In the form that is exported.
      variables: Of it; only shapes and types are looked at.
      sizes: Of the arguments.

    Raises:
      InputError: There is no such kind, or a node of the state is not plain.
    """
    if what not in KINDS:
        raise InputError(f"what={what!r}: use one of {', '.join(KINDS)}")
    return _BUILDERS[what](method, variables, sizes)


def first_probs(
    labels: Int[Array, "H W"], ids: Int[Array, " O"]
) -> Float[Array, "O+1 H W"]:
    """Masks of some labels, background first; none for a free slot."""
    masks = (labels[None] == ids[:, None, None]) & (ids > 0)[:, None, None]
    given = jnp.concatenate([labels[None] == 0, masks])
    return given.astype(jnp.float32)


def _start(method: Method, variables: Any, sizes: Sizes) -> Program:
    def start(variables: Any, frame: Array, labels: Array, ids: Array) -> Any:
        probs = first_probs(labels, ids)
        state = begun(method, variables, frame, probs, ids, sizes.slots)
        return to_plain(state)

    return Program(
        start,
        {
            "frame": Argument(_frame(sizes), _FRAME),
            "labels": Argument(_labels(sizes), _LABELS),
            "ids": Argument(_ids(sizes), _IDS),
        },
        {"": STATE},
    )


def _step(method: Method, variables: Any, sizes: Sizes) -> Program:
    like = _state(method, variables, sizes)
    inputs = _inputs(method, sizes)

    def step(variables: Any, state: Any, frame: Array, *given: Any) -> Any:
        own = from_plain(inputs, given[0]) if given else None
        state = from_plain(like, state)
        state, out = step_traced(method, variables, state, frame, own)
        found = {"logits": out.logits, "probs": out.probs, "labels": out.labels}
        return to_plain(state), found

    arguments = {
        "state": Argument(to_plain(like), "what start or the last step returned"),
        "frame": Argument(_frame(sizes), _FRAME),
    }
    if inputs is not None:
        arguments["inputs"] = Argument(to_plain(inputs), _about_inputs(method))
    about = {f"1.{name}": words for name, words in _OUT.items()}
    return Program(step, arguments, {"0": STATE, **about})


def _video(method: Method, variables: Any, sizes: Sizes) -> Program:
    inputs = _inputs(method, sizes)

    def video(
        variables: Any, frames: Array, labels: Array, ids: Array, *given: Any
    ) -> Any:
        own = from_plain(inputs, given[0]) if given else None
        state = begun(
            *(method, variables, frames[0], first_probs(labels, ids), ids),
            sizes.slots,
        )

        def body(state: State, each: tuple[Array, Any]) -> tuple[State, Array]:
            state, out = step_traced(method, variables, state, *each)
            return state, out.labels

        later = jax.tree.map(lambda x: x[1:], (frames, own))
        _, found = lax.scan(body, state, later)
        return jnp.concatenate([state.labels[None], found])

    time = sizes.frames
    arguments = {
        "frames": Argument(_longer(_frame(sizes), time), f"{_FRAME}, in their order"),
        "labels": Argument(_labels(sizes), _LABELS),
        "ids": Argument(_ids(sizes), _IDS),
    }
    if inputs is not None:
        tree = jax.tree.map(lambda x: _longer(x, time), to_plain(inputs))
        words = f"{_about_inputs(method)}; those of the first are not looked at"
        arguments["inputs"] = Argument(tree, words)
    return Program(video, arguments, {"": "ids of objects, 0 for background"})


def _read(method: Method, variables: Any, sizes: Sizes) -> Program:
    frame = jax.ShapeDtypeStruct((sizes.height, sizes.width, 3), jnp.float32)
    query, _ = jax.eval_shape(partial(encode, method), variables, frame)
    memory = _state(method, variables, sizes).memory
    active = jax.ShapeDtypeStruct((sizes.objects,), jnp.bool_)

    def read(variables: Any, given_memory: Any, given_query: Any, active: Array) -> Any:
        found = method.apply(
            variables,
            from_plain(memory, given_memory),
            from_plain(query, given_query),
            active,
            method="read",
        )
        return to_plain(found)

    return Program(
        read,
        {
            "memory": Argument(to_plain(memory), "state['memory']"),
            "query": Argument(to_plain(query), "what the encoder makes of a frame"),
            "active": Argument(active, "which object slots hold an object"),
        },
        {"": "what the memory says at every cell of the query"},
    )


_BUILDERS: Mapping[What, Callable[[Method, Any, Sizes], Program]] = {
    "start": _start,
    "step": _step,
    "video": _video,
    "read": _read,
}


def _state(method: Method, variables: Any, sizes: Sizes) -> State:
    probs = (sizes.objects + 1, sizes.height, sizes.width)
    given = variables, _frame(sizes), jax.ShapeDtypeStruct(probs, jnp.float32)

    def fill(variables: Any, frame: Array, probs: Array, ids: Array) -> State:
        return begun(method, variables, frame, probs, ids, sizes.slots)

    state: State = jax.eval_shape(fill, *given, _ids(sizes))
    return state


def _frame(sizes: Sizes) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((sizes.height, sizes.width, 3), jnp.uint8)


def _labels(sizes: Sizes) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((sizes.height, sizes.width), jnp.uint8)


def _ids(sizes: Sizes) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((sizes.objects,), jnp.int32)


def _inputs(method: Method, sizes: Sizes) -> Any:
    """Shapes of what the method takes with a frame; None for nothing."""
    if method.inputs is None:
        return None
    example = method.inputs.example((sizes.height, sizes.width))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), example
    )


def _about_inputs(method: Method) -> str:
    assert method.inputs is not None
    return f"{method.inputs.name} of the frame, with as many places as here"


def _longer(leaf: jax.ShapeDtypeStruct, time: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((time, *leaf.shape), leaf.dtype)
