"""What all parts of `device.py` share: sizes, compiling side by side, timing.

A device runs what is started in its order and the host need not wait in between. So
calls are started one after the other, as in a video or in training, and the clock stops
when the last result is there: what one call costs beside the device is not in it twice.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr
from programs import METHODS

from vos_jax.bench.measure import Ceilings


@dataclass(kw_only=True)
class Bench:
    """What is measured, at which sizes.

    Attributes:
      small: For a CPU, in a moment.
      size: Height and width of frames.
      read_size: Of frames whose reads are compared with a CPU's.
      methods: Their names.
      torch_methods: Of the programs in PyTorch.
      objects: Numbers of them.
      frames: Memory frames of the first models, and of the others.
      more_frames: Those of the others.
      read_frames: Of the memories whose reads are timed.
      dtypes: Compute types, the first one that of the first models.
      budgets: Bytes of blocks.
      calls: Started before the host waits.
      repeats: Times that so many are timed.
      ceilings: Of the device, once they are measured.
    """

    small: bool
    size: tuple[int, int]
    read_size: tuple[int, int]
    methods: tuple[str, ...]
    torch_methods: tuple[str, ...] = ("stm", "rde", "stcn", "hmmn", "dmn-aoa")
    objects: tuple[int, ...] = (1, 3)
    frames: int = 5
    more_frames: tuple[int, ...] = (20, 1)
    read_frames: int = 20
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    budgets: tuple[int, ...] = (32 << 20, 256 << 20, 2048 << 20)
    calls: int = 10
    repeats: int = 5
    ceilings: Ceilings | None = None

    @property
    def platform(self) -> str:
        """As JAX names what programs are lowered for."""
        found = jax.devices()[0].platform
        return {"gpu": "cuda"}.get(found, found)


def full() -> Bench:
    """For one GPU, or another accelerator."""
    return Bench(small=False, size=(480, 864), read_size=(192, 320), methods=METHODS)


def small() -> Bench:
    """To try everything out on a CPU, compiled quickly."""
    jax.config.update("jax_disable_most_optimizations", True)
    return Bench(
        small=True,
        size=(64, 96),
        read_size=(64, 96),
        methods=("stm-tiny", "rde-tiny", "dmn-aoa-tiny"),
        torch_methods=("stm", "hmmn", "dmn-aoa"),
        objects=(2,),
        frames=2,
        more_frames=(),
        read_frames=3,
        budgets=(1 << 16, 1 << 20),
        calls=2,
        repeats=2,
    )


class Wanted(NamedTuple):
    """A program to compile.

    Attributes:
      function: What it computes.
      arguments: Shapes are enough.
      donate: Arguments that it uses up.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    donate: tuple[int, ...] = ()


class Made(NamedTuple):
    """A program.

    Attributes:
      call: Takes arrays.
      compile_s: Seconds, beside other programs.
      temp_mb: Peak memory beside arguments and results.
      arguments_mb: Its arguments and results: what is read or written at least once.
      flop: Of its matrix products and convolutions, a multiply-add as two.
    """

    call: Callable[..., Any]
    compile_s: float
    temp_mb: float | None
    arguments_mb: float
    flop: int


def compile_together(wanted: Sequence[Wanted]) -> list[Made | Exception]:
    """Traces one after the other, compiles on all cores; what fails is an exception."""
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        futures = []
        for each in wanted:
            try:
                jitted = jax.jit(each.function, donate_argnums=each.donate)
                traced = jitted.trace(*each.arguments)
                flop = matrix_flop(traced.jaxpr.jaxpr)
                futures.append(pool.submit(_compile, traced.lower(), flop))
            except Exception as error:
                futures.append(pool.submit(_again, error))
        return [future.result() for future in futures]


def _again(error: Exception) -> Exception:
    return error


def _compile(lowered: Any, flop: int) -> Made | Exception:
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except Exception as error:
        return error
    seconds = time.perf_counter() - started
    stats = compiled.memory_analysis()
    if stats is None:
        return Made(compiled, seconds, None, 0.0, flop)
    rest = stats.argument_size_in_bytes + stats.output_size_in_bytes
    temp_mb = stats.temp_size_in_bytes / 1e6
    return Made(compiled, seconds, temp_mb, rest / 1e6, flop)


def seconds_of(
    call: Callable[..., Any], prepare: Callable[[], tuple[Any, ...]], bench: Bench
) -> float:
    """Seconds of a call, the median of some runs of `bench.calls` each.

    Args:
      call: What to time.
      prepare: Makes the arguments of a call, outside of the time: what is used up has
        to be made anew.
      bench: For how often.
    """
    jax.block_until_ready(call(*prepare()))
    times = []
    for _ in range(bench.repeats):
        given = [prepare() for _ in range(bench.calls)]
        jax.block_until_ready(given)
        started = time.perf_counter()
        out = None
        for arguments in given:
            out = call(*arguments)
        jax.block_until_ready(out)
        times.append((time.perf_counter() - started) / bench.calls)
    return statistics.median(times)


def matrix_flop(jaxpr: Jaxpr) -> int:
    """FLOP of the products and convolutions of a program.

    Loops count as often as they turn where that is known, and once where it is not; of
    the branches of a conditional the one with most counts.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inner = [matrix_flop(x) for x in _inside(params.values())]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            summed = prod(shape[axis] for axis in contracted)
            total += 2 * prod(equation.outvars[0].aval.shape) * summed
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            # All of a kernel but its output channels, which the result has.
            out_axis = params["dimension_numbers"].rhs_spec[0]
            summed = prod(kernel) // kernel[out_axis]
            total += 2 * prod(equation.outvars[0].aval.shape) * summed
        elif name == "cond":
            total += max(inner)
        else:
            total += params.get("length", 1) * sum(inner)
    return total


def _inside(values: Iterable[Any]) -> list[Jaxpr]:
    """The programs among some parameters."""
    found: list[Jaxpr] = []
    for value in values:
        if isinstance(value, ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, Jaxpr):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _inside(value)
    return found
