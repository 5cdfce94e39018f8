"""Blocks of STCN against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.methods.stcn.blocks import (
    Attention,
    Decoder,
    JoinedConv,
    JoinedResBlock,
    SkipConvs,
    ValueEncoder,
)
from vos_jax.nn.decoder import ResBlock, Skips
from vos_jax.nn.layers import fold_norms
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import ResNetConfig

TRUNK = ResNetConfig(depth=18, width=4)


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _joined(own, shared):
    """The published order: the shared part behind every object's own."""
    shared = np.broadcast_to(shared, (len(own), *shared.shape[1:]))
    return np.concatenate([own, shared], axis=-1)


def _changing_block(x, params):
    """A residual block whose shortcut convolves the unrectified input."""
    y = numpy_layers.conv(numpy_layers.relu(x), params["conv1"])
    y = numpy_layers.conv(numpy_layers.relu(y), params["conv2"])
    return numpy_layers.conv(x, params["shortcut"]) + y


def _gate(x):
    return 1 / (1 + np.exp(-x))


def _attention(x, params):
    def mlp(pooled):
        for name in ("squeeze", "open"):
            kernel, bias = (np.asarray(params[name][k]) for k in ("kernel", "bias"))
            pooled = pooled @ kernel + bias
            pooled = numpy_layers.relu(pooled) if name == "squeeze" else pooled
        return pooled

    x = np.asarray(x, np.float64)
    gate = _gate(mlp(x.mean((1, 2))) + mlp(x.max((1, 2))))
    x = x * gate[:, None, None]
    cells = np.stack([x.max(-1), x.mean(-1)], axis=-1)
    return x * _gate(numpy_layers.conv(cells, params["cells"]))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2)])
def test_a_joined_convolution_is_that_of_the_concatenation(kernel, stride):
    own, shared = _random(3, 6, 8, 2), _random(1, 6, 8, 5, seed=1)
    module = JoinedConv(4, kernel, stride)
    variables = randomized(module, own, shared)
    out = module.apply(variables, own, shared)
    expected = numpy_layers.conv(_joined(own, shared), variables["params"], stride)
    np.testing.assert_allclose(out, expected, atol=5e-6)


def test_the_shared_part_of_a_joined_convolution_is_convolved_once():
    own, shared = _random(3, 6, 8, 2), _random(1, 6, 8, 5, seed=1)
    variables = randomized(JoinedConv(4), own, shared)
    program = jax.make_jaxpr(JoinedConv(4).apply)(variables, own, shared)
    convolved = [
        equation.invars[0].aval.shape
        for equation in program.eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert convolved == [(3, 6, 8, 2), (1, 6, 8, 5)]


def test_a_joined_block_is_a_block_of_the_concatenation():
    own, shared = _random(2, 4, 5, 3), _random(1, 4, 5, 4, seed=1)
    variables = randomized(JoinedResBlock(6), own, shared)
    out = JoinedResBlock(6).apply(variables, own, shared)
    expected = _changing_block(_joined(own, shared), variables["params"])
    np.testing.assert_allclose(out, expected, atol=1e-5)
    plain = ResBlock(6).apply(variables, jnp.asarray(_joined(own, shared)))
    np.testing.assert_allclose(plain, expected, atol=1e-5)


def test_a_block_of_equal_width_has_no_shortcut_convolution():
    x = _random(1, 4, 5, 6)
    assert set(randomized(ResBlock(6), x)["params"]) == {"conv1", "conv2"}


def test_attention_gates_channels_and_then_cells():
    x = _random(2, 5, 6, 32)
    variables = randomized(Attention(), x)
    assert variables["params"]["squeeze"]["kernel"].shape == (32, 2)
    out = Attention().apply(variables, x)
    expected = _attention(x, variables["params"])
    np.testing.assert_allclose(out, expected, atol=2e-5)


# The value encoder


def _value_inputs(objects=2):
    masks = np.random.default_rng(3).random((objects, 32, 48)) / objects
    return _random(1, 32, 48, 3), masks.astype(np.float32), _random(1, 2, 3, 6, seed=1)


def _basic_block(x, params, stats, stride):
    def layer(x, name, stride=1):
        x = numpy_layers.conv(x, params[name]["conv"], stride)
        return numpy_layers.norm(x, params[name]["norm"], stats[name]["norm"])

    y = layer(numpy_layers.relu(layer(x, "conv1", stride)), "conv2")
    if "shortcut" in params:
        x = layer(x, "shortcut", stride)
    return numpy_layers.relu(x + y)


def _max_pool(x):
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    out = np.zeros((len(x), x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        out[:, i, j] = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
    return out


def _value_encoder(image, masks, features, variables, others=True):
    params, stats = variables["params"], variables["batch_stats"]
    seen = [masks, masks.sum(0) - masks][: 1 + others]
    x = np.concatenate(
        [np.repeat(image, len(masks), axis=0), np.stack(seen, axis=-1)], axis=-1
    )
    x = numpy_layers.conv(x, params["stem"]["conv"], 2)
    x = numpy_layers.norm(x, params["stem"]["norm"], stats["stem"]["norm"])
    x = _max_pool(numpy_layers.relu(x))
    for stage in (2, 3, 4):
        for block in (0, 1):
            at = (f"res{stage}", f"block{block}")
            tables = [t["trunk"][at[0]][at[1]] for t in (params, stats)]
            x = _basic_block(x, *tables, 2 if stage > 2 and block == 0 else 1)
    x = _changing_block(_joined(x, features), params["join"])
    x = x + _attention(x, params["attention"])
    return numpy_layers.res_block(x, params["refine"])


@pytest.mark.parametrize("others", [True, False])
def test_the_value_encoder_follows_its_formula(others):
    inputs = _value_inputs(2)
    module = ValueEncoder(TRUNK, 32, others)
    variables = randomized(module, *inputs)
    out = jax.jit(module.apply)(variables, *inputs)
    expected = _value_encoder(*inputs, variables, others)
    assert out.shape == (2, 2, 3, 32)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_all_convolutions_of_the_value_encoder_have_biases():
    params = randomized(ValueEncoder(TRUNK, 32), *_value_inputs())["params"]
    names = {"/".join(k.key for k in path) for path, _ in _leaves(params)}
    kernels = {name for name in names if name.endswith("kernel")}
    assert {name.replace("kernel", "bias") for name in kernels} <= names
    assert params["stem"]["conv"]["kernel"].shape == (7, 7, 5, 4)


def _leaves(tree):
    return jax.tree.leaves_with_path(tree)


def test_folding_moves_norms_into_convolutions_with_biases():
    inputs = _value_inputs()
    variables = randomized(ValueEncoder(TRUNK, 32), *inputs)
    plain = jax.jit(ValueEncoder(TRUNK, 32).apply)(variables, *inputs)
    module = ValueEncoder(TRUNK, 32, numerics=Numerics(folded=True))
    folded = fold_norms(variables)
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(
        jnp.shape, randomized(module, *inputs)
    )
    out = jax.jit(module.apply)(folded, *inputs)
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-4)


# The decoder


def test_skips_are_convolutions_of_the_widths_they_are_added_to():
    res3, res2 = _random(1, 4, 6, 6), _random(1, 8, 12, 3, seed=1)
    module = SkipConvs((7, 5, 4))
    variables = randomized(module, res3, res2)
    skips = module.apply(variables, res3, res2)
    for name, feature, skip in (
        ("res3", res3, skips.skip3),
        ("res2", res2, skips.skip2),
    ):
        expected = numpy_layers.conv(feature, variables["params"][name])
        np.testing.assert_allclose(skip, expected, atol=5e-6)
    assert (skips.skip3.shape[-1], skips.skip2.shape[-1]) == (7, 5)


@pytest.mark.parametrize("dims", [(7, 5, 5), (7, 5, 4)])
def test_the_decoder_follows_its_formula(dims):
    read, thin = _random(3, 2, 3, 5), _random(1, 2, 3, 4, seed=1)
    skips = Skips(_random(1, 4, 6, dims[0], seed=2), _random(1, 8, 12, dims[1], seed=3))
    module = Decoder(dims)
    variables = randomized(module, read, thin, skips)
    params = variables["params"]
    x = _changing_block(_joined(read, thin), params["compress"])
    x = _changing_block(skips.skip3 + numpy_layers.double(x), params["merge3"])
    last = numpy_layers.res_block if dims[1] == dims[2] else _changing_block
    x = last(skips.skip2 + numpy_layers.double(x), params["merge2"])
    expected = numpy_layers.conv(numpy_layers.relu(x), params["predict"])
    out = jax.jit(module.apply)(variables, read, thin, skips)
    assert out.shape == (3, 8, 12, 1)
    np.testing.assert_allclose(out, expected, atol=5e-5)


def test_the_defaults_are_the_published_widths():
    assert Decoder().dims == SkipConvs().dims == (512, 256, 256)
    assert (ValueEncoder().features, ValueEncoder().config.depth) == (512, 18)
    assert Attention().reduction == 16
