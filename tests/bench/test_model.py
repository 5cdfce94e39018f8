import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.methods.hmmn_weights import narrow
from vos_jax.bench import model as bench
from vos_jax.bench.model import ModelOptions, ModelResult
from vos_jax.errors import InputError
from vos_jax.inference.step import state_bytes
from vos_jax.methods.base import Method

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


@pytest.mark.slow
def test_hmmn_is_timed() -> None:
    result = bench.bench_model(*narrow(window=3), TINY)
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
