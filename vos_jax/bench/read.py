"""Benchmark of the memory reads: kinds x implementations x memory x objects x types.

The kinds of read are in `reads.kinds`; `reads.kind` says what counts as FLOP and bytes.
Limit is the time that the roofline model allows for these two on this machine, whose
ceilings are measured in the same run.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vos_jax.bench.measure import (
    Ceilings,
    Program,
    compile_program,
    measure_ceilings,
    time_program,
)
from vos_jax.bench.reads.kind import Memory, ReadKind, Variant
from vos_jax.bench.reads.kinds import KINDS
from vos_jax.errors import InputError
from vos_jax.runtime.machine import machine
from vos_jax.runtime.progress import Progress
from vos_jax.runtime.text_table import describe, text_table, write_table

NAME = "bench_read"
"""Of the files of results, without a suffix."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What to sweep.

    Attributes:
      reads: Kinds of read.
      height: Of the frames, in pixels.
      width: Of the frames.
      frames: Memory frames T.
      objects: Numbers of objects.
      dtypes: Compute types.
      capacity: Of a bank that is larger than what is filled; None leaves it out.
      precision: Of the products.
      repeats: Timed calls of each program.
      seconds: Stop repeating after this long.
      max_bytes: Leave out programs that need more memory.
      limit_s: Leave out what has not begun after this long; None for no limit.
      small: Estimate the ceilings on small sizes, for trying things out.
    """

    reads: tuple[ReadKind, ...] = tuple(KINDS.values())
    height: int = 480
    width: int = 854
    frames: tuple[int, ...] = (1, 2, 5, 10, 20)
    objects: tuple[int, ...] = (1, 3, 5)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    capacity: int | None = 20
    precision: str = "highest"
    repeats: int = 9
    seconds: float = 1.0
    max_bytes: int = 4 * 2**30
    limit_s: float | None = None
    small: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "repeats", "max_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: use at least 1")
        for name in ("frames", "objects"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InputError(f"{name}: give numbers of at least 1")
        if self.capacity is not None and self.capacity < 1:
            raise InputError(f"capacity={self.capacity}: use at least 1")
        if self.limit_s is not None and self.limit_s < 0:
            raise InputError(f"limit_s={self.limit_s:g}: use at least 0")
        for name in ("reads", "dtypes"):
            if not getattr(self, name):
                raise InputError(f"{name}: give at least one")
        for dtype in self.dtypes:
            if dtype not in ("float32", "bfloat16"):
                raise InputError(f"dtype {dtype!r}: use float32 or bfloat16")


class ReadCase(NamedTuple):
    """One program: which read, on what."""

    kind: ReadKind
    variant: Variant
    memory: Memory

    @property
    def label(self) -> str:
        """As it is called in tables and plots."""
        label: str = self.variant.implementation
        if self.variant.top_k is not None:
            label += f" top-{self.variant.top_k}"
        if self.memory.capacity > self.memory.frames:
            label += f", {self.memory.capacity} slots"
        if self.variant.without_kernels:
            label += ", no kernels"
        return label


class ReadRow(NamedTuple):
    """Figures of one program.

    Attributes:
      kind: Of read.
      read: Implementation; "top-k" if filtered; "N slots" where more are allocated than
        filled; "no kernels" if a guided read is left unguided.
      dtype: Type of keys and values.
      objects: O.
      frames: T, memory frames that are filled.
      capacity: Slots of the memory.
      top_k: Cells that are kept.
      time_ms: Median of `repeats` calls.
      repeats: Number of timed calls.
      compile_s: Seconds for tracing and compiling.
      gflop: Work, by the formula of the kind.
      gflop_per_s: Work by time.
      moved_mb: Least traffic, by the formula of the kind.
      flop_per_byte: Arithmetic intensity.
      temp_mb: Peak memory beside arguments and results.
      baseline: The `read` that `speedup` compares with, of the same kind and memory.
      speedup: Time of the baseline, by `time_ms`.
      limit_ms: Time of the roofline model.
      limit_share: `limit_ms` by `time_ms`: 1 is the best possible.
      skipped: Why there are no figures.
    """

    kind: str
    read: str
    dtype: str
    objects: int
    frames: int
    capacity: int
    top_k: int | None = None
    time_ms: float | None = None
    repeats: int | None = None
    compile_s: float | None = None
    gflop: float | None = None
    gflop_per_s: float | None = None
    moved_mb: float | None = None
    flop_per_byte: float | None = None
    temp_mb: float | None = None
    baseline: str | None = None
    speedup: float | None = None
    limit_ms: float | None = None
    limit_share: float | None = None
    skipped: str = ""


class ReadResult(NamedTuple):
    """All rows, the ceilings that limits come from, and the products' precision."""

    rows: list[ReadRow]
    ceilings: Ceilings
    precision: str = "highest"


def bench_read(options: ReadOptions | None = None) -> ReadResult:
    """Runs the sweep; progress goes to stderr."""
    options = options or ReadOptions()
    ceilings = measure_ceilings(options.dtypes, options.precision, options.small)
    cases = list(_cases(options))
    rows: list[ReadRow] = []
    # Of the latest memory: all variants of a kind follow one another.
    done: dict[tuple[ReadKind, Variant], ReadRow] = {}
    started = time.monotonic()
    with Progress(NAME, len(cases), unit="row") as progress:
        for case, after in zip_longest(cases, cases[1:]):
            row = _row(options, case, ceilings, time.monotonic() - started)
            done[case.kind, case.variant] = row
            baseline = case.kind.baseline(case.variant)
            rows.append(_with_speedup(row, done[case.kind, baseline]))
            # A slow row is named while it runs and not when it is over.
            progress.note = f"next: {_words(after)}" if after else ""
            progress.update()
    return ReadResult(rows, ceilings, options.precision)


def _cases(options: ReadOptions) -> Iterator[ReadCase]:
    """All reads of a memory follow one another, baselines before what they judge."""
    size = options.height, options.width
    sweep = product(options.dtypes, options.objects, options.frames, options.reads)
    for dtype, objects, frames, kind in sweep:
        for variant in kind.variants():
            capacity = options.capacity if variant.in_larger_bank else frames
            if capacity is None or (variant.in_larger_bank and capacity <= frames):
                continue
            yield ReadCase(
                kind, variant, Memory(size, dtype, objects, frames, capacity)
            )


def _words(case: ReadCase) -> str:
    memory = case.memory
    sizes = f"{memory.dtype}, objects {memory.objects}, frames {memory.frames}"
    return f"{case.kind.name} {case.label}, {sizes}"


def _with_speedup(row: ReadRow, baseline: ReadRow) -> ReadRow:
    if row.time_ms is None or baseline.time_ms is None:
        return row
    speedup = baseline.time_ms / row.time_ms
    return row._replace(baseline=baseline.read, speedup=speedup)


def _row(
    options: ReadOptions, case: ReadCase, ceilings: Ceilings, elapsed: float
) -> ReadRow:
    _, dtype, objects, frames, capacity = case.memory
    row = ReadRow(
        case.kind.name,
        case.label,
        dtype,
        objects,
        frames,
        capacity,
        case.variant.top_k,
    )
    if options.limit_s is not None and elapsed > options.limit_s:
        return row._replace(skipped=f"the limit of {options.limit_s:g} s was reached")
    # The shapes alone: what does not fit is never allocated.
    shapes = jax.eval_shape(_arguments_of(case))
    least = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    if least > options.max_bytes:
        return row._replace(skipped=_too_large(least, options.max_bytes))
    read = case.kind.program(case.variant, options.precision)
    program = compile_program(read, *shapes)
    if (program.total_bytes or 0) > options.max_bytes:
        reason = _too_large(program.total_bytes or 0, options.max_bytes)
        return row._replace(compile_s=program.compile_s, skipped=reason)
    return _time(options, case, ceilings, program, row)


def _arguments_of(case: ReadCase) -> Callable[[], tuple[Any, ...]]:
    return partial(case.kind.arguments, case.memory, case.variant.top_k)


def _too_large(needed: int, allowed: int) -> str:
    return f"needs {needed / 1e9:.2g} GB, {allowed / 1e9:.2g} GB are allowed"


def _time(
    options: ReadOptions,
    case: ReadCase,
    ceilings: Ceilings,
    program: Program,
    row: ReadRow,
) -> ReadRow:
    arguments = _arguments_of(case)()
    timing = time_program(
        program.call,
        lambda: arguments,
        repeats=options.repeats,
        seconds=options.seconds,
    )
    flop, moved = case.kind.work(case.memory, case.variant.top_k)
    limit_s = ceilings.limit_s(case.memory.dtype, flop, moved)
    temp = program.temp_bytes
    return row._replace(
        time_ms=1e3 * timing.median_s,
        repeats=timing.repeats,
        compile_s=program.compile_s,
        gflop=flop / 1e9,
        gflop_per_s=flop / 1e9 / timing.median_s,
        moved_mb=moved / 1e6,
        flop_per_byte=flop / moved,
        temp_mb=None if temp is None else temp / 1e6,
        limit_ms=1e3 * limit_s,
        limit_share=limit_s / timing.median_s,
    )


def show(result: ReadResult) -> str:
    """The table with the machine above it."""
    peaks = ", ".join(
        f"{dtype} {flops / 1e9:.0f} GFLOP/s"
        for dtype, flops in result.ceilings.flops.items()
    )
    head = f"ceilings: {peaks}, copy {result.ceilings.bytes_per_s / 1e9:.1f} GB/s"
    head += f"; products at {result.precision} precision"
    return "\n".join([describe(machine()), head, "", text_table(result.rows)])


def write(result: ReadResult, folder: str | Path) -> list[Path]:
    """Writes `bench_read.csv` and `.json`; returns their paths."""
    notes = {"ceilings": result.ceilings._asdict(), "precision": result.precision}
    return write_table(folder, NAME, result.rows, notes)
