"""The stages of a frame: which frames a memory is filled with, what is compiled."""

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bench.toy import Parted, toy
from tests.methods.hmmn_weights import NARROW, narrow
from vos_jax.bench.measure import Program
from vos_jax.bench.stages import Stages, frames_in
from vos_jax.inference.state import State
from vos_jax.methods import create
from vos_jax.methods.base import Method
from vos_jax.ops import memory_bank
from vos_jax.ops.memory_bank import FIRST, Bank, Moment, Policy

pytestmark = pytest.mark.slow

SIZE, OBJECTS = (32, 40), 2


class Kept(SimpleNamespace):
    """A method of which only the memory matters: a bank without content."""

    def __init__(self, policy: Policy, slots: Callable[[int], int] | None = None):
        super().__init__(policy=policy, slots=slots or policy.slots, inputs=None)

    def init_memory(self, height: int, width: int, objects: int, slots: int) -> Bank:
        return memory_bank.empty(jnp.zeros((objects, 0)), slots)

    def due(self, memory: Bank, moment: Moment) -> Any:
        return self.policy.due(moment)


def beginning(method: Any) -> State:
    """The state of frame 0 of a video of 20 frames, without what networks compute."""
    everything = jnp.ones(OBJECTS, bool)
    return State(
        memory=method.init_memory(*SIZE, OBJECTS, method.slots(20)),
        frame=jnp.zeros((*SIZE, 3)),
        keep=(),
        probs=jnp.zeros((OBJECTS + 1, *SIZE)),
        first=everything,
        corrected=jnp.bool_(False),
        time=jnp.int32(0),
        ids=1 + jnp.arange(OBJECTS),
    )


def writer(policies: Iterable[Policy]) -> Program:
    """Puts times alone into the banks of a memory; entries are dear."""

    def write(variables: Any, memory: Any, rest: State) -> Any:
        moment = Moment(rest.time, rest.active, rest.first, rest.corrected)
        banks, rest_of = jax.tree.flatten(memory, is_leaf=lambda x: isinstance(x, Bank))
        written = [
            memory_bank.write(
                bank, policy, jax.tree.map(lambda x: x[0], bank.entries), moment
            )
            for bank, policy in zip(banks, policies, strict=True)
        ]
        return jax.tree.unflatten(rest_of, written)

    return Program(jax.jit(write), 0, None, None)


def times_in(bank: Bank) -> list[int]:
    """Frames that the first object has, in order."""
    return [time for time in sorted(np.asarray(bank.time)[:, 0].tolist()) if time >= 0]


def filled(method: Any, count: int, policies: Iterable[Policy]) -> tuple[State, Any]:
    """A state whose memory was filled, and the memory that its step reads from."""
    stages, memorize = Stages(method, {}, SIZE, OBJECTS), writer(tuple(policies))
    empty = beginning(method)
    cycle = stages.cycle(memorize, empty)
    state = stages.fill(memorize, empty, (), count, cycle)
    return state, stages.read_from(memorize, state, cycle)


@pytest.mark.parametrize(
    ("count", "every", "fine"),
    [(1, [0], [0]), (2, [0, 1], [0, 1]), (4, [0, 2, 4, 5], [0, 5])],
)
def test_a_memory_is_filled_with_the_frames_of_a_video(
    count: int, every: list[int], fine: list[int]
) -> None:
    method = create("hmmn", **NARROW)
    config = method.config
    state, memory = filled(method, count, (config.policy, config.fine_policy))
    assert int(state.time) == every[-1]
    assert not bool(state.corrected)
    assert frames_in(memory) == count
    for bank, expected in ((memory.bank, every), (memory.fine, fine)):
        assert times_in(bank) == expected
        assert (np.asarray(bank.time)[FIRST] == 0).all()
    later = np.asarray(memory.bank.time[None] > memory.bank.time[:, None]).sum(1)
    newest = np.asarray(memory.bank.time).argmax(0)
    assert (later[newest, np.arange(2)] == 0).all()
    # Once each: no two slots are of one age.
    taken = np.asarray(memory.bank.filled)[:, 0]
    assert sorted(later[taken, 0]) == list(range(count))


@pytest.mark.parametrize(
    ("every", "count", "times"),
    [
        (5, 1, [0]),
        (5, 2, [0, 1]),
        (5, 4, [0, 5, 10, 11]),
        (1, 4, [0, 1, 2, 3]),
        (None, 2, [0, 1]),
    ],
)
def test_the_latest_frame_is_read_where_every_frame_is_remembered(
    every: int | None, count: int, times: list[int]
) -> None:
    policy = Policy(every=every)
    state, memory = filled(Kept(policy), count, [policy])
    assert times_in(memory) == times
    assert (int(state.time), frames_in(memory)) == (times[-1], count)


@pytest.mark.parametrize(("count", "times"), [(1, [0]), (4, [0, 3, 6, 9])])
def test_frames_that_are_not_remembered_are_not_read(
    count: int, times: list[int]
) -> None:
    policy = Policy(every=3, previous=False)
    state, memory = filled(Kept(policy), count, [policy])
    assert times_in(memory) == times
    assert int(state.time) == times[-1] + 1


def test_a_memory_that_does_not_grow_has_the_frames_that_are_due() -> None:
    policy = Policy(every=3, previous=False)
    method = Kept(policy, slots=lambda frames: 4)
    state, memory = filled(method, 3, [policy])
    assert (times_in(memory), int(state.time)) == ([0, 3, 6], 7)


def test_a_method_that_remembers_the_first_frame_alone_has_no_cycle() -> None:
    policy = Policy(every=None, previous=False)
    method = Kept(policy)
    stages = Stages(method, {}, SIZE, OBJECTS)  # type: ignore[arg-type]
    assert stages.cycle(writer([policy]), beginning(method)) is None
    state, memory = filled(method, 1, [policy])
    assert (times_in(memory), int(state.time)) == ([0], 1)


@pytest.mark.parametrize(
    ("name", "options", "cycle"),
    [("stm", {"mem_every": 4}, 1), ("stcn", {"mem_every": 4}, 4), ("rde", {}, 3)],
)
def test_the_cycle_is_that_of_the_method(
    name: str, options: dict[str, int], cycle: int
) -> None:
    method = create(name, **options)
    stages = Stages(method, {}, SIZE, OBJECTS)
    empty = beginning(method)
    begun = empty.memory._replace(
        bank=empty.memory.bank._replace(time=empty.memory.bank.time.at[FIRST].set(0))
    )
    memorize = Program(lambda *_: begun, 0, None, None)
    assert stages.cycle(memorize, empty) == cycle


def test_what_is_timed_gives_no_copy_of_the_memory() -> None:
    method, variables = narrow(window=3)
    stages = Stages(method, variables, SIZE, OBJECTS)
    state = stages.shapes(20)
    query, _ = jax.eval_shape(stages.encode, variables, stages.frame)
    arguments = variables, state.memory, query
    read = jax.eval_shape(stages.read, *arguments, jnp.ones(OBJECTS, bool))
    state = state._replace(ids=jnp.ones(OBJECTS, jnp.int32))
    segment = jax.eval_shape(stages.segment, *arguments, state, None)
    track = state.memory.bank.entries.track.shape
    fine = [(2, 4, 6, 12), (2, 8, 12, 8)]
    assert sorted(x.shape for x in read) == sorted([(2, 2, 3, 16), *fine, track])
    assert sorted(x.shape for x in segment) == sorted([(3, 32, 40), track])


def test_the_parts_of_a_method_follow_one_another_as_in_a_step() -> None:
    method, variables = toy()
    stages = Stages(Parted(method.config), variables, SIZE, OBJECTS)
    state = stages.start(2)
    query, keep = stages.encode(variables, stages.frame)
    programs = stages.compile(state, query)
    state = stages.fill(programs["memorize"], state, keep, 1, 1)
    memory = stages.read_from(programs["memorize"], state, 1)
    arguments = stages.arguments(programs, state, memory, query)
    (logits,) = programs["segment"].call(*arguments["segment"]())
    merged = programs["merge"].call(*arguments["merge"]())
    np.testing.assert_allclose(merged, logits, rtol=1e-5)
    assert np.abs(logits).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_a_cycle_remembers_one_frame(
    tiny_rde: tuple[Method, Mapping[str, Any]], count: int
) -> None:
    method, variables = tiny_rde
    stages = Stages(method, variables, SIZE, OBJECTS)
    empty = stages.start(20)
    memorize = Program(jax.jit(stages.memorize), 0, None, None)
    cycle = stages.cycle(memorize, empty)
    assert cycle == 3
    state = stages.fill(memorize, empty, empty.keep, count, cycle)
    assert np.asarray(state.memory.bank.filled).sum(0).tolist() == [count] * 2
    due = []
    for later in range(cycle):
        moment = Moment(
            state.time + later, state.active, state.first & False, state.corrected
        )
        due.append(bool(method.due(state.memory, moment)))
    assert due == [False, False, True]
