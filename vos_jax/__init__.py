"""vos_jax: semi-supervised video object segmentation by memory networks, in JAX."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax

from vos_jax.convert import weights as _weights
from vos_jax.engine.inference import (
    Output,
    State,
    add_masks,
    remove_object,
    start,
    state_bytes,
    step,
)
from vos_jax.errors import InputError
from vos_jax.methods import METHODS, create
from vos_jax.methods.base import Method

__all__ = [
    "METHODS",
    "InputError",
    "Method",
    "Output",
    "State",
    "add_masks",
    "create",
    "load_weights",
    "remove_object",
    "start",
    "state_bytes",
    "step",
]


def load_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Variables from a `.safetensors` file written by this package."""
    return jax.tree.map(jax.numpy.asarray, _weights.load_weights(path).variables)


def config_dict(method: Method) -> Mapping[str, Any]:
    """A method's configuration as plain values."""
    return dataclasses.asdict(method.config)
