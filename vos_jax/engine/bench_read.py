"""Benchmark of the space-time read: implementations x memory x objects x types.

Figures that depend on what is counted:

- FLOP: `2 O T (hw)^2 (Ck + Cv)`, the two matrix products over the T memory frames that
  are filled; softmax and selection are not counted, nor what an implementation computes
  twice.
- Bytes: what must cross the memory bus at least once: query key, the filled keys and
  values, the float32 result. Affinities are not in it: they can stay in caches.
- Limit: the time that the roofline model allows for these two on this machine, whose
  ceilings are measured in the same run.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vos_jax.engine.measure import (
    Ceilings,
    Program,
    compile_program,
    measure_ceilings,
    time_program,
)
from vos_jax.engine.progress import Progress
from vos_jax.engine.report_table import (
    describe,
    machine,
    made,
    pyplot,
    text_table,
    write_table,
)
from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.ops.read import space_time_read

NAME = "bench_read"
_STRIDE = 16
_REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What to sweep.

    Attributes:
      height: Of the frames, in pixels.
      width: Of the frames.
      key_dim: Ck.
      value_dim: Cv.
      frames: Memory frames T.
      objects: Numbers of objects.
      dtypes: Compute types.
      top_k: Of the filtered read, a row of its own; None leaves it out.
      capacity: Of a bank that is larger than what is filled; None leaves it out.
      precision: Of the products.
      repeats: Timed calls of each program.
      seconds: Stop repeating after this long.
      max_bytes: Leave out programs that need more memory.
      limit_s: Leave out what has not begun after this long; None for no limit.
      small: Estimate the ceilings on small sizes, for trying things out.
    """

    height: int = 480
    width: int = 854
    key_dim: int = 128
    value_dim: int = 512
    frames: tuple[int, ...] = (1, 2, 5, 10, 20)
    objects: tuple[int, ...] = (1, 3, 5)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    top_k: int | None = 20
    capacity: int | None = 20
    precision: str = "highest"
    repeats: int = 9
    seconds: float = 1.0
    max_bytes: int = 4 * 2**30
    limit_s: float | None = None
    small: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "key_dim", "value_dim", "repeats", "max_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: use at least 1")
        for name in ("frames", "objects"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise InputError(f"{name}: give numbers of at least 1")
        for name in ("top_k", "capacity"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value}: use at least 1")
        for dtype in self.dtypes:
            if dtype not in ("float32", "bfloat16"):
                raise InputError(f"dtype {dtype!r}: use float32 or bfloat16")

    @property
    def grid(self) -> tuple[int, int]:
        """Cells of a frame, down and across."""
        return -(-self.height // _STRIDE), -(-self.width // _STRIDE)


class ReadCase(NamedTuple):
    """One program: which read, on what."""

    read: str
    dtype: str
    objects: int
    frames: int
    capacity: int
    top_k: int | None = None

    @property
    def label(self) -> str:
        """As it is called in tables and plots."""
        label = self.read if self.top_k is None else f"{self.read} top-{self.top_k}"
        full = self.capacity == self.frames
        return label if full else f"{label}, {self.capacity} slots"


class ReadRow(NamedTuple):
    """Figures of one program.

    Attributes:
      read: Implementation; "N slots" where more are allocated than filled.
      dtype: Type of keys and values.
      objects: O.
      frames: T, memory frames that are filled.
      capacity: Slots of the memory.
      time_ms: Median of `repeats` calls.
      repeats: Number of timed calls.
      compile_s: Seconds for tracing and compiling.
      gflop: Work, by the formula of this module.
      gflop_per_s: Work by time.
      moved_mb: Least traffic, by the formula of this module.
      flop_per_byte: Arithmetic intensity.
      temp_mb: Peak memory beside arguments and results.
      speedup: Time of the plain reference on the same memory, by `time_ms`.
      limit_ms: Time of the roofline model.
      limit_share: `limit_ms` by `time_ms`: 1 is the best possible.
      skipped: Why there are no figures.
    """

    read: str
    dtype: str
    objects: int
    frames: int
    capacity: int
    time_ms: float | None = None
    repeats: int | None = None
    compile_s: float | None = None
    gflop: float | None = None
    gflop_per_s: float | None = None
    moved_mb: float | None = None
    flop_per_byte: float | None = None
    temp_mb: float | None = None
    speedup: float | None = None
    limit_ms: float | None = None
    limit_share: float | None = None
    skipped: str = ""


class ReadResult(NamedTuple):
    """All rows, and the ceilings that their limits come from."""

    rows: list[ReadRow]
    ceilings: Ceilings


def read_flop(
    cells: int, frames: int, objects: int, key_dim: int, value_dim: int
) -> int:
    """FLOP of a read's two matrix products, each multiply-add counted as two.

    Scores take `2 Ck` for each pair of a query cell and a memory cell, the weighted
    sum `2 Cv`.
    """
    return 2 * objects * frames * cells**2 * (key_dim + value_dim)


def read_bytes(
    cells: int, frames: int, objects: int, key_dim: int, value_dim: int, itemsize: int
) -> int:
    """Bytes that a read has to load and store at least."""
    memory = frames * objects * cells * (key_dim + value_dim)
    return itemsize * (cells * key_dim + memory) + 4 * objects * cells * value_dim


def bench_read(options: ReadOptions | None = None) -> ReadResult:
    """Runs the sweep; progress goes to stderr."""
    options = options or ReadOptions()
    ceilings = measure_ceilings(options.dtypes, options.precision, options.small)
    cases = list(_cases(options))
    rows: list[ReadRow] = []
    started = time.monotonic()
    reference_ms: float | None = None
    with Progress(NAME, len(cases), unit="row") as progress:
        for case in cases:
            row = _row(options, case, ceilings, time.monotonic() - started)
            if case.read == _REFERENCE:
                reference_ms = row.time_ms
            if reference_ms is not None and row.time_ms is not None:
                row = row._replace(speedup=reference_ms / row.time_ms)
            rows.append(row)
            progress.update()
    return ReadResult(rows, ceilings)


def _cases(options: ReadOptions) -> Iterator[ReadCase]:
    """The reference comes first in each group: the others are compared with it."""
    for dtype in options.dtypes:
        for objects in options.objects:
            for frames in options.frames:
                shared: Any = {"dtype": dtype, "objects": objects, "frames": frames}
                full = {**shared, "capacity": frames}
                yield ReadCase(read=_REFERENCE, **full)
                yield ReadCase(read="chunked", **full)
                if options.top_k is not None:
                    yield ReadCase(read="chunked", **full, top_k=options.top_k)
                if options.capacity is not None and frames < options.capacity:
                    yield ReadCase(read="chunked", **shared, capacity=options.capacity)


def _row(
    options: ReadOptions, case: ReadCase, ceilings: Ceilings, elapsed: float
) -> ReadRow:
    row = ReadRow(case.label, case.dtype, case.objects, case.frames, case.capacity)
    if options.limit_s is not None and elapsed > options.limit_s:
        return row._replace(skipped=f"the limit of {options.limit_s:g} s was reached")
    shapes = _shapes(options, case)
    least = sum(x.size * x.dtype.itemsize for x in shapes)
    if least > options.max_bytes:
        return row._replace(skipped=_too_large(least, options.max_bytes))
    read = partial(
        space_time_read,
        top_k=case.top_k,
        implementation=case.read,  # type: ignore[arg-type]
        precision=options.precision,
    )
    program = compile_program(read, *shapes)
    if (program.total_bytes or 0) > options.max_bytes:
        reason = _too_large(program.total_bytes or 0, options.max_bytes)
        return row._replace(compile_s=program.compile_s, skipped=reason)
    return _timed(options, case, ceilings, program, row)


def _too_large(needed: int, allowed: int) -> str:
    return f"needs {needed / 1e9:.2g} GB, {allowed / 1e9:.2g} GB are allowed"


def _timed(
    options: ReadOptions,
    case: ReadCase,
    ceilings: Ceilings,
    program: Program,
    row: ReadRow,
) -> ReadRow:
    arguments = _arguments(options, case)
    timing = time_program(
        program.call,
        lambda: arguments,
        repeats=options.repeats,
        seconds=options.seconds,
    )
    height, width = options.grid
    work = height * width, case.frames, case.objects, options.key_dim, options.value_dim
    flop = read_flop(*work)
    moved = read_bytes(*work, jnp.dtype(case.dtype).itemsize)
    limit_s = ceilings.limit_s(case.dtype, flop, moved)
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


def _shapes(options: ReadOptions, case: ReadCase) -> list[jax.ShapeDtypeStruct]:
    grid, slots = options.grid, (case.capacity, case.objects)
    return [
        jax.ShapeDtypeStruct((*grid, options.key_dim), case.dtype),
        jax.ShapeDtypeStruct((*slots, *grid, options.key_dim), case.dtype),
        jax.ShapeDtypeStruct((*slots, *grid, options.value_dim), case.dtype),
        jax.ShapeDtypeStruct(slots, jnp.bool_),
    ]


def _arguments(options: ReadOptions, case: ReadCase) -> tuple[jax.Array, ...]:
    """Normal keys, so that scores differ like those of a network."""
    keys = jax.random.split(jax.random.key(0), 3)
    *shapes, filled = _shapes(options, case)
    arrays = [
        jax.random.normal(key, shape.shape, shape.dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]
    is_filled = jnp.arange(case.capacity)[:, None] < case.frames
    return (*arrays, jnp.broadcast_to(is_filled, filled.shape))


def show(result: ReadResult) -> str:
    """The table with the machine above it."""
    peaks = ", ".join(
        f"{dtype} {flops / 1e9:.0f} GFLOP/s"
        for dtype, flops in result.ceilings.flops.items()
    )
    head = f"ceilings: {peaks}, copy {result.ceilings.bytes_per_s / 1e9:.1f} GB/s"
    return "\n".join([describe(machine()), head, "", text_table(result.rows)])


def write(result: ReadResult, folder: str | Path) -> list[Path]:
    """Writes `bench_read.csv` and `.json`; returns their paths."""
    notes = {"ceilings": result.ceilings._asdict()}
    return write_table(folder, NAME, result.rows, notes)


def plot(result: ReadResult, folder: str | Path) -> Path:
    """Draws time against memory frames into `bench_read.png`.

    Raises:
      InputError: Matplotlib is not installed.
    """
    plt = pyplot()
    rows = [row for row in result.rows if row.time_ms is not None]
    if not rows:
        raise InputError("nothing to plot: every row was skipped")
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    objects = sorted({row.objects for row in rows})
    size = (3.6 * len(objects) + 1.2, 2.8 * len(dtypes) + 1.1)
    figure, axes = plt.subplots(
        len(dtypes),
        len(objects),
        figsize=size,
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for line, dtype in zip(axes, dtypes, strict=True):
        for axis, count in zip(line, objects, strict=True):
            panel = [r for r in rows if r.dtype == dtype and r.objects == count]
            _draw_panel(axis, panel)
            noun = "object" if count == 1 else "objects"
            axis.set_title(f"{dtype}, {count} {noun}", fontsize=10)
    _finish(figure, axes, sorted({row.frames for row in rows}))
    path = made(folder) / f"{NAME}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)
    return path


_STYLES = (("o", "-"), ("s", "-"), ("^", "-"), ("D", ":"))


def _draw_panel(axis: Any, rows: list[ReadRow]) -> None:
    reads = dict.fromkeys(row.read for row in rows)
    for index, read in enumerate(reads):
        points = sorted((r.frames, r.time_ms) for r in rows if r.read == read)
        marker, line = _STYLES[index % len(_STYLES)]
        axis.plot(
            *zip(*points, strict=True), marker=marker, linestyle=line, ms=5, label=read
        )
    limits = dict(sorted((row.frames, row.limit_ms) for row in rows))
    axis.plot(limits.keys(), limits.values(), "k--", lw=1, label="limit (roofline)")


def _finish(figure: Any, axes: Any, frames: list[int]) -> None:
    first = axes[0, 0]
    first.set_xscale("log")
    first.set_yscale("log")
    first.set_xticks(frames, [str(count) for count in frames])
    first.minorticks_off()
    for axis in axes.flat:
        axis.grid(True, which="major", alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("memory frames T")
    for axis in axes[:, 0]:
        axis.set_ylabel("time [ms]")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False
    )
    facts = machine()
    name = facts.processor if facts.backend == "cpu" else facts.device
    figure.suptitle(f"Space-time read, {name}, {facts.cores} cores, jax {facts.jax}")
