"""Timing of training: what counts, and how the figures follow from one another."""

import dataclasses
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tests.hinted import hinted
from tests.optional import needs
from vos_jax.bench import train as bench
from vos_jax.bench import train_rows
from vos_jax.bench.train import TrainOptions, TrainResult
from vos_jax.data.recipes import VideoRecipe
from vos_jax.errors import InputError
from vos_jax.methods.objective import StepConfig
from vos_jax.training.experiment import DataConfig, Experiment

needs("tensorflow")

SMALL, TALL = (32, 32), (48, 32)
# Loops and recomputation, which must not change what is counted.
LOOPED = StepConfig(unroll=False, remat=True)
TINY = Experiment(
    method="stm",
    data=(DataConfig(source="generated", options={"count": 4, "size": (48, 48)}),),
    recipe=VideoRecipe(frames=3, size=SMALL, other_sizes=(TALL, SMALL), objects=2),
    batch=2,
    steps=100,
    step=LOOPED,
)
OPTIONS = TrainOptions(workers=(1, 2), repeats=4, small=True)


def begin_toy(experiment, source):
    """A method that compiles in a moment, and takes more than frames as well."""
    assert not experiment.twins
    return hinted()


def run_on_two_devices() -> None:
    """What a process of its own does for a test below."""
    jax.config.update("jax_num_cpu_devices", 2)
    options = TrainOptions(workers=(1,), repeats=1, small=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "begin", begin_toy)
        recipe = dataclasses.replace(TINY.recipe, other_sizes=())
        experiment = dataclasses.replace(TINY, recipe=recipe)
        result = bench.bench_train(experiment, options=options)
    gflop_per_s, mfu = result.steps[0].gflop_per_s, result.steps[0].mfu
    print(json.dumps([result.job.devices, 1e9 * gflop_per_s / mfu, result.ceilings]))


@pytest.fixture(scope="module")
def timed():
    """All figures of clips of two sizes, and the steps that gave them."""
    kept = []

    class Kept(bench._Steps):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "begin", begin_toy)
        patch.setattr(bench, "_Steps", Kept)
        experiment = dataclasses.replace(TINY, twins=True)
        result = bench.bench_train(experiment, options=OPTIONS)
    return result, kept[0]


@pytest.fixture
def result(timed) -> TrainResult:
    return timed[0]


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr(bench, "time", clock := Clock())
    return clock


@pytest.fixture
def pipeline(monkeypatch, clock):
    """Inputs whose batches take as long as the test says; a list of their steps."""

    def make(wait, sizes=(), **options):
        taken = []

        def batches(source, recipe, *, first_step, workers, **rest):
            for step in count(first_step):
                clock.sleep(wait(step - first_step))
                taken.append(step)
                yield step

        monkeypatch.setattr(bench, "train_batches", batches)
        recipe = dataclasses.replace(TINY.recipe, other_sizes=sizes)
        experiment = dataclasses.replace(TINY, recipe=recipe)
        options = TrainOptions(**{"repeats": 4, **options})
        return bench._Inputs(experiment, None, options), taken

    return make


# --- The whole ------------------------------------------------------------------------


@pytest.mark.slow
def test_every_size_and_every_number_of_workers_has_a_row(result):
    assert [row.size for row in result.steps] == ["32x32", "48x32", "mean"]
    assert [row.workers for row in result.inputs] == [1, 2]
    assert result.job.sizes == "32x32 48x32 32x32"
    assert (result.job.batch, result.job.frames, result.job.devices) == (2, 3, 1)


@pytest.mark.slow
def test_figures_of_the_step_follow_from_its_time(result):
    peak = result.ceilings.flops["float32"] / 1e9
    for row in result.steps:
        assert row.clips_per_s == pytest.approx(2e3 / row.time_ms)
        assert row.gflop_per_s == pytest.approx(1e3 * row.gflop / row.time_ms)
        assert row.mfu == pytest.approx(row.gflop_per_s / peak)
    for row in result.steps[:-1]:
        assert row.compile_s > 0 and row.memory_mb > 0 and row.repeats >= 1


@pytest.mark.slow
def test_the_mean_counts_a_size_as_often_as_it_has_its_turn(result):
    small, tall, mean = result.steps
    assert mean.time_ms == pytest.approx((2 * small.time_ms + tall.time_ms) / 3)
    assert mean.gflop == pytest.approx((2 * small.gflop + tall.gflop) / 3)
    assert tall.gflop == pytest.approx(1.5 * small.gflop, rel=0.2)


@pytest.mark.slow
def test_the_ratio_is_the_pipelines_clips_by_those_of_the_step(result):
    step = result.steps[-1].clips_per_s
    for row in result.inputs:
        assert row.ratio == pytest.approx(row.clips_per_s / step)
        assert row.loop_share == pytest.approx(row.loop_clips_per_s / step)
        assert 0 < row.data_wait < 1
        assert row.batches % 3 == 0 and row.loop_steps % 3 == 0


@pytest.mark.slow
def test_the_state_went_through_all_steps(result, timed):
    _, steps = timed
    # Each size is stepped on once more than it is timed.
    alone = sum(row.repeats + 1 for row in result.steps[:-1])
    # Two steps, and as many as a round of the workers gives, are not timed.
    together = sum(row.loop_steps + 3 for row in result.inputs)
    assert int(steps.state.step) == alone + together


@pytest.mark.slow
def test_a_step_leaves_another_state(timed):
    _, steps = timed
    before = jax.device_get(steps.state.params)
    steps.advance(steps._batch(0))
    after = jax.device_get(steps.state.params)
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before, after)
    assert any(jax.tree.leaves(moved))


@pytest.mark.slow
def test_both_tables_are_shown_and_written(result, tmp_path):
    text = train_rows.show(result)
    for word in ("GFLOP/s", "mfu", "data_wait", "method stm", "times what the step"):
        assert word in text
    files = train_rows.write(result, tmp_path)
    assert [path.name for path in files] == [
        *("bench_train_step.csv", "bench_train_step.json"),
        *("bench_train_input.csv", "bench_train_input.json"),
    ]
    content = json.loads(files[3].read_text())
    assert content["job"]["sources"] == "generated"
    assert content["goal"] == 2
    assert content["rows"][1]["ratio"] == result.inputs[1].ratio


@pytest.mark.slow
def test_two_devices_of_one_processor_have_its_ceiling_once():
    program = "from tests.bench.test_train import run_on_two_devices as run"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; run()"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert done.returncode == 0, done.stderr
    devices, peak, ceilings = json.loads(done.stdout.splitlines()[-1])
    assert devices == 2
    assert peak == pytest.approx(ceilings[0]["float32"])


# --- The pipeline ---------------------------------------------------------------------


def test_a_pipeline_alone_is_as_fast_as_its_batches_come(pipeline):
    inputs, _ = pipeline(lambda number: 0.5 if number % 2 else 1.5)
    assert inputs.time_alone(1) == (pytest.approx(1), 4, pytest.approx(1))


@pytest.mark.parametrize("workers", [1, 4, 9])
def test_what_was_made_ahead_does_not_count(pipeline, workers):
    # Two batches are kept ready, and what the workers have finished beside them.
    ready = 2 + workers // TINY.batch
    inputs, _ = pipeline(lambda number: float(number >= ready))
    assert inputs.time_alone(workers).seconds == pytest.approx(1)


def test_a_slow_start_does_not_count(pipeline, clock):
    inputs, _ = pipeline(lambda number: 9.0 if number == 0 else 0.5)
    assert inputs.time_alone(1).seconds == pytest.approx(0.5)
    pace = inputs.time_with(lambda batch: clock.sleep(1), 1)
    assert pace.seconds == pytest.approx(1.5)


def test_waiting_is_the_share_of_the_pipeline_in_the_loop(pipeline, clock):
    inputs, _ = pipeline(lambda number: 1.0)
    pace = inputs.time_with(lambda batch: clock.sleep(3), 1)
    assert pace == (pytest.approx(4), 4, pytest.approx(0.25))


def test_every_measurement_has_clips_of_its_own_and_whole_turns_of_sizes(pipeline):
    inputs, taken = pipeline(lambda number: 1, sizes=(TALL, SMALL))
    first, second = inputs.time_alone(1), inputs.time_with(lambda batch: None, 1)
    assert (first.timed, second.timed) == (6, 6)
    assert taken == list(range(len(taken)))


def test_many_workers_are_timed_for_several_of_their_rounds(pipeline):
    inputs, _ = pipeline(lambda number: 1)
    assert inputs.time_alone(16).timed == 4 * 8


def test_time_that_is_up_still_gives_one_turn(pipeline):
    inputs, _ = pipeline(lambda number: 1, repeats=1000, seconds=0.5)
    assert inputs.time_alone(1).timed == 1


# --- FLOP -----------------------------------------------------------------------------


def test_a_multiply_add_counts_as_two():
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert bench._flop(jnp.matmul, a, b) == 2 * 3 * 5 * 7


@pytest.mark.slow
def test_loops_count_as_often_as_they_run_and_recomputation_does_not(timed):
    result, steps = timed
    batch = steps._place(steps._batch(0))

    def gflop(**config):
        step = steps._train_step(StepConfig(**config))
        return bench._flop(step, steps.state, batch, steps._key) / 1e9

    plain = gflop(unroll=True)
    assert result.steps[0].gflop == plain
    assert gflop(unroll=True, accumulation=2) == pytest.approx(plain, rel=0.02)
    # These are what it must not be.
    assert gflop(unroll=False) < 0.7 * plain
    assert gflop(unroll=True, remat=True) > 1.1 * plain


# --- Bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeats": 0}, "repeats=0: use at least 1"),
        ({"workers": (2, 0)}, "workers=0: use at least 1"),
        ({"workers": (-1,)}, "workers=-1: use at least 1"),
    ],
)
def test_options_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        TrainOptions(**change)


def test_missing_data_are_named(tmp_path):
    davis = dataclasses.replace(
        TINY, data=(DataConfig(source="davis2017", folder="DAVIS"),)
    )
    with pytest.raises(InputError, match="--data where 'DAVIS' is"):
        bench.bench_train(davis)
    with pytest.raises(InputError, match="DAVIS"):
        bench.bench_train(davis, tmp_path)


def test_a_batch_that_does_not_divide_is_refused():
    odd = dataclasses.replace(TINY, batch=3, step=StepConfig(accumulation=2))
    with pytest.raises(InputError, match="3 clips does not divide"):
        bench.bench_train(odd)


@pytest.mark.slow
def test_the_step_alone_needs_no_pipeline(monkeypatch):
    monkeypatch.setattr(bench, "begin", begin_toy)
    monkeypatch.setattr(bench, "train_batches", None)
    result = bench.bench_step(TINY, options=OPTIONS)
    assert [row.size for row in result.steps] == ["32x32", "48x32"]
    assert all(row.repeats and row.mfu > 0 for row in result.steps)
    assert not result.inputs
