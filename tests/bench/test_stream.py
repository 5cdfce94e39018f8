from typing import Any

import pytest

import vos_jax
from tests.bench.toy import toy
from tests.hinted import hinted
from vos_jax.bench import stream as bench
from vos_jax.bench.stream import StreamOptions, bench_stream
from vos_jax.errors import InputError


def test_a_memory_of_constant_size_is_seen_not_to_grow() -> None:
    options = StreamOptions(frames=130, height=32, width=32)
    method, variables = toy(every=None)
    rows = bench_stream(method, variables, options)
    assert [row.frames for row in rows] == [100, 130]
    assert {row.programs for row in rows} == {1}
    assert len({row.state_mb for row in rows}) == 1
    state = vos_jax.state_bytes(method, (32, 32), 1, 130)
    assert rows[0].state_mb == state / 1e6
    assert all(row.frames_per_s > 0 and row.process_mb > 0 for row in rows)


def test_a_memory_that_grows_is_seen_growing() -> None:
    # 100 frames have their room from the beginning.
    options = StreamOptions(frames=130, height=16, width=16)
    rows = bench_stream(*toy(), options)
    assert rows[-1].state_mb > rows[0].state_mb
    assert rows[-1].programs > rows[0].programs


def test_what_comes_with_frames_comes_with_every_one() -> None:
    options = StreamOptions(frames=21, height=16, width=16)
    (row,) = bench_stream(*hinted(every=None), options)
    assert row.frames_per_s > 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frames": 20}, "frames=20: the first 20 warm up"),
        ({"objects": ()}, "objects="),
        ({"height": 8}, "height=8"),
        ({"objects": (900,)}, "as many columns as objects"),
    ],
)
def test_what_cannot_be_run_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        StreamOptions(**fields)


def test_rows_are_written_and_shown(tmp_path) -> None:
    row = bench.StreamRow(1, 100, 2.0, 3.0, 4.0, None, 1)
    assert "frames_per_s" in bench.show([row])
    names = sorted(path.name for path in bench.write([row], tmp_path))
    assert names == ["bench_stream.csv", "bench_stream.json"]
