"""Encoders that begin with the weights of ImageNet networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.convert.weights import save_weights
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNet, ResNetConfig
from vos_jax.training.initial_weights.backbones import with_backbone

KEY = jax.random.key(0)
WIDTH = 4
BACKBONE = {"depth": 18, "width": WIDTH}
SMALL = {"key_dim": 4, "value_dim": 4}


def random_stm(**fields):
    """Of the shapes of a small STM with these fields."""
    shapes = variable_shapes(create("stm", **SMALL, decoder_dim=4, **fields))
    return random_like(shapes, 0)


def random_like(shapes, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: rng.uniform(0.5, 1.5, x.shape).astype(np.float32), shapes
    )


@pytest.fixture(scope="module")
def variables():
    return random_stm(backbone=BACKBONE)


def write_backbone(path, depth):
    """Random weights in place of ImageNet's; also their statistics."""
    module = ResNet(ResNetConfig(depth=depth, width=WIDTH))
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = random_like(shapes, depth)
    config = {"depth": depth, "width": WIDTH}
    save_weights(path, variables, method=f"resnet{depth}", config=config)
    return variables


@pytest.fixture
def backbone(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    return path, write_backbone(path, 18)


def test_both_encoders_of_stm_take_it(backbone, variables):
    before = variables
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


def test_all_else_stays_as_it_was(backbone, variables):
    before = variables
    after = with_backbone(before, backbone[0], KEY)
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, dict(before))
    for path in (("decoder",), ("memory_head",), ("memory_encoder", "stem", "masks")):
        old, new = before["params"], after["params"]
        for name in path:
            old, new = old[name], new[name]
        jax.tree.map(np.testing.assert_array_equal, new, old)


def test_a_network_of_another_depth_is_refused(tmp_path, variables):
    path = tmp_path / "resnet34.safetensors"
    write_backbone(path, 34)
    with pytest.raises(InputError, match="no encoder of the method is a resnet34"):
        with_backbone(variables, path, KEY)


def test_a_part_of_a_deeper_encoder_is_not_filled(backbone):
    deeper = random_stm(backbone={"depth": 34, "width": WIDTH})
    with pytest.raises(InputError, match="no encoder of the method is a resnet18"):
        with_backbone(deeper, backbone[0], KEY)


def test_a_method_gives_its_query_encoder(tmp_path, variables):
    path = tmp_path / "stm.safetensors"
    given = random_like(variables, 1)
    save_weights(path, given, method="stm", config={})
    config = {"level_dims": (8, 8, 16), "align_dim": 8, "refine_dim": 8, "groups": 2}
    shapes = variable_shapes(create("dmn-aoa", backbone=BACKBONE, **config))
    before = random_like(shapes, 2)
    after = with_backbone(before, path, KEY)
    for collection in ("params", "batch_stats"):
        jax.tree.map(
            np.testing.assert_array_equal,
            after[collection].pop("backbone"),
            given[collection]["query_encoder"],
        )
    rest = {**before["params"]}
    del rest["backbone"]
    jax.tree.map(np.testing.assert_array_equal, after["params"], rest)


def test_the_name_of_a_method_stands_for_the_weights_that_ship(variables):
    # Which are those of a wider network than this one.
    message = r"stm_tiny\.safetensors: no encoder of the method is the ResNet of 'stm"
    with pytest.raises(InputError, match=message):
        with_backbone(variables, "stm-tiny", KEY)


def test_weights_of_a_method_without_a_query_encoder_are_refused(tmp_path, variables):
    path = tmp_path / "stm.safetensors"
    params = {"decoder": variables["params"]["decoder"]}
    save_weights(path, {"params": params}, method="stm", config={})
    with pytest.raises(InputError, match=r"stm\.safetensors: weights of 'stm', not of"):
        with_backbone(variables, path, KEY)
