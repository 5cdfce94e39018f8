"""`vos-jax bench`: what reaches the benchmarks, what is printed and refused."""

import json

import pytest
from jax.errors import JaxRuntimeError

from vos_jax.bench import model as bench_model
from vos_jax.bench import read as bench_read
from vos_jax.bench import train as bench_train
from vos_jax.bench.measure import Ceilings
from vos_jax.bench.model import ModelResult
from vos_jax.bench.read import ReadResult, ReadRow
from vos_jax.bench.train_rows import InputRow, Job, StepRow, TrainResult
from vos_jax.cli import main
from vos_jax.methods import create, weights

JOB = Job("stm-tiny", "float32", 1000, 8, 3, 1, "128x128", "generated", 1)
STEP = StepRow("128x128", 500.0, 16.0, 20, 30.0, 5.0, 10.0, 0.1, None)
INPUT = InputRow(2, 48.0, 20, 3.0, 12.0, 20, 0.01, 0.75)
RESULT = TrainResult(JOB, [STEP], [INPUT], Ceilings({"float32": 1e11}, 1e10))


@pytest.fixture
def given(monkeypatch):
    """What the benchmark was asked, which gives the same figures every time."""
    calls = []

    def record(experiment, data, options):
        calls.append((experiment, data, options))
        return RESULT

    monkeypatch.setattr(bench_train, "bench_train", record)
    return calls


@pytest.fixture
def refused(capsys):
    """Checks that a command has failed with one line that names what is wrong."""

    def check(words, *named):
        assert main(["bench", "train", *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("vos-jax: error: ") and err.count("\n") == 1
        for name in named:
            assert name in err

    return check


def test_the_command_line_reaches_the_benchmark(given, tmp_path, capsys):
    words = ["--workers", "1", "4", "--repeats", "3", "--set", "batch=2"]
    assert main(["bench", "train", "stm/tiny", "--data", "here", *words]) == 0
    experiment, data, options = given[0]
    assert (experiment.method, experiment.batch, str(data)) == ("stm-tiny", 2, "here")
    assert (options.workers, options.repeats) == ((1, 4), 3)
    assert "makes 3.0 times what the step takes" in capsys.readouterr().out


def test_figures_are_printed_as_json_and_written(given, tmp_path, capsys):
    words = ["--json", "--out", str(tmp_path)]
    assert main(["bench", "train", "stm/tiny", *words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == [STEP._asdict()]
    assert figures["inputs"][0]["ratio"] == 3.0
    assert figures["job"]["batch"] == 8
    assert len(list(tmp_path.iterdir())) == 4


def test_bad_input_is_one_line(refused, tmp_path):
    refused(["stm/missing"], "stm/missing", "stm/tiny")
    refused(["stm/tiny", "--set", "bach=2"], "bach", "batch")
    refused(["stm/tiny", "--workers", "1", "0"], "workers=0", "at least 1")
    refused(["stm/tiny", "--repeats", "0"], "repeats=0", "at least 1")
    refused(["stm/main"], "--data")
    refused(["stm/main", "--data", str(tmp_path)], str(tmp_path / "DAVIS"))


@pytest.mark.slow
def test_an_experiment_is_timed(capsys):
    words = ["--workers", "1", "--repeats", "1", "--json", "--set", "batch=1"]
    assert main(["bench", "train", "stm/tiny", *words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["inputs"][0]["ratio"] > 0
    assert 0 < figures["steps"][0]["mfu"]


# Reads

ROW = ReadRow("l2", "slots top-20", "float32", 1, 5, 5, 20, 80.0, limit_ms=8.0)
READ_RESULT = ReadResult([ROW._replace(speedup=2.5)], Ceilings({"float32": 1e11}, 1e10))


@pytest.fixture
def asked(monkeypatch):
    """The options of each sweep, which gives the same row every time."""
    sweeps = []

    def record(options):
        sweeps.append(options)
        return READ_RESULT

    monkeypatch.setattr(bench_read, "bench_read", record)
    return sweeps


def test_all_reads_are_timed_with_the_published_k(asked, capsys):
    assert main(["bench", "read"]) == 0
    assert [(kind.name, kind.top_k) for kind in asked[0].reads] == [
        ("space-time", (20,)),
        ("l2", (20, 40)),
        ("kernel-guided", ()),
        ("guided-8", (8, 32, 128)),
        ("guided-4", (8, 32, 128)),
        ("candidates", (8, 32, 128)),
        ("position-map", (1, 8, 32)),
        ("recurrent-key", ()),
        ("recurrent-value", ()),
    ]
    assert asked[0].limit_s is None
    assert "slots top-20" in capsys.readouterr().out


def test_the_options_of_the_reads_reach_the_sweep(asked):
    words = ["--reads", "l2", "--top-k", "5", "8", "--limit", "60", "--frames", "3"]
    sizes = ["--height", "64", "--width", "96", "--objects", "2", "--dtype", "bfloat16"]
    assert main(["bench", "read", *words, *sizes, "--repeats", "2"]) == 0
    (kind,) = asked[0].reads
    assert (kind.name, kind.top_k, kind.key_dim) == ("l2", (5, 8), 64)
    assert (asked[0].limit_s, asked[0].repeats) == (60, 2)
    assert (asked[0].height, asked[0].width) == (64, 96)
    assert (asked[0].frames, asked[0].objects) == ((3,), (2,))
    assert asked[0].dtypes == ("bfloat16",)
    assert asked[0].precision == "highest"


@pytest.mark.parametrize("precision", ["highest", "high", "default"])
def test_the_precision_of_the_reads_can_be_asked_for(asked, precision):
    assert main(["bench", "read", "--reads", "l2", "--precision", precision]) == 0
    assert asked[0].precision == precision


def test_the_types_of_a_model_are_timed_and_told(monkeypatch, capsys):
    timed = []

    def record(method, variables, asked):
        timed.append((method.config.precision, asked.dtypes or (method.config.dtype,)))
        return ModelResult([], [])

    monkeypatch.setattr(bench_model, "bench_model", record)
    monkeypatch.setattr(
        weights, "random_model", lambda name, **x: (create(name, **x), {})
    )
    for words in ([], ["--dtype", "float32", "bfloat16", "--precision", "high"]):
        assert main(["bench", "model", "--method", "stm-tiny", *words]) == 0
    both = ("float32", "bfloat16")
    assert timed == [("highest", ("float32",)), ("high", both)]
    one, other = capsys.readouterr().err.splitlines()
    assert one.endswith("cpu; float32, highest precision")
    assert other.endswith("cpu; float32 and bfloat16, high precision")


def test_the_number_of_cells_is_for_the_kinds_that_take_one(asked):
    words = ["--reads", "kernel-guided", "guided-4", "--top-k", "16"]
    assert main(["bench", "read", *words]) == 0
    assert [(kind.name, kind.top_k) for kind in asked[0].reads] == [
        ("kernel-guided", ()),
        ("guided-4", (16,)),
    ]


def test_rows_of_the_reads_are_printed_written_and_drawn(asked, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = ["--json", "--plot", "--out", str(tmp_path)]
    assert main(["bench", "read", *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["kind"], row["speedup"]) == ("l2", 2.5)
    names = {"bench_read.csv", "bench_read.json", "bench_read.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reads", "l2", "guided"], "reads: no kind 'guided'; use space-time, l2,"),
        (
            ["--reads", "kernel-guided", "--top-k", "5"],
            "top_k: kernel-guided reads keep all cells",
        ),
        (["--top-k", "20", "0"], "top_k=0: use at least 1"),
        (["--frames", "0"], "frames: give numbers of at least 1"),
        (["--limit", "-1"], "limit_s=-1: use at least 0"),
        (["--plot"], "--plot needs --out"),
    ],
)
def test_bad_options_of_the_reads_are_one_line(words, message, capsys):
    assert main(["bench", "read", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vos-jax: error: ") and err.count("\n") == 1
    assert message in err


# Memory


@pytest.mark.parametrize(
    ("words", "function", "remedy"),
    [
        (["read", "--reads", "l2"], "read.bench_read", "lower --frames, --objects"),
        (["model", "--method", "stm-tiny"], "model.bench_model", "lower --frames"),
        (
            ["model", "--method", "stm-tiny", "--stream", "30"],
            "stream.bench_stream",
            "lower --stream, --objects",
        ),
        (["train", "stm/tiny"], "train.bench_train", "lower batch=8 or recipe.size="),
    ],
)
def test_memory_that_runs_out_is_one_line(words, function, remedy, monkeypatch, capsys):
    def fail(*args):
        raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    monkeypatch.setattr(f"vos_jax.bench.{function}", fail)
    monkeypatch.setattr(weights, "random_model", lambda name, **_: (create(name), {}))
    assert main(["bench", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told = f"vos-jax: error: bench {words[0]}"
    assert err.startswith(told) and err.count("\n") == 1
    assert "out of memory: 8 bytes were asked for; " in err and remedy in err
