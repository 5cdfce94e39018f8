"""A better random start for DMN-AOA: what it compares begins alike.

At random a template is like no proposal, and a frame's cells are like none of its
references'. Both would have to be learned before anything else can be.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

_PROJECTORS = (
    ("matcher", "project_proposal", "project_template"),
    ("refine_net", "project_current", "project_reference"),
)


def begin_alike(params: Mapping[str, Any]) -> dict[str, Any]:
    """Copies what is on one side of a comparison to the other; returns new parameters.

    Keys of memory and query become one convolution, and what is read the features
    themselves, so that templates begin as the object was. One projection is of both
    sides of each alignment.
    """
    started: dict[str, Any] = jax.tree.map(jnp.copy, dict(params))
    if encoder := started.get("memory_encoder"):
        own = started["query_encoder"]["kernel"]
        key, value = encoder["key"]["kernel"], encoder["value"]["kernel"]
        dim = own.shape[-2]
        encoder["key"]["kernel"] = jnp.zeros_like(key).at[:, :, :dim].set(own)
        middle = jnp.zeros_like(value).at[1, 1, :dim].set(jnp.eye(dim))
        encoder["value"]["kernel"] = middle
    for part, old, new in _PROJECTORS:
        if part in started:
            started[part][new] = jax.tree.map(jnp.copy, started[part][old])
    return started
