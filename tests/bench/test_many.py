"""The benchmark of many videos: what it counts, against what."""

import json

import pytest

from vos_jax.bench import many as bench_many
from vos_jax.bench.many import ManyOptions
from vos_jax.cli import main
from vos_jax.errors import InputError
from vos_jax.inference.capacity import state_bytes

SMALL = {"height": 32, "width": 48, "frames": 3}


def test_a_row_for_each_number_of_videos(tiny_method, tiny_variables):
    options = ManyOptions(videos=(1, 2), objects=2, **SMALL)
    one, two = bench_many.bench_many(tiny_method, tiny_variables, options)
    assert (one.videos, two.videos) == (1, 2) and one.ratio == 1
    assert min(one.frames_per_s, two.frames_per_s, two.ratio) > 0
    state = state_bytes(tiny_method, (32, 48), 2, frames=3)
    assert two.state_mb == pytest.approx(2 * one.state_mb)
    assert one.state_mb == pytest.approx(state / 1e6)


def test_a_ratio_is_to_the_first_row_beside_it(tiny_method, monkeypatch):
    """A machine that becomes faster does not make more videos faster."""
    seconds = iter([9, 4, 9, 2, 1])

    def take(network, options, spread):
        return next(seconds)

    monkeypatch.setattr(bench_many, "_seconds", take)
    monkeypatch.setattr(bench_many, "inference_form", lambda *network: network)
    monkeypatch.setattr(bench_many, "state_bytes", lambda *_, **__: 1)
    options = ManyOptions(videos=(1, 4), **SMALL)
    one, four = bench_many.bench_many(tiny_method, {}, options)
    assert one.frames_per_s == 3 / 4
    assert (four.frames_per_s, four.ratio) == (12, 12 / (3 / 2))


def test_the_command_line_reaches_the_benchmark(monkeypatch, tmp_path, capsys):
    seen = []

    def record(method, variables, options):
        seen.append((method, options))
        return [bench_many.ManyRow(1, 1, 2.0, 1.0, 0.5, None)]

    monkeypatch.setattr(bench_many, "bench_many", record)
    words = ["--videos", "1", "3", "--frames", "5", "--objects", "2", "--height", "32"]
    words += ["--width", "48", "--dtype", "bfloat16", "--out", str(tmp_path), "--json"]
    assert main(["bench", "many", "--method", "stm-tiny", *words]) == 0
    method, options = seen[0]
    assert options == ManyOptions(
        videos=(1, 3), frames=5, objects=2, height=32, width=48
    )
    assert method.config.dtype == "bfloat16"
    told = capsys.readouterr()
    assert json.loads(told.out)["rows"][0]["frames_per_s"] == 2
    assert told.err.startswith("bench many: stm-tiny, weights at random; cpu; bfloat16")
    assert {x.name for x in tmp_path.iterdir()} == {"bench_many.csv", "bench_many.json"}


@pytest.mark.parametrize("options", [{"videos": ()}, {"devices": (0,)}, {"frames": 1}])
def test_nonsense_is_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ManyOptions(**options)
