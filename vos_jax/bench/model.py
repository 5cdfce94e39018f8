"""Benchmark of a whole method: frames/s, time per stage, memory against video length.

The stages of a frame are compiled apart from one another, the whole step as inference
compiles it. Their sum may therefore differ from the step, which lets the compiler work
across them. `decode` is what `segment` takes beyond the read, upsampling and the
merging of the objects included. Methods that do not remember every frame have steps of
two kinds: `step` is one that remembers nothing, `frame` the mean over the frames from
one that does to the next.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vos_jax.bench.measure import Program, Timing, compile_program, time_program
from vos_jax.errors import InputError
from vos_jax.inference.step import State, start, step_traced
from vos_jax.inference.video import inference_form
from vos_jax.methods.base import Method
from vos_jax.methods.stcn.model import STCN
from vos_jax.ops.memory_bank import Moment
from vos_jax.runtime.machine import machine
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import describe, text_table, write_table

STAGES_NAME, MEMORY_NAME = "bench_model_stages", "bench_model_memory"
_LONGEST = 2**20


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
      stage: "encode" the query, "memorize" the frame before, "read", "decode", the
        whole "step", or the mean "frame".
      dtype: Compute type.
      objects: Number of objects.
      memory_frames: Frames that the step reads from.
      time_ms: Median of `repeats` calls.
      repeats: Number of timed calls.
      share: Of the step's time.
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
            bench = _Bench(model, weights, options, objects)
            stages.extend(bench.stage_rows())
            memory.extend(bench.memory_rows())
            progress.update()
    return ModelResult(stages, memory)


class _Bench:
    """The programs of one method, type and number of objects."""

    def __init__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        options: ModelOptions,
        objects: int,
    ) -> None:
        self._method, self._variables = method, variables
        self._options, self._objects = options, objects
        self._dtype: str = method.config.dtype
        self._frame, self._masks = _picture(options.height, options.width, objects)

    def stage_rows(self) -> Iterator[StageRow]:
        """One row for each stage and fill of the memory."""
        counts = self._options.memory_frames
        most = self._slots(_LONGEST)
        fitting = [count for count in counts if count <= most]
        if fitting:
            yield from self._fitting_rows(fitting)
        for count in counts:
            if count > most:
                reason = f"the memory holds {most} frames at most"
                yield self._row("step", count)._replace(skipped=reason)

    def _fitting_rows(self, counts: list[int]) -> Iterator[StageRow]:
        """Compiled once for all counts: the capacity is that of the largest."""
        # One more where possible: with `mem_every=1` no step uses the previous frame's
        # slot.
        needed = min(max(counts) + 1, self._slots(_LONGEST))
        length = 1
        while self._slots(length) < needed:
            length *= 2
        empty = self._start(length)
        encode = compile_program(self._encode, self._variables, self._frame)
        query, keep = encode.call(self._variables, self._frame)
        programs = {"encode": encode, **self._programs(empty, query)}
        for count in counts:
            state = self._filled(programs["memorize"], empty, keep, count)
            yield from self._rows_of(programs, state, query, count)

    @property
    def _cycle(self) -> int:
        """Frames from one that is remembered to the next."""
        return self._method.config.mem_every if isinstance(self._method, STCN) else 1

    def _slots(self, length: int) -> int:
        return self._method.slots(length)

    def _start(self, length: int) -> State:
        return start(
            self._method, self._variables, self._frame, self._masks, frames=length
        )

    def _filled(self, memorize: Program, empty: State, keep: Any, count: int) -> State:
        """A state whose next step reads from `count` frames, as a video comes to it.

        The frames that are kept are memorised at their times; those between have left
        nothing. The latest frame is the one after the last of them.
        """
        state = jax.tree.map(jnp.copy, empty)
        every = self._method.config.mem_every or 1
        # The latest frame is among them where every frame is remembered.
        kept = count - (self._cycle == 1)
        for number in range(kept):
            state = state._replace(time=jnp.int32(number * every))
            state = state._replace(
                memory=memorize.call(self._variables, *_parted(state)),
                first=jnp.zeros_like(state.first),
            )
        latest = (kept - 1) * every + 1 if kept else 0
        return state._replace(keep=keep, time=jnp.int32(latest))

    def _encode(self, variables: Mapping[str, Any], frame: Any) -> Any:
        return self._method.apply(variables, frame, method="encode")

    def _memorize(self, variables: Mapping[str, Any], memory: Any, rest: State) -> Any:
        moment = Moment(rest.time, rest.active, rest.first, rest.corrected)
        return self._method.apply(
            variables,
            memory,
            rest.frame,
            rest.keep,
            rest.probs,
            moment,
            method="memorize",
        )

    def _segment(
        self, variables: Mapping[str, Any], memory: Any, query: Any, state: State
    ) -> Any:
        out = self._method.apply(
            variables, memory, query, state.frame, state.active, method="segment"
        )
        return _made(out, memory)

    def _read(
        self, variables: Mapping[str, Any], memory: Any, query: Any, active: Any
    ) -> Any:
        out = self._method.apply(variables, memory, query, active, method="read")
        return _made(out, memory)

    def _step(self, variables: Mapping[str, Any], state: State, frame: Any) -> Any:
        return step_traced(self._method, variables, state, frame)

    def _programs(self, state: State, query: Any) -> dict[str, Program]:
        variables, memory = self._variables, state.memory
        programs = {
            # Donated as in inference, where the memory is written in place.
            "memorize": compile_program(
                self._memorize, variables, *_parted(state), donate=(1,)
            ),
            "segment": compile_program(self._segment, variables, memory, query, state),
            "step": self._compiled_step(state),
        }
        arguments = self._read_arguments(state, query)
        programs["read"] = compile_program(self._read, *arguments)
        return programs

    def _read_arguments(self, state: State, query: Any) -> tuple[Any, ...]:
        return (self._variables, state.memory, query, state.active)

    def _run_cycle(self, step: Program, state: State) -> Any:
        """The frames from one that is remembered to the next."""
        for _ in range(self._cycle):
            state, out = step.call(self._variables, state, self._frame)
        return out

    def _compiled_step(self, state: Any) -> Program:
        return compile_program(
            self._step, self._variables, state, self._frame, donate=(1,)
        )

    def _rows_of(
        self, programs: dict[str, Program], state: State, query: Any, count: int
    ) -> Iterator[StageRow]:
        variables, frame = self._variables, self._frame

        def copied() -> State:
            return jax.tree.map(jnp.copy, state)

        read_from = state
        if self._cycle == 1:
            memory = programs["memorize"].call(variables, *_parted(copied()))
            read_from = state._replace(memory=memory)
        arguments: dict[str, Callable[[], tuple[Any, ...]]] = {
            "encode": lambda: (variables, frame),
            "memorize": lambda: (variables, *_parted(copied())),
            "read": lambda: self._read_arguments(read_from, query),
            "segment": lambda: (variables, read_from.memory, query, state),
            "step": lambda: (variables, copied(), frame),
        }
        timed = partial(
            time_program, repeats=self._options.repeats, seconds=self._options.seconds
        )
        times = {
            name: timed(programs[name].call, prepare)
            for name, prepare in arguments.items()
        }
        yield from self._tabulated(programs, times, count)
        if self._cycle > 1:
            cycle = timed(
                lambda state: self._run_cycle(programs["step"], state),
                lambda: (copied(),),
            )
            seconds = cycle.median_s / self._cycle
            yield self._row("frame", count)._replace(
                time_ms=1e3 * seconds,
                repeats=cycle.repeats,
                frames_per_s=1 / seconds,
                share=seconds / times["step"].median_s,
            )

    def _tabulated(
        self, programs: dict[str, Program], times: dict[str, Timing], count: int
    ) -> Iterator[StageRow]:
        step_s = times["step"].median_s
        for name, timing in times.items():
            program, seconds = programs[name], timing.median_s
            temp = program.temp_bytes
            row = self._row(name, count)._replace(
                time_ms=1e3 * seconds,
                repeats=timing.repeats,
                share=seconds / step_s,
                frames_per_s=1 / seconds if name == "step" else None,
                compile_s=program.compile_s,
                temp_mb=None if temp is None else temp / 1e6,
            )
            yield row
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
            fill = partial(start, self._method, frames=length)
            state = jax.eval_shape(fill, self._variables, self._frame, self._masks)
            step = self._compiled_step(state)
            temp = step.temp_bytes
            yield MemoryRow(
                self._dtype,
                self._objects,
                length,
                self._slots(length),
                sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / 1e6,
                None if temp is None else temp / 1e6,
                step.compile_s,
            )


def _parted(state: State) -> tuple[Any, State]:
    """The memory, and the state without it."""
    return state.memory, state._replace(memory=())


def _made(result: Any, memory: Any) -> list[Any]:
    """What a traced result has beside parts of the memory that are as they were.

    These would be copied here. In inference, which donates the memory, they stay.
    """
    before = {id(leaf) for leaf in jax.tree.leaves(memory)}
    return [leaf for leaf in jax.tree.leaves(result) if id(leaf) not in before]


def _picture(height: int, width: int, objects: int) -> tuple[jax.Array, np.ndarray]:
    """A frame of noise, and masks that are vertical stripes."""
    frame = jax.random.uniform(jax.random.key(0), (height, width, 3))
    if objects > width:
        raise InputError(f"objects: {objects} do not fit into {width} columns")
    ids = np.arange(1, objects + 1)[:, None, None]
    return frame, (stripes(height, width, objects)[None] == ids).astype(np.float32)


def stripes(height: int, width: int, objects: int) -> np.ndarray:
    """Labels `[H, W]` of 1 to `objects` side by side, equally wide but for a column."""
    labels = 1 + np.arange(width) * objects // width
    return np.broadcast_to(labels, (height, width))


def show(result: ModelResult) -> str:
    """Both tables with the machine above them."""
    tables = [describe(machine()), text_table(result.stages), text_table(result.memory)]
    return "\n\n".join(table for table in tables if table)


def write(result: ModelResult, folder: str | Path) -> list[Path]:
    """Writes both tables as CSV and JSON; returns the paths."""
    stages = write_table(folder, STAGES_NAME, result.stages)
    return stages + write_table(folder, MEMORY_NAME, result.memory)
