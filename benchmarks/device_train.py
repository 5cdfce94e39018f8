"""A training step, of `device.py`: `train`."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from device_timing import Bench
from programs import random_weights

import vos_jax
from vos_jax.bench.train import TrainOptions, bench_step
from vos_jax.data.recipes import VideoRecipe
from vos_jax.training.experiment import DataConfig, Experiment
from vos_jax.training.experiment_file import load_experiment


class Row(NamedTuple):
    """The step alone.

    Attributes:
      experiment: Whose batch, recipe and optimizer; on generated clips.
      dtype: Compute type.
      clips: Of a step.
      frames: Of a clip.
      size: `HxW` of the clips.
      time_ms: Of a step.
      clips_per_s: Clips by time.
      gflop: Of a step, as `vos-jax bench train` counts it.
      mfu: Share of the ceiling of products.
      memory_mb: State, batch and temporaries, as the compiler plans.
      compile_s: Seconds for tracing and compiling.
    """

    experiment: str
    dtype: str
    clips: int
    frames: int
    size: str
    time_ms: float
    clips_per_s: float
    gflop: float | None
    mfu: float | None
    memory_mb: float | None
    compile_s: float | None


def jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """A job for each type."""
    for dtype in bench.dtypes[:1] if bench.small else bench.dtypes:
        yield dtype, 120, lambda dtype=dtype: measure(bench, dtype)


def measure(bench: Bench, dtype: str) -> list[Row]:
    """Rows of one type."""
    name, experiment = job(bench, dtype)
    method = vos_jax.create(experiment.method)
    with tempfile.TemporaryDirectory() as folder:
        # From a file: to draw them would compile a program for every layer.
        path = Path(folder) / "weights.safetensors"
        weights = random_weights(method)
        vos_jax.save_weights(path, experiment.method, method, weights)
        options = TrainOptions(repeats=4 * bench.repeats, seconds=10, small=bench.small)
        result = bench_step(replace(experiment, weights=path), options=options)
    return [
        Row(
            name,
            dtype,
            result.job.batch,
            result.job.frames,
            row.size,
            row.time_ms,
            row.clips_per_s,
            row.gflop,
            row.mfu,
            row.memory_mb,
            row.compile_s,
        )
        for row in result.steps
    ]


def job(bench: Bench, dtype: str) -> tuple[str, Experiment]:
    """The experiment with data that need no file."""
    experiment = load_experiment("stm/main")
    size, name = (400, 500), "stm/main"
    if bench.small:
        size, name = (80, 112), "stm/main in small"
        recipe = VideoRecipe(frames=3, size=bench.size, objects=2)
        experiment = replace(experiment, method="stm-tiny", recipe=recipe, batch=2)
    options = {"count": 8, "size": size, "objects": (1, 3), "difficulty": (0.2, 0.6)}
    return name, replace(
        experiment,
        data=(DataConfig(source="generated", options=options),),
        validation=(),
        method_options={"dtype": dtype},
    )
