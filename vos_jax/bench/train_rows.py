"""What the benchmark of training tells: its rows, their arithmetic, its tables.

How they are measured is told by `train`.
"""

from pathlib import Path
from typing import NamedTuple

from vos_jax.bench.measure import Ceilings
from vos_jax.runtime.machine import machine
from vos_jax.runtime.text_table import describe, text_table, write_table

STEP_NAME, INPUT_NAME = "bench_train_step", "bench_train_input"
"""Of the files of results, without a suffix: of steps, of their input."""

GOAL = 2.0
"""How many times faster than the step the pipeline should be alone, so that it keeps up
when both share the processors."""


class Job(NamedTuple):
    """What is trained.

    Attributes:
      method: Its name.
      dtype: Compute type.
      parameters: Their number.
      batch: Clips of a step, on all devices.
      frames: Of a clip.
      objects: Most objects of a clip.
      sizes: Of the clips, `HxW`, in the order of the steps.
      sources: Data sets.
      devices: That share a batch.
    """

    method: str
    dtype: str
    parameters: int
    batch: int
    frames: int
    objects: int
    sizes: str
    sources: str
    devices: int


class StepRow(NamedTuple):
    """Figures of the step alone.

    Attributes:
      size: `HxW` of the clips; "mean" over the sizes, as often as each has its turn.
      time_ms: Median of `repeats` steps.
      clips_per_s: Batch by time.
      repeats: Number of timed steps.
      compile_s: Seconds for tracing and compiling.
      gflop: Work of a step, as `train` counts it.
      gflop_per_s: Work by time.
      mfu: `gflop_per_s` by the ceiling of all devices.
      memory_mb: State, batch and temporaries on each device, as the compiler plans.
    """

    size: str
    time_ms: float
    clips_per_s: float
    repeats: int | None = None
    compile_s: float | None = None
    gflop: float | None = None
    gflop_per_s: float | None = None
    mfu: float | None = None
    memory_mb: float | None = None


class InputRow(NamedTuple):
    """Figures of the pipeline, alone and with the step.

    Attributes:
      workers: Examples made at a time.
      clips_per_s: Of the pipeline alone.
      batches: Number of timed batches.
      ratio: By the clips/s of the step alone.
      loop_clips_per_s: Of both together.
      loop_steps: Number of timed steps of both together.
      data_wait: Share of that time in which a step waits for its batch.
      loop_share: `loop_clips_per_s` by the clips/s of the step alone.
    """

    workers: int
    clips_per_s: float
    batches: int
    ratio: float
    loop_clips_per_s: float
    loop_steps: int
    data_wait: float
    loop_share: float


class TrainResult(NamedTuple):
    """Both tables, what they are about, and the ceiling."""

    job: Job
    steps: list[StepRow]
    inputs: list[InputRow]
    ceilings: Ceilings


class Pace(NamedTuple):
    """How fast batches or steps follow one another.

    Attributes:
      seconds: For each.
      timed: How many of them were timed.
      wait: Share of the time spent waiting for batches.
    """

    seconds: float
    timed: int
    wait: float


def mean_row(rows: list[StepRow], batch: int) -> StepRow:
    """Of the steps of one turn."""
    time_ms = sum(row.time_ms for row in rows) / len(rows)
    mean = StepRow("mean", time_ms, clips_per_s=1e3 * batch / time_ms)
    counted = [row.gflop for row in rows if row.gflop is not None]
    busy = [row.mfu * row.time_ms for row in rows if row.mfu is not None]
    if len(counted) < len(rows):
        return mean
    gflop = sum(counted) / len(rows)
    return mean._replace(
        gflop=gflop,
        gflop_per_s=1e3 * gflop / time_ms,
        mfu=sum(busy) / len(rows) / time_ms,
    )


def input_row(
    workers: int, alone: Pace, together: Pace, step_s: float, batch: int
) -> InputRow:
    """Of batches of so many clips and a step of so many seconds."""
    return InputRow(
        workers=workers,
        clips_per_s=batch / alone.seconds,
        batches=alone.timed,
        ratio=step_s / alone.seconds,
        loop_clips_per_s=batch / together.seconds,
        loop_steps=together.timed,
        data_wait=together.wait,
        loop_share=step_s / together.seconds,
    )


def show(result: TrainResult) -> str:
    """Both tables with machine and job above them, and how the ratio compares."""
    ceilings = ", ".join(
        f"{dtype} {flops / 1e9:.0f} GFLOP/s"
        for dtype, flops in result.ceilings.flops.items()
    )
    ratios = [
        f"with {row.workers} workers the pipeline makes {row.ratio:.1f} times what the"
        f" step takes (goal: {GOAL:g})"
        for row in result.inputs
    ]
    head = [describe(machine()), describe(result.job), f"ceiling: {ceilings}"]
    tables = [text_table(result.steps), text_table(result.inputs)]
    return "\n\n".join(["\n".join(head), *tables, "\n".join(ratios)])


def write(result: TrainResult, folder: str | Path) -> list[Path]:
    """Writes both tables as CSV and JSON; returns the paths."""
    notes = {
        "job": result.job._asdict(),
        "ceilings": result.ceilings._asdict(),
        "goal": GOAL,
    }
    steps = write_table(folder, STEP_NAME, result.steps, notes)
    return steps + write_table(folder, INPUT_NAME, result.inputs, notes)
