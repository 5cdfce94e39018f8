"""What a program is built for, and the one place where a form is chosen by it.

A program may be built on another machine than it runs on. So nothing here or in the
layers above asks which devices are there: a platform is an argument, and where none is
named JAX chooses when the program is lowered, for the platform it is lowered for.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from jax import lax

Platform = Literal["cpu", "cuda", "rocm", "tpu"]
"""As JAX names what programs are lowered for."""

PLATFORMS: tuple[Platform, ...] = ("cpu", "cuda", "rocm", "tpu")
"""All of them."""

_T = TypeVar("_T")


def by_platform(
    platform: Platform | None,
    cpu: Callable[..., _T],
    accelerator: Callable[..., _T],
    *operands: Any,
) -> _T:
    """What one of two functions that compute the same makes of some arrays.

    A CPU does one thing after the other: what it skips it saves, so it may branch. On
    an accelerator a branch waits for the host, or keeps the next kernel waiting:
    everything is computed there, and masks choose.

    Args:
      platform: What the program is built for. None leaves it to the lowering, and then
        both functions are traced.
      cpu: For CPUs.
      accelerator: For all else.
      *operands: Pytrees of arrays that both take.
    """
    if platform is None:
        chosen: _T = lax.platform_dependent(*operands, cpu=cpu, default=accelerator)
        return chosen
    return (cpu if platform == "cpu" else accelerator)(*operands)
