"""The form of a network that videos are segmented with."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import jax

from vos_jax.inference.weight_types import in_compute_type
from vos_jax.methods.base import Method, changed
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.layers import fold_norms, lay_out
from vos_jax.runtime.mesh import replicated
from vos_jax.runtime.platform import known_platform, platform_name


def inference_form(
    method: Method, variables: Mapping[str, Any], *, platform: str | None = None
) -> tuple[Method, Mapping[str, Any]]:
    """The same network as its programs run fastest on a platform.

    Norms are folded into the convolutions; weights are in the compute type where the
    network uses them in no other; of what is computed alike in several forms, the one
    for the platform is chosen. Where the memory is divided between devices, all of them
    have the weights. Nothing asks which devices there are but for a platform
    of None, so a program for an accelerator can be built on a host without one.

    Args:
      method: From `create`.
      variables: Its weights.
      platform: `"cpu"`, `"cuda"` (or `"gpu"`), `"rocm"` or `"tpu"`; None keeps what the
        method was built for, and takes the default backend's if that is nothing.

    Raises:
      InputError: There is no such platform.
    """
    own = method
    if platform is not None or method.platform is None:
        own = method.built_for(known_platform(platform))
    own, variables = _folded(own, method, variables)
    if own.mesh is not None:
        variables = jax.device_put(variables, replicated(own.mesh))
    return own, variables


def common_form(
    method: Method, variables: Mapping[str, Any]
) -> tuple[Method, Mapping[str, Any]]:
    """The inference form for all platforms: the lowering chooses between forms.

    Args:
      method: From `create`.
      variables: Its weights.
    """
    return _folded(method.built_for(None), method, variables)


def _folded(
    method: Method, before: Method, variables: Mapping[str, Any]
) -> tuple[Method, Mapping[str, Any]]:
    if method.config.folded and _outputs_first(method) == _outputs_first(before):
        return method, variables
    method = method.clone(config=changed(method.config, folded=True))
    return method, jax.jit(partial(_prepare, method, before))(variables)


def _prepare(
    method: Method, before: Method, variables: Mapping[str, Any]
) -> dict[str, Any]:
    if not before.config.folded:
        variables = fold_norms(variables)
    if _outputs_first(method) != _outputs_first(before):
        expected = variable_shapes(method)["params"]
        params = lay_out(variables["params"], expected)
        variables = {**variables, "params": params}
    return in_compute_type(method, variables)


def _outputs_first(method: Method) -> bool:
    numerics = getattr(method.config, "numerics", None)
    return numerics is not None and numerics.outputs_first


@lru_cache(maxsize=32)
def built(method: Method) -> Method:
    """A method for the default backend's platform, unless it is for another one."""
    return method.built_for(platform_name()) if method.platform is None else method
