import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.methods.hmmn_weights import narrow
from vos_jax.bench import model as bench
from vos_jax.bench.model import ModelOptions, ModelResult
from vos_jax.errors import InputError
from vos_jax.inference.capacity import state_bytes
from vos_jax.methods.base import Method
from vos_jax.ops.memory_bank import FIRST, Bank, Policy, write

TINY = ModelOptions(
    height=32,
    width=40,
    objects=(2,),
    memory_frames=(1, 3),
    lengths=(12,),
    repeats=2,
    seconds=0.1,
)


@pytest.fixture(scope="module")
def result(tiny_method: Method, tiny_variables: Mapping[str, Any]) -> ModelResult:
    return bench.bench_model(tiny_method, tiny_variables, TINY)


def test_every_stage_is_timed_for_every_fill_of_the_memory(result: ModelResult) -> None:
    found = [(row.memory_frames, row.stage) for row in result.stages]
    stages = ["encode", "memorize", "read", "segment", "decode", "step"]
    assert found == [(count, stage) for count in (1, 3) for stage in stages]


def test_frames_per_second_and_shares_follow_from_the_step(result: ModelResult) -> None:
    times = {r.stage: r for r in result.stages if r.memory_frames == 3}
    step = times["step"].time_ms
    assert step is not None
    assert times["step"].frames_per_s == pytest.approx(1e3 / step)
    for row in times.values():
        assert row.time_ms is not None
        assert row.share == pytest.approx(row.time_ms / step)
        assert (row.frames_per_s is not None) == (row.stage == "step")


def test_decoding_is_what_segmenting_takes_beyond_the_read(result: ModelResult) -> None:
    times = {r.stage: r.time_ms for r in result.stages if r.memory_frames == 3}
    segment, read = times["segment"], times["read"]
    assert segment is not None and read is not None
    assert times["decode"] == pytest.approx(max(0.0, segment - read))


def test_memory_is_that_of_the_state(result: ModelResult, tiny_method: Method) -> None:
    (row,) = result.memory
    assert row.slots == tiny_method.slots(12) == 4
    assert row.state_mb == state_bytes(tiny_method, (32, 40), 2, 12) / 1e6
    assert row.step_temp_mb is not None and row.step_temp_mb > 0


@pytest.mark.parametrize(
    "count", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))]
)
def test_a_step_reads_from_as_many_frames_as_asked(
    tiny_method: Method, tiny_variables: Mapping[str, Any], count: int
) -> None:
    timed = bench._Bench(tiny_method, tiny_variables, TINY, 2)
    empty = timed._start(20)
    memorize = bench.Program(timed._memorize, 0, None, None)
    state = timed._filled(memorize, empty, empty.keep, count)
    after = timed._memorize(tiny_variables, state.memory, state)
    filled = np.asarray(after.bank.filled).sum(0)
    assert filled.tolist() == [count, count]


@pytest.fixture(scope="module")
def hmmn() -> bench._Bench:
    """A narrow HMMN that keeps every second frame, and its programs."""
    method, variables = narrow(window=3)
    return bench._Bench(method, variables, TINY, 2)


@pytest.mark.parametrize(
    ("count", "every", "fine"),
    [(1, [0], [0]), (2, [0, 1], [0, 1]), (4, [0, 2, 4, 5], [0, 5])],
)
def test_a_memory_is_filled_with_the_frames_of_a_video(
    hmmn: bench._Bench, count: int, every: list[int], fine: list[int]
) -> None:
    empty = hmmn._start(20)
    # The entries are none of the matter, and dear.
    times = bench.Program(partial(_remember_times, hmmn), 0, None, None)
    state = hmmn._filled(times, empty, empty.keep, count)
    assert int(state.time) == every[-1]
    assert not bool(state.corrected)
    memory = times.call({}, state.memory, state)
    for bank, expected in ((memory.bank, every), (memory.fine, fine)):
        assert sorted(np.asarray(bank.time)[:, 0]) == [
            *[-1] * (bank.capacity - len(expected)),
            *expected,
        ]
        assert (np.asarray(bank.time)[FIRST] == 0).all()
    later = np.asarray(memory.bank.time[None] > memory.bank.time[:, None]).sum(1)
    newest = np.asarray(memory.bank.time).argmax(0)
    assert (later[newest, np.arange(2)] == 0).all()
    # Once each: no two slots are of one age.
    filled = np.asarray(memory.bank.filled)[:, 0]
    assert sorted(later[filled, 0]) == list(range(count))


def _remember_times(hmmn: bench._Bench, variables: Any, memory: Any, rest: Any) -> Any:
    config = hmmn._method.config
    moment = bench.Moment(rest.time, rest.active, rest.first, rest.corrected)

    def written(bank: Bank, policy: Policy) -> Bank:
        entry = jax.tree.map(lambda x: x[0], bank.entries)
        return write(bank, policy, entry, moment)

    return memory._replace(
        bank=written(memory.bank, config.policy),
        fine=written(memory.fine, config.fine_policy),
    )


def test_what_is_timed_gives_no_copy_of_the_memory(hmmn: bench._Bench) -> None:
    state = hmmn._start(20)
    query, _ = jax.eval_shape(hmmn._encode, hmmn._variables, hmmn._frame)
    arguments = hmmn._read_arguments(state, query)
    read = jax.eval_shape(hmmn._read, *arguments)
    segment = jax.eval_shape(hmmn._segment, *arguments, state)
    track = state.memory.bank.entries.track.shape
    fine = [(2, 4, 6, 12), (2, 8, 12, 8)]
    assert sorted(x.shape for x in read) == sorted([(2, 2, 3, 16), *fine, track])
    assert sorted(x.shape for x in segment) == sorted([(3, 32, 40), track])


@pytest.mark.slow
def test_hmmn_is_timed(hmmn: bench._Bench) -> None:
    result = bench.bench_model(hmmn._method, hmmn._variables, TINY)
    assert {row.memory_frames for row in result.stages} == {1, 3}
    assert all(row.time_ms is not None for row in result.stages)


@pytest.mark.slow
def test_steps_that_remember_nothing_are_told_from_the_mean_frame(
    tiny_rde: tuple[Method, Mapping[str, Any]],
) -> None:
    options = ModelOptions(
        height=32,
        width=32,
        objects=(2,),
        memory_frames=(3,),
        lengths=(10, 1000),
        repeats=2,
        seconds=0.1,
    )
    result = bench.bench_model(*tiny_rde, options)
    stages = ["encode", "memorize", "read", "segment", "decode", "step", "frame"]
    found = [(row.memory_frames, row.stage) for row in result.stages]
    assert found == [(3, stage) for stage in stages]
    frames = [row for row in result.stages if row.stage == "frame"]
    assert all(row.time_ms and row.frames_per_s for row in frames)
    assert {row.slots for row in result.memory} == {3}
    assert len({(row.state_mb, row.step_temp_mb) for row in result.memory}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_a_cycle_remembers_one_frame(
    tiny_rde: tuple[Method, Mapping[str, Any]], count: int
) -> None:
    method, variables = tiny_rde
    timed = bench._Bench(method, variables, TINY, 2)
    empty = timed._start(20)
    memorize = bench.Program(timed._memorize, 0, None, None)
    state = timed._filled(memorize, empty, empty.keep, count)
    filled = np.asarray(state.memory.bank.filled).sum(0)
    assert filled.tolist() == [1 if count == 1 else 3] * 2
    due = []
    for later in range(timed._cycle):
        moment = bench.Moment(
            state.time + later, state.active, state.first & False, state.corrected
        )
        due.append(bool(method.due(state.memory, moment)))
    assert due == [False, False, True]


def test_more_frames_than_the_memory_holds_are_skipped_with_the_reason(
    tiny_method: Method, tiny_variables: Mapping[str, Any]
) -> None:
    config = type(tiny_method.config)(**{**vars(tiny_method.config), "mem_every": None})
    method = tiny_method.clone(config=config)
    options = ModelOptions(
        height=32, width=32, objects=(1,), memory_frames=(5,), lengths=()
    )
    result = bench.bench_model(method, tiny_variables, options)
    (row,) = result.stages
    assert row.skipped == "the memory holds 2 frames at most"
    assert row.time_ms is None


def test_both_tables_are_shown_and_written(result: ModelResult, tmp_path: Path) -> None:
    text = bench.show(result)
    assert "frames_per_s" in text
    assert "state_mb" in text
    files = bench.write(result, tmp_path)
    assert [path.suffix for path in files] == [".csv", ".json"] * 2
    content = json.loads(files[1].read_text())
    assert len(content["rows"]) == len(result.stages)


@pytest.mark.parametrize(
    "change", [{"height": 0}, {"objects": ()}, {"memory_frames": (0,)}]
)
def test_options_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match="at least 1"):
        ModelOptions(**change)
