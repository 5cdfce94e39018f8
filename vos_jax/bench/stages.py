"""The stages of a frame as programs, and memories for them to work on.

A method is known by its protocol alone. Which frames it remembers is found by asking
it: `due` says how often it does, and the growth of `slots` which of them stay.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vos_jax.bench.measure import Program, compile_program
from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.ops.memory_bank import Bank, Moment

LONGEST = 2**20
"""Frames of a video that is long enough to fill any memory that has an end."""

Arguments = Callable[[], tuple[Any, ...]]
"""Makes the arguments of a program when it is to be timed."""


class Stages:
    """The stages of one method, type and number of objects, on frames of noise."""

    def __init__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        size: tuple[int, int],
        objects: int,
    ) -> None:
        """Draws a frame of height and width `size`, its masks, and what comes with it.

        What else the method takes is the example of its `inputs`.
        """
        self.method, self.variables = method, variables
        kind = method.inputs
        self.inputs = None if kind is None else jax.device_put(kind.example(size))
        self.frame, self._masks = _picture(*size, objects)

    def start(self, frames: int) -> State:
        """The state at frame 0 of a video of so many, with nothing memorised yet."""
        return start(
            self.method, self.variables, self.frame, self._masks, frames=frames
        )

    def shapes(self, frames: int) -> State:
        """Of that state, which is not allocated."""
        return jax.eval_shape(lambda: self.start(frames))

    def length_for(self, count: int) -> int:
        """Frames of a video whose memory has room for `count`.

        One more where possible: where every frame is kept no step uses the slot of the
        previous one.
        """
        needed = min(count + 1, self.method.slots(LONGEST))
        length = 1
        while self.method.slots(length) < needed:
            length *= 2
        return length

    # What is compiled.

    def encode(self, variables: Mapping[str, Any], frame: Any) -> Any:
        """Query, and what is kept of the frame until it is memorised."""
        return self.method.apply(variables, frame, method="encode")

    def memorize(self, variables: Mapping[str, Any], memory: Any, rest: State) -> Any:
        """The memory with the latest frame; `rest` is the state without memory."""
        moment = Moment(rest.time, rest.active, rest.first, rest.corrected)
        return self.method.apply(
            variables,
            memory,
            rest.frame,
            rest.keep,
            rest.probs,
            moment,
            method="memorize",
        )

    def read(
        self, variables: Mapping[str, Any], memory: Any, query: Any, active: Any
    ) -> Any:
        """What is read, and what of the memory is new."""
        return _without(memory, self._found(variables, memory, query, active))

    def _found(
        self, variables: Mapping[str, Any], memory: Any, query: Any, active: Any
    ) -> Any:
        return self.method.apply(variables, memory, query, active, method="read")

    def segment(
        self,
        variables: Mapping[str, Any],
        memory: Any,
        query: Any,
        state: State,
        inputs: Any,
    ) -> Any:
        """Logits, and what of the memory is new."""
        known = memory, query, state.frame, state.active, inputs
        out = self.method.apply(variables, *known, method="segment")
        return _without(memory, out)

    def part(
        self,
        name: str,
        variables: Mapping[str, Any],
        memory: Any,
        query: Any,
        state: State,
        inputs: Any,
        before: Any,
    ) -> Any:
        """What one of the method's `parts` makes of what is before it."""
        known = memory, query, state.frame, state.active, inputs, before
        return self.method.apply(variables, *known, method=self.method.parts[name])

    def step(
        self, variables: Mapping[str, Any], state: State, frame: Any, inputs: Any
    ) -> Any:
        """State and output, as in inference."""
        return step_traced(self.method, variables, state, frame, inputs)

    # Programs, and what they are timed on.

    def compile(self, state: State, query: Any) -> dict[str, Program]:
        """Every stage but "encode", for states like this one."""
        variables, memory = self.variables, state.memory
        return {
            # Donated as in inference, where the memory is written in place.
            "memorize": compile_program(
                self.memorize, variables, *split_memory(state), donate=(1,)
            ),
            "segment": compile_program(
                self.segment, variables, memory, query, state, self.inputs
            ),
            "step": self.compile_step(state),
            "read": compile_program(self.read, variables, memory, query, state.active),
            **self._compile_parts(state, query),
        }

    def _compile_parts(self, state: State, query: Any) -> dict[str, Program]:
        programs: dict[str, Program] = {}
        known = self.variables, state.memory, query, state, self.inputs
        before = jax.eval_shape(self._found, *known[:3], state.active)
        for name in self.method.parts:
            run = partial(self.part, name)
            programs[name] = compile_program(run, *known, before)
            before = jax.eval_shape(run, *known, before)
        return programs

    def compile_step(self, state: State) -> Program:
        """The step of states like this one, whose shapes are enough."""
        given = self.frame, self.inputs
        return compile_program(self.step, self.variables, state, *given, donate=(1,))

    def cycle(self, memorize: Program, empty: State) -> int | None:
        """Frames from one that is remembered to the next, or None if none is again."""
        state = self._remember(memorize, _copy(empty))
        moment = Moment(state.time, state.active, state.first, state.corrected)

        def due(time: jax.Array) -> jax.Array:
            return jnp.asarray(
                self.method.due(state.memory, moment._replace(time=time))
            )

        dues = np.asarray(jax.vmap(due)(jnp.arange(1, LONGEST, dtype=jnp.int32)))
        return int(dues.argmax()) + 1 if dues.any() else None

    def fill(
        self,
        memorize: Program,
        empty: State,
        keep: Any,
        count: int,
        cycle: int | None,
    ) -> State:
        """A state whose next step reads from `count` frames, as a video comes to it.

        The frames that stay are memorised at their times; those between have left
        nothing. The latest frame is the one after the last of them.
        """
        # The latest frame is among them where every frame is remembered.
        times = list(islice(self._staying(cycle), count - (cycle == 1)))
        state = _copy(empty)
        for time in times:
            state = self._remember(memorize, state._replace(time=jnp.int32(time)))
        latest = times[-1] + 1 if times else 0
        return state._replace(keep=keep, time=jnp.int32(latest))

    def _staying(self, cycle: int | None) -> Iterator[int]:
        """Times of the frames that a memory grows by, and then of all it remembers."""
        time, slots = 0, self.method.slots
        while True:
            yield time
            longer = range(time + 2, LONGEST)
            grown = bisect_right(longer, slots(time + 1), key=slots)
            time += grown + 1 if grown < len(longer) else cycle or LONGEST

    def _remember(self, memorize: Program, state: State) -> State:
        """The state, which is used up, with its frame in the memory."""
        memory = memorize.call(self.variables, *split_memory(state))
        first = jnp.zeros_like(state.first)
        return state._replace(memory=memory, first=first)

    def read_from(self, memorize: Program, state: State, cycle: int | None) -> Any:
        """The memory that the step from a state reads."""
        if cycle != 1:
            return state.memory
        return self._remember(memorize, _copy(state)).memory

    def arguments(
        self, programs: Mapping[str, Program], state: State, memory: Any, query: Any
    ) -> dict[str, Arguments]:
        """Of every stage, in the order of a frame, made anew at each call."""
        variables = self.variables
        parts: dict[str, Arguments] = {}
        known = variables, memory, query, state, self.inputs
        if self.method.parts:
            before = jax.jit(self._found)(*known[:3], state.active)
        for name in self.method.parts:
            given = *known, before
            parts[name] = partial(tuple, given)
            before = programs[name].call(*given)
        return {
            "encode": lambda: (variables, self.frame),
            "memorize": lambda: (variables, *split_memory(_copy(state))),
            "read": lambda: (variables, memory, query, state.active),
            **parts,
            "segment": lambda: (variables, memory, query, state, self.inputs),
            "step": lambda: (variables, _copy(state), self.frame, self.inputs),
        }


def split_memory(state: State) -> tuple[Any, State]:
    """The memory, and the state without it."""
    return state.memory, state._replace(memory=())


def frames_in(memory: Any) -> int:
    """Frames of the object of which most are filled."""
    nodes = jax.tree.leaves(memory, is_leaf=lambda node: isinstance(node, Bank))
    banks = [node for node in nodes if isinstance(node, Bank)]
    return max(int(bank.filled.sum(0).max()) for bank in banks)


def _copy(state: State) -> State:
    return jax.tree.map(jnp.copy, state)


def _without(memory: Any, result: Any) -> list[Any]:
    """What a traced result has beside parts of the memory that are as they were.

    These would be copied here. In inference, which donates the memory, they stay.
    """
    before = {id(leaf) for leaf in jax.tree.leaves(memory)}
    return [leaf for leaf in jax.tree.leaves(result) if id(leaf) not in before]


def _picture(height: int, width: int, objects: int) -> tuple[jax.Array, np.ndarray]:
    """A frame of noise, and masks that are vertical stripes."""
    frame = jax.random.uniform(jax.random.key(0), (height, width, 3))
    if objects > width:
        raise InputError(f"objects: {objects} do not fit into {width} columns")
    ids = np.arange(1, objects + 1)[:, None, None]
    return frame, (stripes(height, width, objects)[None] == ids).astype(np.float32)


def stripes(height: int, width: int, objects: int) -> np.ndarray:
    """Labels `[H, W]` of 1 to `objects` side by side, equally wide but for a column."""
    labels = 1 + np.arange(width) * objects // width
    return np.broadcast_to(labels, (height, width))
