import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.toy import Parted, toy
from tests.hinted import hinted
from tests.methods.hmmn_weights import narrow
from vos_jax.bench import model as bench
from vos_jax.bench.model import ModelOptions, ModelResult
from vos_jax.cli import main
from vos_jax.errors import InputError
from vos_jax.inference.capacity import state_bytes
from vos_jax.methods.base import Method

pytestmark = pytest.mark.slow

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
def model() -> tuple[Method, Any]:
    return toy()


@pytest.fixture(scope="module")
def result(model: tuple[Method, Any]) -> ModelResult:
    return bench.bench_model(*model, TINY)


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


def test_memory_is_that_of_the_state(
    result: ModelResult, model: tuple[Method, Any]
) -> None:
    (row,) = result.memory
    assert row.slots == model[0].slots(12) == 4
    assert row.state_mb == state_bytes(model[0], (32, 40), 2, 12) / 1e6
    assert row.step_temp_mb is not None and row.step_temp_mb > 0


def test_what_comes_with_frames_goes_to_the_stages_that_need_it() -> None:
    options = replace(TINY, memory_frames=(1,))
    result = bench.bench_model(*hinted(), options)
    assert all(row.time_ms is not None for row in result.stages)


def test_parts_that_a_method_names_are_timed_beside_what_its_paper_reports() -> None:
    method, variables = toy()
    options = replace(TINY, memory_frames=(1,), lengths=())
    rows = bench.bench_model(Parted(method.config), variables, options).stages
    stages = ["encode", "memorize", "read", "scores", "merge", "segment", "decode"]
    assert [row.stage for row in rows] == [*stages, "step"]
    assert all(row.time_ms is not None for row in rows)
    reported = {row.stage: (row.paper_ms, row.paper_share) for row in rows}
    assert reported["read"] == pytest.approx((30, 0.75))
    assert reported["merge"] == pytest.approx((10, 0.25))
    assert reported["scores"] == reported["step"] == (None, None)


@pytest.mark.slow
def test_hmmn_is_timed() -> None:
    result = bench.bench_model(*narrow(window=3), TINY)
    assert {row.memory_frames for row in result.stages} == {1, 3}
    assert all(row.time_ms is not None for row in result.stages)


def test_steps_that_remember_nothing_are_told_from_the_mean_frame() -> None:
    options = replace(TINY, memory_frames=(3,), lengths=())
    model = toy(every=2, previous=False)
    rows = bench.bench_model(*model, options).stages
    stages = ["encode", "memorize", "read", "segment", "decode", "step", "frame"]
    assert [(row.memory_frames, row.stage) for row in rows] == [
        (3, stage) for stage in stages
    ]
    step, frame = rows[-2:]
    assert step.time_ms is not None and frame.time_ms is not None
    assert frame.frames_per_s == pytest.approx(1e3 / frame.time_ms)
    assert frame.share == pytest.approx(frame.time_ms / step.time_ms)


@pytest.mark.slow
def test_a_memory_of_constant_size_is_told(
    tiny_rde: tuple[Method, Mapping[str, Any]],
) -> None:
    options = replace(TINY, memory_frames=(3,), lengths=(10, 1000))
    result = bench.bench_model(*tiny_rde, options)
    frames = [row for row in result.stages if row.stage == "frame"]
    assert all(row.time_ms and row.frames_per_s for row in frames)
    assert {row.slots for row in result.memory} == {3}
    assert len({(row.state_mb, row.step_temp_mb) for row in result.memory}) == 1


def test_more_frames_than_the_memory_holds_are_skipped_with_the_reason() -> None:
    options = replace(TINY, memory_frames=(5,), lengths=())
    result = bench.bench_model(*toy(every=None), options)
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


def test_a_method_of_ones_own_is_timed_by_one_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(__file__).with_name("toy.py")
    sizes = ["--height", "32", "--width", "32", "--objects", "1", "--frames", "2"]
    words = ["--method", str(path), *sizes, "--repeats", "1", "--json"]
    assert main(["bench", "model", *words]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert {row["memory_frames"] for row in tables["stages"]} == {2}
    assert all(row["time_ms"] is not None for row in tables["stages"])
    assert [row["video_frames"] for row in tables["memory"]] == [10, 100, 1000]


@pytest.mark.parametrize(
    "change", [{"height": 0}, {"objects": ()}, {"memory_frames": (0,)}]
)
def test_options_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match="at least 1"):
        ModelOptions(**change)
