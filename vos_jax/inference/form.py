"""The form of a network that videos are segmented with."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import jax

from vos_jax.inference.weight_types import in_compute_type
from vos_jax.methods.base import Method, changed
from vos_jax.nn.layers import fold_norms
from vos_jax.runtime.platform import known_platform, platform_name


def inference_form(
    method: Method, variables: Mapping[str, Any], *, platform: str | None = None
) -> tuple[Method, Mapping[str, Any]]:
    """The same network as its programs run fastest on a platform.

    Norms are folded into the convolutions; weights are in the compute type where the
    network uses them in no other; of what is computed alike in several forms, the one
    for the platform is chosen. Nothing asks which devices there are but for a platform
    of None, so a program for an accelerator can be built on a host without one.

    Args:
      method: From `create`.
      variables: Its weights.
      platform: `"cpu"`, `"cuda"` (or `"gpu"`), `"rocm"` or `"tpu"`; None keeps what the
        method was built for, and takes the default backend's if that is nothing.

    Raises:
      InputError: There is no such platform.
    """
    if platform is not None or method.platform is None:
        method = method.built_for(known_platform(platform))
    if method.config.folded:
        return method, variables
    method = method.clone(config=changed(method.config, folded=True))
    return method, jax.jit(partial(_prepare, method))(variables)


def _prepare(method: Method, variables: Mapping[str, Any]) -> dict[str, Any]:
    return in_compute_type(method, fold_norms(variables))


@lru_cache(maxsize=32)
def built(method: Method) -> Method:
    """A method for the default backend's platform, unless it is for another one."""
    return method.built_for(platform_name()) if method.platform is None else method
