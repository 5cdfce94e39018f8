"""Benchmark of a whole method: frames/s, time per stage, memory against video length.

The stages of a frame are compiled apart from one another, the whole step as inference
compiles it. Their sum may therefore differ from the step, which lets the compiler work
across them. `decode` is what `segment` takes beyond the read, upsampling and the
merging of the objects included; where a method names parts of it they have rows, too.
Methods that do not remember every frame have steps of two kinds: `step` is one that
remembers nothing, `frame` the mean over the frames from one that does to the next.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vos_jax.bench.measure import Program, Timing, compile_program, time_program
from vos_jax.bench.stages import LONGEST, Stages, frames_in
from vos_jax.errors import InputError
from vos_jax.inference.form import inference_form
from vos_jax.inference.state import State
from vos_jax.methods.base import Method
from vos_jax.runtime.machine import machine
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import describe, text_table, write_table

STAGES_NAME, MEMORY_NAME = "bench_model_stages", "bench_model_memory"
"""Of the files of results, without a suffix: of stages and steps, of whole videos."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What to time.

    Attributes:
      height: Of the frames, in pixels.
      width: Of the frames.
      objects: Numbers of objects.
      memory_frames: Frames in the memory that a step reads from; with the latest one
        if every frame is remembered.
      dtypes: Compute types; empty for the method's own.
      lengths: Lengths of videos to tell the memory of; nothing is allocated for it.
      repeats: Timed calls of each stage.
      seconds: Stop repeating after this long.
    """

    height: int = 480
    width: int = 854
    objects: tuple[int, ...] = (1, 3)
    memory_frames: tuple[int, ...] = (1, 5, 20)
    dtypes: tuple[str, ...] = ()
    lengths: tuple[int, ...] = (10, 100, 1000)
    repeats: int = 7
    seconds: float = 5.0

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.repeats) < 1:
            raise InputError("height, width and repeats: use at least 1")
        for name in ("objects", "memory_frames"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InputError(f"{name}: give numbers of at least 1")


class StageRow(NamedTuple):
    """Time of one stage of a frame.

    Attributes:
      stage: "encode" the query, "memorize" the frame before, "read", "decode" and the
        method's own names of its parts, the whole "step", or the mean "frame".
      dtype: Compute type.
      objects: Number of objects.
      memory_frames: Frames that the step reads from.
      time_ms: Median of `repeats` calls.
      repeats: Number of timed calls.
      share: Of the step's time.
      paper_ms: What the method's paper reports of the stage, on its own hardware.
      paper_share: Of all stages of which it reports a time.
      frames_per_s: Of the step or frame.
      compile_s: Seconds for tracing and compiling.
      temp_mb: Peak memory beside arguments and results.
      skipped: Why there are no figures.
    """

    stage: str
    dtype: str
    objects: int
    memory_frames: int
    time_ms: float | None = None
    repeats: int | None = None
    share: float | None = None
    paper_ms: float | None = None
    paper_share: float | None = None
    frames_per_s: float | None = None
    compile_s: float | None = None
    temp_mb: float | None = None
    skipped: str = ""


class MemoryRow(NamedTuple):
    """Memory that a video of some length needs.

    Attributes:
      dtype: Compute type.
      objects: Number of objects.
      video_frames: Length of the video.
      slots: Capacity of the memory.
      state_mb: State between two frames.
      step_temp_mb: Peak memory of a step beside states, frame and weights.
      step_compile_s: Seconds for tracing and compiling the step.
    """

    dtype: str
    objects: int
    video_frames: int
    slots: int
    state_mb: float
    step_temp_mb: float | None
    step_compile_s: float


class ModelResult(NamedTuple):
    """Both tables."""

    stages: list[StageRow]
    memory: list[MemoryRow]


def bench_model(
    method: Method,
    variables: Mapping[str, Any],
    options: ModelOptions | None = None,
) -> ModelResult:
    """Times a method in its inference form; progress goes to stderr.

    Args:
      method: From `create`.
      variables: Its weights. Times hardly depend on them.
      options: What to time.
    """
    options = options or ModelOptions()
    stages: list[StageRow] = []
    memory: list[MemoryRow] = []
    dtypes = options.dtypes or (method.config.dtype,)
    groups = [(dtype, objects) for dtype in dtypes for objects in options.objects]
    with Progress("bench_model", len(groups), unit="case") as progress:
        for dtype, objects in groups:
            config = replace(method.config, dtype=dtype)
            model, weights = inference_form(method.clone(config=config), variables)
            size = options.height, options.width
            rows = _Rows(Stages(model, weights, size, objects), options, objects)
            stages.extend(rows.stage_rows())
            memory.extend(rows.memory_rows())
            progress.update()
    return ModelResult(stages, memory)


class _Rows:
    """The rows of one method, type and number of objects."""

    def __init__(self, stages: Stages, options: ModelOptions, objects: int) -> None:
        self._stages, self._options, self._objects = stages, options, objects
        self._dtype: str = stages.method.config.dtype

    def stage_rows(self) -> Iterator[StageRow]:
        """One row for each stage and fill of the memory."""
        counts = self._options.memory_frames
        most = self._stages.method.slots(LONGEST)
        fitting = [count for count in counts if count <= most]
        if fitting:
            yield from self._fitting_rows(fitting)
        for count in counts:
            if count > most:
                reason = f"the memory holds {most} frames at most"
                yield self._row("step", count)._replace(skipped=reason)

    def _fitting_rows(self, counts: list[int]) -> Iterator[StageRow]:
        """Compiled once for all counts: the capacity is that of the largest."""
        stages = self._stages
        empty = stages.start(stages.length_for(max(counts)))
        encode = compile_program(stages.encode, stages.variables, stages.frame)
        query, keep = encode.call(stages.variables, stages.frame)
        programs = {"encode": encode, **stages.compile(empty, query)}
        memorize = programs["memorize"]
        cycle = stages.cycle(memorize, empty)
        for wanted in counts:
            state = stages.fill(memorize, empty, keep, wanted, cycle)
            memory = stages.read_from(memorize, state, cycle)
            # Some methods remember more than one at a time.
            count = frames_in(memory)
            arguments = stages.arguments(programs, state, memory, query)
            times = {
                name: self._time(programs[name].call, prepare)
                for name, prepare in arguments.items()
            }
            yield from self._rows_of(programs, times, count)
            if cycle is not None and cycle > 1:
                mean_s, repeats = self._time_cycle(programs["step"], state, cycle)
                yield self._row("frame", count)._replace(
                    time_ms=1e3 * mean_s,
                    repeats=repeats,
                    frames_per_s=1 / mean_s,
                    share=mean_s / times["step"].median_s,
                )

    def _time(
        self, call: Callable[..., Any], prepare: Callable[[], tuple[Any, ...]]
    ) -> Timing:
        options = self._options
        return time_program(
            call, prepare, repeats=options.repeats, seconds=options.seconds
        )

    def _time_cycle(self, step: Program, state: State, cycle: int) -> Timing:
        """Of a frame, the mean over those from one that is remembered to the next."""

        def run(state: State) -> Any:
            for _ in range(cycle):
                given = self._stages.frame, self._stages.inputs
                state, out = step.call(self._stages.variables, state, *given)
            return out

        whole = self._time(run, lambda: (jax.tree.map(jnp.copy, state),))
        return whole._replace(median_s=whole.median_s / cycle)

    def _rows_of(
        self, programs: dict[str, Program], times: dict[str, Timing], count: int
    ) -> Iterator[StageRow]:
        step_s = times["step"].median_s
        reported = self._stages.method.reported_s
        for name, timing in times.items():
            program, seconds = programs[name], timing.median_s
            temp = program.temp_bytes
            yield self._row(name, count)._replace(
                time_ms=1e3 * seconds,
                repeats=timing.repeats,
                share=seconds / step_s,
                paper_ms=1e3 * reported[name] if name in reported else None,
                paper_share=(
                    reported[name] / sum(reported.values())
                    if name in reported
                    else None
                ),
                frames_per_s=1 / seconds if name == "step" else None,
                compile_s=program.compile_s,
                temp_mb=None if temp is None else temp / 1e6,
            )
            if name == "segment":
                rest = max(0.0, seconds - times["read"].median_s)
                yield self._row("decode", count)._replace(
                    time_ms=1e3 * rest, share=rest / step_s
                )

    def _row(self, stage: str, count: int) -> StageRow:
        return StageRow(stage, self._dtype, self._objects, count)

    def memory_rows(self) -> Iterator[MemoryRow]:
        """One row for each length of video, from shapes alone."""
        for length in self._options.lengths:
            state = self._stages.shapes(length)
            step = self._stages.compile_step(state)
            temp = step.temp_bytes
            yield MemoryRow(
                self._dtype,
                self._objects,
                length,
                self._stages.method.slots(length),
                sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / 1e6,
                None if temp is None else temp / 1e6,
                step.compile_s,
            )


def show(result: ModelResult) -> str:
    """Both tables with the machine above them."""
    tables = [describe(machine()), text_table(result.stages), text_table(result.memory)]
    return "\n\n".join(table for table in tables if table)


def write(result: ModelResult, folder: str | Path) -> list[Path]:
    """Writes both tables as CSV and JSON; returns the paths."""
    stages = write_table(folder, STAGES_NAME, result.stages)
    return stages + write_table(folder, MEMORY_NAME, result.memory)
