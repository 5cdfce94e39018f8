"""Narrow networks of HMMN with weights none of which is zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.fill import fill_all
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import METHODS, create
from vos_jax.methods.base import Method
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNetConfig

NARROW = {
    "backbone": ResNetConfig(depth=18, width=4),
    "key_dim": 8,
    "value_dim": 16,
    "fine_key_dims": (8, 4),
    "fine_value_dims": (12, 8),
    "decoder_dim": 8,
    "k": 8,
    "mem_every": 2,
}
"""Options of networks that compile in seconds."""


def narrow(**options: Any) -> tuple[Method, dict[str, Any]]:
    """A narrow network and its weights."""
    method = create("hmmn", **{**NARROW, **options})
    table, shapes = METHODS["hmmn"].torch_table(method.config), variable_shapes(method)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    published = {k: v.shape for k, v in export_state_dict(zeros, table).items()}
    weights = convert_state_dict(fill_all(published), table, shapes)
    return method, jax.tree.map(jnp.asarray, weights)
