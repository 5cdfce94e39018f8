"""Timing compiled programs, and what the machine can do at best.

All times are wall time until the result is there, medians after a warm-up.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.compilation_cache import compilation_cache

_MATRIX_SIDES = {"cpu": (1024, 2048), "gpu": (4096, 8192, 16384)}
_COPY_BYTES = {"cpu": 2**28, "gpu": 2**31}


class Program(NamedTuple):
    """A compiled function.

    Attributes:
      call: Takes arrays of the shapes it was compiled for.
      compile_s: Seconds for tracing and compiling it.
      temp_bytes: Peak memory beside arguments and results; None where the backend does
        not tell.
      total_bytes: The same with arguments and results.
    """

    call: Callable[..., Any]
    compile_s: float
    temp_bytes: int | None
    total_bytes: int | None


def compile_program(
    function: Callable[..., Any],
    *arguments: Any,
    donate: tuple[int, ...] = (),
) -> Program:
    """Compiles for arguments like these; shapes and types are enough.

    Never taken from the compilation cache on disk: the time would mean nothing.
    """
    with _without_disk_cache():
        started = time.perf_counter()
        jitted = jax.jit(function, donate_argnums=donate)
        compiled = jitted.lower(*arguments).compile()
        seconds = time.perf_counter() - started
    stats = compiled.memory_analysis()
    if stats is None:
        return Program(compiled, seconds, None, None)
    temp = stats.temp_size_in_bytes
    rest = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return Program(compiled, seconds, temp, temp + rest - stats.alias_size_in_bytes)


@contextmanager
def _without_disk_cache() -> Iterator[None]:
    enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    # JAX asks the option once and remembers the answer until it is told to forget.
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


class Timing(NamedTuple):
    """Median seconds of `repeats` calls."""

    median_s: float
    repeats: int


def time_program(
    call: Callable[..., Any],
    prepare: Callable[[], tuple[Any, ...]],
    *,
    repeats: int,
    seconds: float,
) -> Timing:
    """Calls repeatedly, once more than it counts.

    Args:
      call: What to time.
      prepare: Makes the arguments of each call, outside the time: arguments that are
        donated have to be made anew.
      repeats: At most this many calls.
      seconds: Stop after this long, but not before one call was counted.
    """
    jax.block_until_ready(call(*prepare()))
    times: list[float] = []
    while len(times) < repeats and (not times or sum(times) < seconds):
        arguments = jax.block_until_ready(prepare())
        started = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        times.append(time.perf_counter() - started)
    return Timing(statistics.median(times), len(times))


class Ceilings(NamedTuple):
    """What simple programs reach on this machine: no read can do better.

    Attributes:
      flops: FLOP/s of the fastest square matrix product of each compute type.
      bytes_per_s: Of a large copy, read and written bytes together.
    """

    flops: dict[str, float]
    bytes_per_s: float

    def limit_s(self, dtype: str, flop: float, moved: float) -> float:
        """Least seconds for an amount of work, by the roofline model.

        Williams, Waterman & Patterson, CACM 52(4), 2009.
        """
        intensity = flop / moved
        return flop / min(self.flops[dtype], intensity * self.bytes_per_s)


def measure_ceilings(
    dtypes: tuple[str, ...], precision: lax.PrecisionLike, small: bool = False
) -> Ceilings:
    """Measures both ceilings; takes seconds.

    Args:
      dtypes: Compute types.
      precision: Of the products, as for the read.
      small: Use sizes that take no time, for trying things out. Too low then.
    """
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    sides = (128,) if small else _MATRIX_SIDES[kind]
    size = 2**16 if small else _COPY_BYTES[kind]
    flops = {
        dtype: max(_matrix_flops(side, dtype, precision) for side in sides)
        for dtype in dtypes
    }
    return Ceilings(flops, _copy_rate(size))


def _matrix_flops(side: int, dtype: str, precision: lax.PrecisionLike) -> float:
    x = jnp.ones((side, side), dtype)
    program = compile_program(
        lambda a, b: jnp.matmul(
            a, b, precision=precision, preferred_element_type=jnp.float32
        ),
        x,
        x,
    )
    timing = time_program(program.call, lambda: (x, x), repeats=5, seconds=1.0)
    return 2 * side**3 / timing.median_s


def _copy_rate(size: int) -> float:
    """In place, because a new result costs the system's clearing of new pages, too."""
    held = [jnp.zeros(size // 4, jnp.float32)]
    program = compile_program(lambda x: x + 1, held[0], donate=(0,))

    def copy(x: Any) -> Any:
        held[0] = program.call(x)
        return held[0]

    timing = time_program(copy, lambda: (held[0],), repeats=9, seconds=1.0)
    return 2 * size / timing.median_s


def device_peak_bytes() -> int | None:
    """Most memory in use on the device since the process began; None on CPUs."""
    stats = jax.local_devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None


def process_bytes(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Of Linux's `VmRSS`, now, or `VmHWM`, at most; elsewhere always at most."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])
