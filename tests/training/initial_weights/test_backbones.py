"""Encoders that begin with the weights of ImageNet networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.convert.weights import save_weights
from vos_jax.errors import InputError
from vos_jax.methods.weights import random_model
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.training.initial_weights.backbones import with_backbone

KEY = jax.random.key(0)
WIDTH = 4
SMALL = {"backbone": {"depth": 18, "width": WIDTH}, "key_dim": 4, "value_dim": 4}


@pytest.fixture(scope="module")
def method_variables():
    return random_model("stm", **SMALL, decoder_dim=4)


def write_backbone(path, depth):
    """Random weights in place of ImageNet's; also their statistics."""
    module = ResNet(ResNetConfig(depth=depth, width=WIDTH))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(depth)
    variables = jax.tree.map(
        lambda x: rng.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes
    )
    config = {"depth": depth, "width": WIDTH}
    save_weights(path, variables, method=f"resnet{depth}", config=config)
    return variables


@pytest.fixture
def backbone(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    return path, write_backbone(path, 18)


def test_both_encoders_of_stm_take_it(backbone, method_variables):
    _, before = method_variables
    path, given = backbone
    after = with_backbone(before, path, KEY)
    for collection in ("params", "batch_stats"):
        for encoder in ("query_encoder", "memory_encoder"):
            found = after[collection][encoder]
            jax.tree.map(
                np.testing.assert_array_equal,
                (found["trunk"], found["stem"]["norm"]),
                (given[collection]["trunk"], given[collection]["stem"]["norm"]),
            )
    kernel = given["params"]["stem"]["conv"]["kernel"]
    query, memory = (
        after["params"][f"{side}_encoder"]["stem"] for side in ("query", "memory")
    )
    np.testing.assert_array_equal(query["conv"]["kernel"], kernel)
    np.testing.assert_array_equal(memory["image"]["kernel"], kernel)


def test_all_else_stays_as_it_was(backbone, method_variables):
    _, before = method_variables
    after = with_backbone(before, backbone[0], KEY)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, dict(before))
    for path in (("decoder",), ("memory_head",), ("memory_encoder", "stem", "masks")):
        old, new = before["params"], after["params"]
        for name in path:
            old, new = old[name], new[name]
        jax.tree.map(np.testing.assert_array_equal, new, old)


def test_a_network_of_another_depth_is_refused(tmp_path, method_variables):
    path = tmp_path / "resnet34.safetensors"
    write_backbone(path, 34)
    with pytest.raises(InputError, match="no encoder of the method is a resnet34"):
        with_backbone(method_variables[1], path, KEY)


def test_a_part_of_a_deeper_encoder_is_not_filled(backbone):
    deeper = SMALL | {"backbone": {"depth": 34, "width": WIDTH}}
    _, variables = random_model("stm", **deeper, decoder_dim=4)
    with pytest.raises(InputError, match="no encoder of the method is a resnet18"):
        with_backbone(variables, backbone[0], KEY)


def test_weights_of_a_method_are_refused(tmp_path, method_variables):
    path = tmp_path / "stm.safetensors"
    save_weights(path, method_variables[1], method="stm", config={})
    with pytest.raises(InputError, match=r"stm\.safetensors: weights of 'stm', not of"):
        with_backbone(method_variables[1], path, KEY)
