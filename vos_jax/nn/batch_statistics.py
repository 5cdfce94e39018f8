"""Statistics of the frozen norms from a batch, for training from scratch.

Every method trains with the norms of a pretrained network frozen. Without pretrained
weights there is nothing to freeze: a network learns several times faster if its norms
first follow the batch, as batch normalisation does (Ioffe & Szegedy, ICML 2015).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.module import InterceptorContext
from jaxtyping import Array, Float

from vos_jax.nn.layers import FrozenNorm

_AXIS = "clips"


def batch_statistics(
    module: nn.Module,
    variables: Mapping[str, Any],
    frames: Float[Array, "B H W 3"],
    masks: Float[Array, "B O H W"],
    axis_name: str | None = None,
) -> dict[str, Any]:
    """The mean and variance of what reaches each `FrozenNorm`, over a batch.

    Pure and differentiable: a loss computed with them as `batch_stats` has the
    gradients of batch normalisation.

    Args:
      module: Called as `module(frame, masks)` for each clip.
      variables: Its `params` and `batch_stats`; the latter's values do not matter.
      frames: RGB in [0, 1].
      masks: Of the objects, in [0, 1].
      axis_name: Axis of a mesh that has further clips, inside of `jax.shard_map`. The
        statistics are then those of all of them.

    Returns:
      A new `batch_stats` collection; float32 for any compute type.
    """
    axes = (_AXIS,) if axis_name is None else (_AXIS, axis_name)

    def measure(frame: Array, mask: Array) -> dict[str, Any]:
        with nn.intercept_methods(partial(_measure_input, axes)):
            _, changed = module.apply(variables, frame, mask, mutable=["batch_stats"])
        return changed["batch_stats"]

    measured = jax.vmap(measure, axis_name=_AXIS)(frames, masks)
    return jax.tree.map(lambda x: x[0], measured)


def _measure_input(
    axes: tuple[str, ...],
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: InterceptorContext,
) -> Any:
    module = context.module
    if isinstance(module, FrozenNorm) and context.method_name == "__call__":
        (x,) = args
        # A variance is a small difference where the mean is large.
        seen = x.astype(jnp.float32)
        mean = jax.lax.pmean(seen.mean((0, 1, 2)), axes)
        deviation = jnp.square(seen - mean[None, None, None])
        variance = jax.lax.pmean(deviation.mean((0, 1, 2)), axes)
        module.put_variable("batch_stats", "mean", mean)
        module.put_variable("batch_stats", "var", variance)
    return call(*args, **kwargs)
