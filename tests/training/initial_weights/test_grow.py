"""A small network's weights in a larger one of its method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.convert.tree import flatten
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.weights import save_weights
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.training.initial_weights.grow import load_into_larger

NARROW = {
    "backbone": ResNetConfig(depth=18, width=8),
    "value_backbone": ResNetConfig(depth=18, width=8),
    "key_dim": 8,
    "value_dim": 16,
    "decoder_dims": (8, 8, 8),
}
KEY = jax.random.key(0)
STEM = ("params", "value_encoder", "stem", "conv", "kernel")


def variables_of(method, value):
    """All of one value, in the shapes of the method."""
    shapes = jax.eval_shape(
        method.init, jax.random.key(0), jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    )
    return jax.tree.map(lambda x: jnp.full(x.shape, value, x.dtype), shapes)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("grow") / "small.safetensors"
    method = create("rde", others=False, recurrent=False, **NARROW)
    save_weights(path, "rde", method, variables_of(method, 2.0))
    return path


@pytest.mark.slow
def test_what_the_small_network_has_is_taken_and_the_rest_stays(stored):
    larger = variables_of(create("rde", **NARROW), 1.0)
    leaves = flatten(load_into_larger("rde", larger, stored, KEY))
    assert leaves.keys() == flatten(larger).keys()
    for place, value in leaves.items():
        if place == STEM:
            np.testing.assert_array_equal(value[:, :, :4], 2)
            assert value.shape[2] == 5
            # 49 taps for 8 features: the features are orthonormal.
            taps = np.asarray(value[:, :, 4:]).reshape(-1, value.shape[3])
            np.testing.assert_allclose(taps.T @ taps, np.eye(8), atol=1e-6)
        else:
            is_new = place[1].endswith("_aggregation")
            np.testing.assert_array_equal(value, 1 if is_new else 2)


@pytest.mark.slow
def test_a_network_of_another_width_is_refused(stored):
    wider = NARROW | {"key_dim": 16}
    with pytest.raises(InputError, match=r"key_head/.* has no place in the network"):
        load_into_larger("rde", variables_of(create("rde", **wider), 1.0), stored, KEY)


def test_weights_of_another_method_are_refused(stored):
    larger = variables_of(create("stcn", **NARROW), 1.0)
    with pytest.raises(InputError, match="weights of 'rde', not of 'stcn'"):
        load_into_larger("stcn", larger, stored, KEY)


def test_a_method_grows_from_the_one_that_it_extends(tmp_path):
    narrow = {x: NARROW[x] for x in ("backbone", "key_dim", "value_dim")}
    narrow["decoder_dim"] = 8
    path, stm = tmp_path / "stm.safetensors", create("stm", **narrow)
    save_weights(path, "stm", stm, variables_of(stm, 2.0))
    larger = variables_of(create("lcm", local_dim=8, **narrow), 1.0)
    own = {"query_local", "memory_local", "position_guidance", "object_relation"}
    for place, value in flatten(load_into_larger("lcm", larger, path, KEY)).items():
        np.testing.assert_array_equal(value, 1 if place[1] in own else 2)
    with pytest.raises(InputError, match="weights of 'stm', not of 'hmmn'"):
        load_into_larger("hmmn", {}, path, KEY)
