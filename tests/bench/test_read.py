"""The sweep of the reads: rows, what each is compared with, and what is skipped."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from vos_jax.bench import read as bench
from vos_jax.bench.measure import Program, compile_program, measure_ceilings
from vos_jax.bench.read import ReadOptions, ReadResult
from vos_jax.bench.reads import dense, fine
from vos_jax.bench.reads.dense import L2, KernelGuided, SpaceTime
from vos_jax.bench.reads.fine import Candidates, Guided
from vos_jax.bench.reads.kind import Memory
from vos_jax.cli import main
from vos_jax.errors import InputError

SPACE_TIME = SpaceTime(key_dim=4, value_dim=6, top_k=(3,))
TINY = ReadOptions(
    reads=(SPACE_TIME, L2(key_dim=4, value_dim=6, top_k=(3, 5))),
    height=32,
    width=40,
    frames=(1, 2),
    objects=(2,),
    dtypes=("float32",),
    capacity=2,
    repeats=2,
    seconds=0.1,
    small=True,
)

HMMN = dataclasses.replace(
    TINY,
    reads=(
        KernelGuided(key_dim=4, value_dim=6),
        Guided(key_dim=4, value_dim=6, top_k=(2,)),
        Candidates(key_dim=4, top_k=(3,)),
    ),
    frames=(1,),
)


def _not_compiled(read: Callable[..., Any], *arguments: Any) -> Program:
    """Calls nothing; a reference needs more memory than other reads."""
    options = getattr(read, "keywords", {})
    temp = 4000 if options.get("implementation") == "reference" else 1000
    return Program(lambda *_: None, 0.1, temp, temp + 1000)


@pytest.fixture(scope="module", autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Rows follow from each other whatever the programs take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "compile_program", _not_compiled)
        for module in (dense, fine):
            patch.setattr(module, "normal", _zeros)
        yield


def _zeros(dtype: str, *shapes: tuple[int, ...]) -> list[jax.Array]:
    return [jnp.zeros(shape, dtype) for shape in shapes]


@pytest.fixture(scope="module")
def result() -> ReadResult:
    return bench.bench_read(TINY)


@pytest.fixture(scope="module")
def hmmn() -> ReadResult:
    return bench.bench_read(HMMN)


def test_one_command_compiles_and_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "compile_program", compile_program)
    small = partial(measure_ceilings, small=True)
    monkeypatch.setattr(
        bench, "measure_ceilings", lambda dtypes, precision, _: small(dtypes, precision)
    )
    sizes = ["--height", "32", "--width", "32", "--objects", "2", "--frames", "1"]
    words = ["--reads", "position-map", "--top-k", "2", *sizes, "--dtype", "float32"]
    assert main(["bench", "read", *words, "--repeats", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["read"] for row in rows] == ["reference top-2", "slots top-2"]
    for row in rows:
        assert row["time_ms"] > 0 and row["compile_s"] > 0
        assert row["repeats"] == 2 and row["temp_mb"] >= 0


def test_a_sweep_has_a_row_for_every_case(result: ReadResult) -> None:
    dense = ["reference", "slots"]
    space_time, larger = [*dense, "slots top-3"], "slots, 2 slots"
    filtered = [f"{name} top-{k}" for k in (3, 5) for name in dense]
    assert [(row.frames, row.kind, row.read) for row in result.rows] == [
        *((1, "space-time", read) for read in (*space_time, larger)),
        *((1, "l2", read) for read in (*dense, larger, *filtered)),
        *((2, "space-time", read) for read in space_time),
        *((2, "l2", read) for read in (*dense, *filtered)),
    ]
    for row in result.rows:
        assert row.capacity == (2 if row.read == larger else row.frames)


@pytest.mark.parametrize("name", ["result", "hmmn"])
def test_figures_of_a_row_agree_with_each_other(
    name: str, request: pytest.FixtureRequest
) -> None:
    result: ReadResult = request.getfixturevalue(name)
    kinds = {kind.name: kind for kind in (*TINY.reads, *HMMN.reads)}
    for row in result.rows:
        top_k = int(row.read.rpartition("top-")[2]) if "top-" in row.read else None
        assert row.top_k == top_k
        memory = Memory((32, 40), "float32", 2, row.frames, row.capacity)
        flop, moved = kinds[row.kind].work(memory, top_k)
        assert row.time_ms is not None and row.time_ms > 0
        assert row.gflop == pytest.approx(flop / 1e9)
        assert row.moved_mb == pytest.approx(moved / 1e6)
        assert row.flop_per_byte == pytest.approx(flop / moved)
        assert row.gflop_per_s == pytest.approx(flop / 1e6 / row.time_ms)
        limit_ms = 1e3 * result.ceilings.limit_s("float32", flop, moved)
        assert row.limit_ms == pytest.approx(limit_ms)
        assert row.limit_share == pytest.approx(limit_ms / row.time_ms)
        assert row.skipped == ""


def test_rows_are_compared_with_their_own_reference(result: ReadResult) -> None:
    """Of the same kind and memory; in L2 reads, of the same filter."""
    times = {(row.kind, row.frames, row.read): row.time_ms for row in result.rows}
    for row in result.rows:
        top = row.read.partition(" top-")[2] if row.kind == "l2" else ""
        assert row.baseline == (f"reference top-{top}" if top else "reference")
        expected = times[row.kind, row.frames, row.baseline]
        assert expected is not None and row.time_ms is not None
        assert row.speedup == pytest.approx(expected / row.time_ms)


def test_reads_of_hmmn_are_compared_with_what_they_stand_for(
    hmmn: ReadResult,
) -> None:
    times = {(row.kind, row.read): row.time_ms for row in hmmn.rows}
    expected = [
        ("kernel-guided", "reference", "reference"),
        ("kernel-guided", "slots", "reference"),
        ("kernel-guided", "slots, 2 slots", "reference"),
        ("kernel-guided", "slots, no kernels", "slots"),
        ("guided-8", "slots", "slots"),
        ("guided-8", "reference top-2", "slots"),
        ("guided-8", "slots top-2", "slots"),
        ("candidates", "reference top-3", "reference top-3"),
    ]
    assert [(row.kind, row.read, row.baseline) for row in hmmn.rows] == expected
    for row in hmmn.rows:
        baseline = times[row.kind, row.baseline]
        assert baseline is not None and row.time_ms is not None
        assert row.speedup == pytest.approx(baseline / row.time_ms)


def test_progress_names_what_runs_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vos_jax.runtime.progress._LINE_EVERY_S", 0)
    bench.bench_read(dataclasses.replace(TINY, limit_s=0))
    lines = capsys.readouterr().err.splitlines()
    assert "1/20 rows" in lines[0]
    words = "next: space-time slots, float32, objects 2, frames 1"
    assert lines[0].endswith(words)
    assert "20/20 rows" in lines[-1] and "next" not in lines[-1]


def test_what_needs_too_much_memory_says_how_much() -> None:
    options = dataclasses.replace(TINY, max_bytes=500)
    rows = bench.bench_read(options).rows
    assert len(rows) == 20
    assert all(row.baseline is None for row in rows)
    assert all(row.time_ms is None and row.speedup is None for row in rows)
    assert all("GB are allowed" in row.skipped for row in rows)


def test_a_skipped_reference_leaves_the_others_without_a_ratio() -> None:
    kind = dataclasses.replace(SPACE_TIME, top_k=())
    options = dataclasses.replace(TINY, reads=(kind,), frames=(1,), capacity=None)
    reference, chunked = bench.bench_read(options).rows
    assert (reference.temp_mb, chunked.temp_mb) == (0.004, 0.001)
    # Between what both of them need in all.
    options = dataclasses.replace(options, max_bytes=3000)
    reference, chunked = bench.bench_read(options).rows
    assert "needs" in reference.skipped
    assert reference.compile_s is not None
    assert chunked.time_ms is not None
    assert chunked.baseline is None and chunked.speedup is None


def test_what_comes_after_the_time_limit_says_so() -> None:
    rows = bench.bench_read(dataclasses.replace(TINY, limit_s=0)).rows
    assert {row.skipped for row in rows} == {"the limit of 0 s was reached"}


def test_the_table_shows_ceilings_and_rows(result: ReadResult) -> None:
    text = bench.show(result)
    assert "ceilings: float32" in text
    assert len(text.splitlines()) == 4 + len(result.rows)


def test_results_are_written_as_csv_and_json(
    result: ReadResult, tmp_path: Path
) -> None:
    table, full = bench.write(result, tmp_path)
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(result.rows)
    content = json.loads(full.read_text())
    assert content["ceilings"]["bytes_per_s"] == result.ceilings.bytes_per_s
    assert content["rows"][0] == result.rows[0]._asdict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": ()}, "frames: give numbers"),
        ({"objects": (0,)}, "objects: give numbers"),
        ({"dtypes": ("float16",)}, "use float32 or bfloat16"),
        ({"reads": ()}, "reads: give at least one"),
        ({"dtypes": ()}, "dtypes: give at least one"),
        ({"capacity": 0}, "capacity=0: use at least 1"),
        ({"limit_s": -1.0}, "limit_s=-1: use at least 0"),
        ({"repeats": 0}, "repeats=0: use at least 1"),
    ],
)
def test_options_out_of_range_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TINY, **change)
