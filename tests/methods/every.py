"""The methods that the tests of every method are about, in narrow networks.

A method joins by an entry of `NARROW`: a name that `create` takes, a file's too, and
options that make it compile in seconds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.fill import fill, fill_all
from tests.methods.proposals import proposals_of
from tests.methods.rde_weights import published_weights
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.methods import create, find_entry
from vos_jax.methods.base import Method
from vos_jax.methods.dmn_aoa.proposals import PROPOSALS
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNetConfig

EXAMPLES = Path(__file__).parents[2] / "examples"

_BACKBONE = ResNetConfig(depth=18, width=4)

_STM = {
    "backbone": _BACKBONE,
    "key_dim": 8,
    "value_dim": 32,
    "decoder_dim": 8,
    "mem_every": 2,
}

_STCN = {
    "backbone": _BACKBONE,
    "value_backbone": _BACKBONE,
    "key_dim": 8,
    "value_dim": 16,
    "decoder_dims": (12, 8, 8),
    "top_k": 5,
}

NARROW: Mapping[str, Mapping[str, Any]] = {
    "stm": _STM,
    "hmmn": {
        **_STM,
        "value_dim": 16,
        "fine_key_dims": (8, 4),
        "fine_value_dims": (12, 8),
        "k": 8,
    },
    "lcm": {**_STM, "local_dim": 8, "position_k": 4},
    "stcn": _STCN,
    "rde": _STCN,
    "dmn-aoa": {
        "backbone": _BACKBONE,
        "level_dims": (4, 4, 8),
        "align_dim": 8,
        "refine_dim": 8,
        "groups": 2,
        "object_size": 6,
        "n_grad": 10,
        "mem_every": 2,
    },
    str(EXAMPLES / "kmn.py"): {**_STM, "value_dim": 16},
}

_Weights = Callable[[Mapping[str, tuple[int, ...]]], dict[str, np.ndarray]]

_WEIGHTS: Mapping[str, _Weights] = {
    "stcn": published_weights,
    "rde": published_weights,
}


class Shallow(ResNetConfig):
    """A backbone of one block in every stage; files of weights do not know of it."""

    def blocks(self, stage: int) -> int:
        return 1


def tiny(name: str, **options: Any) -> tuple[Method, dict[str, Any]]:
    """A narrow network of few layers that remembers every second frame."""
    return narrow(name, **{**shallow(name), **options})


def shallow(name: str) -> dict[str, Any]:
    """The options of such a network, beside those of `NARROW`."""
    backbones = {
        field: Shallow(depth=value.depth, width=value.width)
        for field, value in NARROW[name].items()
        if isinstance(value, ResNetConfig)
    }
    return {"mem_every": 2, **backbones}


def narrow(name: str, **options: Any) -> tuple[Method, dict[str, Any]]:
    """A narrow network and its weights, none of which is zero.

    They are placed as a whole: `jnp.asarray` compiles a program for each shape.
    What has one name in checkpoints of several methods is the same in all of them.
    """
    method = create(name, **{**NARROW[name], **options})
    shapes = variable_shapes(method)
    if (torch_table := find_entry(name).torch_table) is None:
        filled = jax.tree_util.tree_map_with_path(_filled, shapes)
        return method, jax.device_put(filled)
    table = torch_table(method.config)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    published = {k: v.shape for k, v in export_state_dict(zeros, table).items()}
    weights = _WEIGHTS.get(name, fill_all)(published)
    return method, jax.device_put(convert_state_dict(weights, table, shapes))


def inputs_for(method: Method, labels: np.ndarray) -> Any:
    """What a method takes with a frame of such labels; None if it takes nothing."""
    return proposals_of(labels) if method.inputs is PROPOSALS else None


_ENDINGS = {"kernel": "weight", "scale": "weight", "var": "running_var"}


def _filled(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """A variable that has no published name, by its own."""
    *places, last = (key.key for key in path)
    name = ".".join([*places, _ENDINGS.get(last, last)])
    return fill(name, leaf.shape[::-1]).T
