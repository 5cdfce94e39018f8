"""Convolutions, frozen norms, and folding one into the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.nn.encoders import MaskedEncoder
from vos_jax.nn.layers import (
    IMAGE_MEAN,
    IMAGE_STD,
    Conv,
    ConvNorm,
    FrozenNorm,
    fold_norms,
    normalize_image,
)
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import ResNet, ResNetConfig

FOLDED = Numerics(folded=True)


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [(8, 10), (7, 5)])
def test_padding_is_the_same_on_all_sides_whatever_the_stride(kernel, stride, size):
    x = _random(2, *size, 3)
    layer = Conv(4, kernel, stride)
    variables = randomized(layer, x)
    expected = numpy_layers.conv(x, variables["params"], stride)
    # Sums of up to 147 products of size 0.1, in float32.
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=2e-6)


def test_a_convolution_without_bias_has_none():
    x = _random(1, 4, 4, 2)
    layer = Conv(3, use_bias=False)
    variables = randomized(layer, x)
    assert set(variables["params"]) == {"kernel"}
    expected = numpy_layers.conv(x, variables["params"])
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-6)


def test_a_frozen_norm_uses_its_stored_statistics():
    x = _random(2, 3, 4, 5)
    variables = randomized(FrozenNorm(), x)
    expected = numpy_layers.norm(x, variables["params"], variables["batch_stats"])
    np.testing.assert_allclose(FrozenNorm().apply(variables, x), expected, atol=2e-6)


def test_a_frozen_norm_starts_as_the_identity_or_at_the_scale_asked_for(key):
    x = _random(1, 2, 2, 3)
    out, _ = FrozenNorm().init_with_output(key, x)
    np.testing.assert_allclose(out, x, rtol=1e-5)
    out, _ = FrozenNorm(scale_init=0.0).init_with_output(key, x)
    assert not np.asarray(out).any()


def test_images_are_normalised_by_the_imagenet_statistics():
    black, white = np.zeros((1, 1, 3), np.float32), np.ones((2, 1, 1, 3), np.float32)
    mean, std = np.array(IMAGE_MEAN), np.array(IMAGE_STD)
    np.testing.assert_allclose(normalize_image(black)[0, 0], -mean / std, rtol=1e-6)
    np.testing.assert_allclose(
        normalize_image(white)[1, 0, 0], (1 - mean) / std, rtol=1e-6
    )


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_folded_layer_equals_the_two_it_is_made_of(use_bias):
    x = _random(2, 6, 6, 3)
    layer = ConvNorm(4, stride=2, use_bias=use_bias)
    variables = randomized(layer, x)
    plain = numpy_layers.norm(
        numpy_layers.conv(x, variables["params"]["conv"], 2),
        variables["params"]["norm"],
        variables["batch_stats"]["norm"],
    )
    np.testing.assert_allclose(layer.apply(variables, x), plain, atol=5e-6)
    folded = ConvNorm(4, stride=2, use_bias=use_bias, numerics=FOLDED)
    out = folded.apply(fold_norms(variables), x)
    np.testing.assert_allclose(out, plain, atol=5e-6)


def _networks(numerics):
    config = ResNetConfig(depth=18, width=4)
    image, masks = _random(1, 32, 32, 3), np.abs(_random(2, 32, 32))
    return {
        "resnet": (ResNet(config, numerics=numerics), (image,)),
        "resnet with biases": (ResNet(config, True, numerics), (image,)),
        "masked encoder": (MaskedEncoder(config, numerics), (image, masks)),
    }


@pytest.mark.parametrize("name", _networks(Numerics()))
def test_a_folded_network_equals_the_unfolded_one(name):
    network, inputs = _networks(Numerics())[name]
    variables = randomized(network, *inputs)
    folded, _ = _networks(FOLDED)[name]
    expected = jax.jit(network.apply)(variables, *inputs)
    out = jax.jit(folded.apply)(fold_norms(variables), *inputs)
    for x, y in zip(out, expected, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5 * np.abs(y).max())


@pytest.mark.parametrize("name", _networks(Numerics()))
def test_folding_leaves_exactly_the_parameters_of_a_folded_network(name):
    network, inputs = _networks(Numerics())[name]
    folded, _ = _networks(FOLDED)[name]
    needed = jax.eval_shape(folded.init, jax.random.key(0), *inputs)
    out = fold_norms(randomized(network, *inputs))
    assert jax.tree.structure(out) == jax.tree.structure(needed)
    assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, needed)


def test_folding_uses_every_number():
    network, inputs = _networks(Numerics())["resnet with biases"]
    variables = randomized(network, *inputs)
    plain = jax.tree.leaves(fold_norms(variables))
    block = ("trunk", "res3", "block0", "shortcut")

    def changed(collection, *path):
        def change(at, leaf):
            names = tuple(part.key for part in at)
            return 1.5 * leaf + 0.1 if names == (collection, *block, *path) else leaf

        other = fold_norms(jax.tree_util.tree_map_with_path(change, variables))
        leaves = zip(plain, jax.tree.leaves(other), strict=True)
        return sum(not np.array_equal(x, y) for x, y in leaves)

    assert changed("params", "conv", "kernel") == 1
    assert changed("params", "conv", "bias") == 1
    assert changed("params", "norm", "bias") == 1
    assert changed("params", "norm", "scale") == 3
    assert changed("batch_stats", "norm", "var") == 3
    assert changed("batch_stats", "norm", "mean") == 1


def test_bfloat16_layers_keep_float32_parameters():
    x = _random(1, 6, 6, 3)
    layer = ConvNorm(4, use_bias=True, numerics=Numerics(dtype="bfloat16"))
    variables = randomized(layer, x)
    out = layer.apply(variables, x)
    assert out.dtype == jnp.bfloat16
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    expected = ConvNorm(4, use_bias=True).apply(variables, x)
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.05)


def test_stored_statistics_are_applied_in_float32():
    """One rounding of the result, however far the mean is from 0."""
    x = jnp.asarray(_random(1, 4, 4, 3) + 100, jnp.bfloat16)
    variables = randomized(FrozenNorm(), x)
    variables["batch_stats"]["mean"] += 100
    out = FrozenNorm().apply(variables, x)
    assert out.dtype == jnp.bfloat16
    exact = FrozenNorm().apply(variables, x.astype(jnp.float32))
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("precision", ["highest", "high", "default"])
def test_every_precision_of_jax_is_one_of_numerics(precision):
    x = _random(1, 6, 6, 3)
    layer = ConvNorm(4, numerics=Numerics(precision=precision))
    assert np.isfinite(layer.apply(randomized(layer, x), x)).all()


@pytest.mark.parametrize("field", ["dtype", "precision"])
def test_numerics_refuse_unknown_settings(field):
    with pytest.raises(ValueError, match=f"{field}='float8': use"):
        Numerics(**{field: "float8"})


def test_equal_numerics_are_one_key_of_a_cache():
    assert hash(Numerics()) == hash(Numerics(dtype="float32"))
    assert Numerics() == Numerics(dtype="float32") != FOLDED
