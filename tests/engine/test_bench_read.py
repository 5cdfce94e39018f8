import csv
import dataclasses
import json
from pathlib import Path

import pytest

from vos_jax.engine import bench_read as bench
from vos_jax.engine.bench_read import ReadOptions, ReadResult, ReadRow
from vos_jax.engine.measure import Ceilings
from vos_jax.errors import InputError

TINY = ReadOptions(
    height=32,
    width=40,
    key_dim=4,
    value_dim=6,
    frames=(1, 2),
    objects=(2,),
    dtypes=("float32",),
    top_k=3,
    capacity=2,
    repeats=2,
    seconds=0.1,
    small=True,
)


@pytest.fixture(scope="module")
def result() -> ReadResult:
    return bench.bench_read(TINY)


def test_flop_counts_every_multiply_add_of_the_loops() -> None:
    cells, frames, objects, key_dim, value_dim = 3, 2, 2, 5, 7
    multiply_adds = 0
    for _ in range(objects):
        for _ in range(cells):
            for _ in range(frames * cells):
                multiply_adds += key_dim
                multiply_adds += value_dim
    found = bench.read_flop(cells, frames, objects, key_dim, value_dim)
    assert found == 2 * multiply_adds


def test_flop_at_480p_is_3_36_gflop_per_memory_frame() -> None:
    assert bench.read_flop(30 * 54, 1, 1, 128, 512) == 3_359_232_000


def test_bytes_count_query_memory_and_float32_result_once() -> None:
    cells, frames, objects, key_dim, value_dim = 3, 2, 2, 5, 7
    query, memory = cells * key_dim, objects * frames * cells * (key_dim + value_dim)
    out = objects * cells * value_dim
    found = bench.read_bytes(cells, frames, objects, key_dim, value_dim, 2)
    assert found == 2 * (query + memory) + 4 * out


def test_a_sweep_has_a_row_for_every_case(result: ReadResult) -> None:
    assert [(row.read, row.frames, row.capacity) for row in result.rows] == [
        ("reference", 1, 1),
        ("chunked", 1, 1),
        ("chunked top-3", 1, 1),
        ("chunked, 2 slots", 1, 2),
        ("reference", 2, 2),
        ("chunked", 2, 2),
        ("chunked top-3", 2, 2),
    ]


def test_figures_of_a_row_agree_with_each_other(result: ReadResult) -> None:
    flop = bench.read_flop(2 * 3, 1, 2, 4, 6)
    moved = bench.read_bytes(2 * 3, 1, 2, 4, 6, 4)
    for row in result.rows[:4]:
        assert row.time_ms is not None and row.time_ms > 0
        assert row.gflop == pytest.approx(flop / 1e9)
        assert row.moved_mb == pytest.approx(moved / 1e6)
        assert row.flop_per_byte == pytest.approx(flop / moved)
        assert row.gflop_per_s == pytest.approx(flop / 1e6 / row.time_ms)
        limit_ms = 1e3 * result.ceilings.limit_s("float32", flop, moved)
        assert row.limit_share == pytest.approx(limit_ms / row.time_ms)
        assert row.skipped == ""


def test_rows_are_compared_with_the_reference_of_the_same_memory(
    result: ReadResult,
) -> None:
    one, two = result.rows[0].time_ms, result.rows[4].time_ms
    assert one is not None and two is not None
    for row in result.rows:
        expected = {1: one, 2: two}[row.frames]
        assert row.time_ms is not None
        assert row.speedup == pytest.approx(expected / row.time_ms)


def test_what_needs_too_much_memory_says_how_much() -> None:
    options = dataclasses.replace(TINY, max_bytes=1000)
    rows = bench.bench_read(options).rows
    assert len(rows) == 7
    assert all(row.time_ms is None and row.speedup is None for row in rows)
    assert all("GB are allowed" in row.skipped for row in rows)


def test_a_skipped_reference_leaves_the_others_without_a_ratio() -> None:
    # The affinities of the reference are 4 times the chunk's here.
    options = dataclasses.replace(
        TINY, height=160, width=160, frames=(4,), capacity=None, top_k=None
    )
    reference, chunked = bench.bench_read(options).rows
    assert reference.temp_mb is not None and chunked.temp_mb is not None
    assert reference.temp_mb > chunked.temp_mb
    between = int(5e5 * (reference.temp_mb + chunked.temp_mb))
    options = dataclasses.replace(options, max_bytes=between)
    reference, chunked = bench.bench_read(options).rows
    assert "needs" in reference.skipped
    assert reference.compile_s is not None
    assert chunked.time_ms is not None
    assert chunked.speedup is None


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


def test_the_plot_is_a_picture_file(result: ReadResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = bench.plot(result, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_plot_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [ReadRow("reference", "float32", 1, 1, 1, skipped="too large")]
    with pytest.raises(InputError, match="every row was skipped"):
        bench.plot(ReadResult(rows, Ceilings({"float32": 1.0}, 1.0)), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": ()}, "frames: give numbers"),
        ({"objects": (0,)}, "objects: give numbers"),
        ({"dtypes": ("float16",)}, "use float32 or bfloat16"),
        ({"top_k": 0}, "top_k=0: use at least 1"),
        ({"repeats": 0}, "repeats=0: use at least 1"),
    ],
)
def test_options_out_of_range_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TINY, **change)
