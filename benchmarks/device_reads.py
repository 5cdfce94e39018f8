"""The memory reads, of `device.py`: `correct` and `reads`."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from device_timing import Bench, Made, Wanted, compile_together, seconds_of
from jax import lax
from programs import form_of, read_of, variants_of

from vos_jax.bench.reads.kind import Memory, ReadKind, Variant
from vos_jax.bench.reads.kinds import KINDS

_FRAMES, _SLOTS = 2, 3

# Of a value's largest number. Sums are float32 in both types; weights are rounded to
# bfloat16 before they meet the values.
_CLOSE = {"float32": 1e-5, "bfloat16": 1e-2}
# Where the last cell that is kept and the next one tie but for rounding, either is.
_SHARE = 0.01

# Functions that find the k best exactly, as `lax.top_k` does.
_TOP_K = (("vos_jax.ops.read_forms.top_k", "grouped_top_k"),)


class Correct(NamedTuple):
    """A form on this device against the reference on the CPU, same arguments.

    Attributes:
      kind: Of read.
      form: Of it.
      dtype: Of keys and values.
      worst: Largest difference, by the largest number of the reference.
      mean: Mean difference, by the same.
      share: Of the numbers, those further apart than rounding; of indices, those that
        differ.
      right: Whether there are few enough.
      failed: Why there is no result.
    """

    kind: str
    form: str
    dtype: str
    worst: float | None = None
    mean: float | None = None
    share: float | None = None
    right: bool | None = None
    failed: str = ""


class Timed(NamedTuple):
    """Time of a read.

    Attributes:
      kind: Of read; "top-k" for the choice of cells alone.
      form: Of it, with the budget of its blocks where that is said.
      dtype: Of keys and values.
      objects: Number of objects.
      frames: Of the memory, all of its slots.
      time_ms: Of a call.
      gflop: Work, as `vos-jax bench read` counts it.
      limit_share: Time that the roofline model allows, by `time_ms`.
      temp_mb: Peak memory beside arguments and results.
      compile_s: Seconds, beside other programs.
      failed: Why there are no figures.
    """

    kind: str
    form: str
    dtype: str
    objects: int
    frames: int
    time_ms: float | None = None
    gflop: float | None = None
    limit_share: float | None = None
    temp_mb: float | None = None
    compile_s: float | None = None
    failed: str = ""


def kinds_of(bench: Bench) -> Iterator[ReadKind]:
    """All; in small with one number of cells to keep."""
    for kind in KINDS.values():
        yield replace(kind, top_k=kind.top_k[:1]) if bench.small else kind


def correct_jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """A job for each kind."""
    for kind in kinds_of(bench):
        yield kind.name, 15, partial(compare, bench, kind)


def compare(bench: Bench, kind: ReadKind) -> list[Correct]:
    """A row for each form and type."""
    cpu = jax.devices("cpu")[0]
    cases, wanted = [], []
    expected: dict[tuple[str, Variant], Any] = {}
    for dtype in bench.dtypes:
        memory = Memory(bench.read_size, dtype, 2, _FRAMES, _SLOTS)
        for variant in variants_of(kind):
            with jax.default_device(cpu):
                arguments = jax.device_get(kind.arguments(memory, variant.top_k))
                plain = variant._replace(implementation="reference")
                if (dtype, plain) not in expected:
                    read = jax.jit(read_of(kind, plain, "cpu"))
                    expected[dtype, plain] = jax.device_get(read(*arguments))
            row = Correct(kind.name, form_of(variant), dtype)
            cases.append((row, variant, arguments, expected[dtype, plain]))
            read = read_of(kind, variant, bench.platform)
            wanted.append(Wanted(read, arguments))
    made = compile_together(wanted)
    return [compared(*case, program) for case, program in zip(cases, made, strict=True)]


def compared(
    row: Correct,
    variant: Variant,
    arguments: tuple[Any, ...],
    expected: Any,
    made: Made | Exception,
) -> Correct:
    """The row with its figures."""
    if isinstance(made, Exception):
        return row._replace(failed=_said(made))
    try:
        found = jax.device_get(made.call(*arguments))
    except Exception as error:
        return row._replace(failed=_said(error))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    apart = [_apart(*pair, _CLOSE[row.dtype]) for pair in pairs]
    share = max(each[2] for each in apart)
    # What is ordered by rounded scores has ties wherever scores are close.
    most = 0.0 if variant.top_k is None else _SHARE
    return row._replace(
        worst=max(each[0] for each in apart),
        mean=max(each[1] for each in apart),
        share=share,
        right=share <= most,
    )


def _apart(found: Any, expected: Any, close: float) -> tuple[float, float, float]:
    # bfloat16 is no type of NumPy's own.
    if not jnp.issubdtype(expected.dtype, jnp.floating):
        return 0.0, 0.0, float((found != expected).mean())
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    largest = max(float(np.abs(expected).max()), 1e-30)
    error = np.abs(found - expected) / largest
    # What is not a number is apart, too.
    share = float((~(error <= close)).mean())
    return float(error.max()), float(error.mean()), share


def timed_jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """A job for each kind, and one for the k best cells."""
    for kind in kinds_of(bench):
        yield kind.name, 30, partial(time_kind, bench, kind)
    yield "top-k", 30, partial(time_top_k, bench)


def time_kind(bench: Bench, kind: ReadKind) -> list[Timed]:
    """A row for each form, number of objects and, of blocks, budget."""
    frames, dtype = bench.read_frames, bench.dtypes[0]
    rows, wanted = [], []
    for objects in bench.objects:
        memory = Memory(bench.size, dtype, objects, frames, frames)
        for variant in variants_of(kind):
            shapes = jax.eval_shape(partial(kind.arguments, memory, variant.top_k))
            for label, read in programs_of(bench, kind, variant):
                rows.append((Timed(kind.name, label, dtype, objects, frames), memory))
                wanted.append((variant, Wanted(read, shapes)))
    made = compile_together([each for _, each in wanted])
    return [
        timed(bench, kind, *row, variant, program)
        for row, (variant, _), program in zip(rows, wanted, made, strict=True)
    ]


def programs_of(
    bench: Bench, kind: ReadKind, variant: Variant
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The read by its label; in blocks once for each budget."""
    read, label = read_of(kind, variant, bench.platform), form_of(variant)
    if variant.implementation != "blocks":
        yield label, read
        return
    for budget in bench.budgets:
        size = f"{budget >> 20} MB" if budget >> 20 else f"{budget >> 10} KB"
        yield f"{label}, {size}", partial(_within, budget, read)


def _within(budget: int, read: Callable[..., Any], *arguments: Any) -> Any:
    """A read that is traced with another budget of its blocks."""
    blocks = import_module("vos_jax.ops.read_forms.blocks")
    before = {name: x for name, x in vars(blocks).items() if name.endswith("BUDGET")}
    vars(blocks).update(dict.fromkeys(before, budget))
    try:
        return read(*arguments)
    finally:
        vars(blocks).update(before)


def timed(
    bench: Bench,
    kind: ReadKind,
    row: Timed,
    memory: Memory,
    variant: Variant,
    made: Made | Exception,
) -> Timed:
    """The row with its figures."""
    if isinstance(made, Exception):
        return row._replace(failed=_said(made))
    arguments = jax.device_put(kind.arguments(memory, variant.top_k))
    try:
        seconds = seconds_of(made.call, lambda: arguments, bench)
    except Exception as error:
        return row._replace(failed=_said(error))
    flop, moved = kind.work(memory, variant.top_k)
    row = row._replace(
        time_ms=1e3 * seconds,
        gflop=flop / 1e9,
        temp_mb=made.temp_mb,
        compile_s=made.compile_s,
    )
    if bench.ceilings is None:
        return row
    limit_s = bench.ceilings.limit_s(row.dtype, flop, moved)
    return row._replace(limit_share=limit_s / seconds)


def time_top_k(bench: Bench) -> list[Timed]:
    """Ways to the k best of all cells of a memory, for every query cell."""
    frames = bench.read_frames
    height, width = (side // 16 for side in bench.size)
    cells = height * width
    ways: dict[str, Callable[..., Any]] = {"lax.top_k": lax.top_k, **_unstable()}
    for module, name in _TOP_K:
        try:
            ways[name] = getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    scores = jax.random.normal(jax.random.key(0), (cells, frames * cells))
    counts = [k for k in (20, 32, 40) if k <= scores.shape[-1]]
    labelled = [(f"{name} {k}", way, k) for name, way in ways.items() for k in counts]
    made = compile_together(
        [Wanted(partial(_best, way, k), (scores,)) for _, way, k in labelled]
    )
    rows: list[Timed] = []
    expected = {k: lax.top_k(scores, k) for k in counts}
    for (label, _, k), program in zip(labelled, made, strict=True):
        row = Timed("top-k", label, "float32", 1, frames)
        rows.append(_time_choice(bench, row, program, scores, expected[k]))
    return rows


def _best(way: Callable[..., Any], k: int, scores: Any) -> Any:
    return way(scores, k)


def _unstable() -> dict[str, Callable[..., Any]]:
    """`lax.top_k` that may take any of what ties, where this JAX has it."""
    if "is_stable" not in inspect.signature(lax.top_k).parameters:
        return {}
    return {"lax.top_k unstable": partial(lax.top_k, is_stable=False)}  # type: ignore[call-arg]


def _time_choice(
    bench: Bench, row: Timed, made: Made | Exception, scores: Any, expected: Any
) -> Timed:
    if isinstance(made, Exception):
        return row._replace(failed=_said(made))
    found: Sequence[Any] = made.call(scores)
    if not jnp.array_equal(found[0], expected[0]):
        return row._replace(failed="not the k best")
    seconds = seconds_of(made.call, lambda: (scores,), bench)
    return row._replace(
        time_ms=1e3 * seconds, temp_mb=made.temp_mb, compile_s=made.compile_s
    )


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]
