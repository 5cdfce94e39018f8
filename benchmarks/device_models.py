"""Frames/s of methods, of `device.py`: `models` and `more`."""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from device_timing import Bench, Made, Wanted, compile_together, seconds_of
from programs import random_weights

import vos_jax
from vos_jax.bench.measure import device_peak_bytes
from vos_jax.bench.stages import LONGEST, Stages, frames_in
from vos_jax.inference.state import State


class Row(NamedTuple):
    """The step of a method, as inference compiles it.

    Attributes:
      method: Its name.
      dtype: Compute type.
      objects: Number of objects.
      memory_frames: That a step reads; the bank has room for no more.
      time_ms: Of a step.
      frames_per_s: By it.
      gflop: Of its matrix products and convolutions.
      product_share: Of the ceiling of products: 1 is the best possible.
      moved_mb: Weights, states and results, each once.
      copy_share: Of the ceiling of copies.
      temp_mb: Peak memory beside those.
      peak_mb: The most that this process has had on the device so far.
      compile_s: Seconds, beside other programs.
      failed: Why there are no figures.
    """

    method: str
    dtype: str
    objects: int
    memory_frames: int
    time_ms: float | None = None
    frames_per_s: float | None = None
    gflop: float | None = None
    product_share: float | None = None
    moved_mb: float | None = None
    copy_share: float | None = None
    temp_mb: float | None = None
    peak_mb: float | None = None
    compile_s: float | None = None
    failed: str = ""


def first_jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """All methods at one memory, in the fast type."""
    yield job(bench, bench.dtypes[0], bench.frames)


def more_jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """The other memories and types."""
    for dtype, frames in product(bench.dtypes, (bench.frames, *bench.more_frames)):
        if (dtype, frames) != (bench.dtypes[0], bench.frames):
            yield job(bench, dtype, frames)


def job(bench: Bench, dtype: str, frames: int) -> tuple[Any, ...]:
    """All methods, compiled side by side and then timed."""
    return f"{dtype}, {frames} frames", 90, lambda: measure(bench, dtype, frames)


def measure(bench: Bench, dtype: str, frames: int) -> list[Row]:
    """A row for each method and number of objects."""
    cases: list[tuple[Row, Stages | None, State | None]] = []
    wanted: list[Wanted] = []
    for name in bench.methods:
        method = vos_jax.create(name, dtype=dtype)
        drawn = random_weights(method)
        method, weights = vos_jax.inference_form(method, drawn, platform=bench.platform)
        weights = jax.device_put(weights)
        for objects in bench.objects:
            row = Row(name, dtype, objects, frames)
            most = method.slots(LONGEST)
            if frames > most:
                reason = f"the memory holds {most} frames at most"
                cases.append((row._replace(failed=reason), None, None))
                continue
            stages = Stages(method, weights, bench.size, objects)
            state = beginning(stages, frames, objects)
            given = stages.variables, state, stages.frame, stages.inputs
            wanted.append(Wanted(stages.step, given, donate=(1,)))
            cases.append((row, stages, state))
    made = iter(compile_together(wanted))
    return [
        row if stages is None else timed(bench, row, next(made), stages, state)
        for row, stages, state in cases
    ]


def beginning(stages: Stages, frames: int, objects: int) -> State:
    """The state at frame 0, but nothing is kept of it: no encoder is compiled here."""
    length = stages.length_for(frames)
    shapes, method = stages.shapes(length), stages.method
    height, width, _ = stages.frame.shape

    def make(frame: jax.Array) -> State:
        state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        slots = method.slots(length)
        return state._replace(
            memory=method.init_memory(height, width, objects, slots),
            frame=frame,
            probs=jnp.full_like(state.probs, 1 / (objects + 1)),
            first=jnp.ones_like(state.first),
            ids=jnp.arange(1, objects + 1, dtype=state.ids.dtype),
        )

    return jax.jit(make)(stages.frame)


def timed(
    bench: Bench, row: Row, made: Made | Exception, stages: Any, state: Any
) -> Row:
    """The row with its figures."""
    if isinstance(made, Exception):
        return row._replace(failed=f"{type(made).__name__}: {made}".splitlines()[0])
    variables, frame, inputs = stages.variables, stages.frame, stages.inputs
    held = filled(made, stages, state, row.memory_frames)

    def prepare() -> tuple[Any, ...]:
        return variables, jax.tree.map(jnp.copy, held), frame, inputs

    seconds = seconds_of(made.call, prepare, bench)
    peak = device_peak_bytes()
    row = row._replace(
        time_ms=1e3 * seconds,
        frames_per_s=1 / seconds,
        gflop=made.flop / 1e9,
        moved_mb=made.arguments_mb,
        temp_mb=made.temp_mb,
        peak_mb=None if peak is None else peak / 1e6,
        compile_s=made.compile_s,
    )
    if bench.ceilings is None:
        return row
    return row._replace(
        product_share=made.flop / seconds / bench.ceilings.flops[row.dtype],
        copy_share=1e6 * made.arguments_mb / seconds / bench.ceilings.bytes_per_s,
    )


def filled(made: Made, stages: Any, state: State, frames: int) -> State:
    """The state whose next step reads so many frames, as a video comes to it."""
    for _ in range(1000):
        held = jax.tree.map(jnp.copy, state)
        state, _ = made.call(stages.variables, state, stages.frame, stages.inputs)
        if frames_in(state.memory) >= frames:
            return held
    raise RuntimeError(f"no memory of {frames} frames after 1000 frames")
