"""Shapes, sizes and blocks of the encoders."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.nn.numerics import Numerics
from vos_jax.nn.resnet import Block, ResNet, ResNetConfig, Trunk

KEY = jax.random.key(0)
IMAGE = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)


def _count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("depth", "channels", "parameters"),
    [
        (18, (64, 128, 256), 2_782_784),
        (34, (64, 128, 256), 8_170_304),
        (50, (256, 512, 1024), 8_543_296),
        (101, (256, 512, 1024), 27_535_424),
    ],
)
def test_stages_have_the_published_strides_channels_and_sizes(
    depth, channels, parameters
):
    config = ResNetConfig(depth=depth)
    outputs, variables = jax.eval_shape(ResNet(config).init_with_output, KEY, IMAGE)
    strides = (4, 8, 16)
    expected = [
        (2, 64 // s, 96 // s, c) for s, c in zip(strides, channels, strict=True)
    ]
    assert [out.shape for out in outputs] == expected
    assert tuple(config.channels(stage) for stage in (2, 3, 4)) == channels
    # As torchvision's networks without their fourth stage and classifier.
    assert _count(variables["params"]) == parameters


def test_width_scales_every_stage():
    config = ResNetConfig(depth=18, width=6)
    outputs = jax.eval_shape(ResNet(config).init_with_output, KEY, IMAGE)[0]
    assert [out.shape[-1] for out in outputs] == [6, 12, 24]


def test_biases_are_there_only_when_asked_for():
    config = ResNetConfig(depth=18, width=4)
    for use_bias in (False, True):
        variables = jax.eval_shape(ResNet(config, use_bias).init, KEY, IMAGE)
        block = variables["params"]["trunk"]["res3"]["block0"]
        for conv in (variables["params"]["stem"], block["conv1"], block["shortcut"]):
            assert ("bias" in conv["conv"]) == use_bias


def _conv_norm(x, name, variables, stride=1):
    params, stats = variables["params"][name], variables["batch_stats"][name]
    x = numpy_layers.conv(x, params["conv"], stride)
    return numpy_layers.norm(x, params["norm"], stats["norm"])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck_has_its_stride_on_the_3x3_convolution(stride):
    x = np.random.default_rng(1).normal(size=(1, 6, 8, 3)).astype(np.float32)
    block = Block(width=2, stride=stride, bottleneck=True)
    variables = randomized(block, x)
    y = numpy_layers.relu(_conv_norm(x, "conv1", variables))
    y = numpy_layers.relu(_conv_norm(y, "conv2", variables, stride))
    y = _conv_norm(y, "conv3", variables)
    expected = numpy_layers.relu(y + _conv_norm(x, "shortcut", variables, stride))
    np.testing.assert_allclose(block.apply(variables, x), expected, atol=2e-5)


def test_a_basic_block_has_its_stride_on_the_first_convolution():
    x = np.random.default_rng(1).normal(size=(1, 6, 8, 3)).astype(np.float32)
    block = Block(width=4, stride=2, bottleneck=False)
    variables = randomized(block, x)
    y = numpy_layers.relu(_conv_norm(x, "conv1", variables, 2))
    y = _conv_norm(y, "conv2", variables)
    expected = numpy_layers.relu(y + _conv_norm(x, "shortcut", variables, 2))
    np.testing.assert_allclose(block.apply(variables, x), expected, atol=2e-5)


def test_a_block_that_keeps_its_shape_has_no_projection():
    x = jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.float32)
    for bottleneck, width in ((False, 8), (True, 2)):
        block = Block(width=width, stride=1, bottleneck=bottleneck)
        variables = jax.eval_shape(block.init, KEY, x)
        assert "shortcut" not in variables["params"]


def test_residual_branches_start_at_zero_when_asked_for():
    x = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 4, 4, 8)), jnp.float32)
    block = Block(width=2, stride=1, bottleneck=True, zero_init=True)
    out, _ = jax.jit(block.init_with_output)(KEY, x)
    np.testing.assert_array_equal(out, x)


def test_more_blocks_change_nothing_before_they_are_trained():
    plain = ResNetConfig(depth=18, width=2, zero_init=True)
    deep = replace(plain, more_blocks=2)
    stem = jnp.asarray(np.random.default_rng(1).normal(size=(1, 8, 8, 2)), jnp.float32)
    variables = randomized(Trunk(plain), stem)
    more = jax.jit(Trunk(deep).init)(KEY, stem)
    assert {*more["params"]["res4"]} - {*variables["params"]["res4"]} == {
        "block2",
        "block3",
    }
    for kind, stages in variables.items():
        variables[kind] = {**stages, "res4": {**more[kind]["res4"], **stages["res4"]}}
    expected = Trunk(plain).apply(variables, stem)
    found = Trunk(deep).apply(variables, stem)
    assert np.asarray(found.res4).std() > 0.1
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_more_blocks_are_told_and_none_are_as_before_there_were_any():
    plain = ResNetConfig(depth=18, width=4)
    assert repr(plain) == "ResNetConfig(depth=18, width=4, zero_init=False)"
    assert repr(replace(plain, more_blocks=2)).endswith(
        "zero_init=False, more_blocks=2)"
    )


def test_the_stem_is_rectified_and_pooled_with_its_border():
    config = ResNetConfig(depth=18, width=1, zero_init=True)
    stem = jnp.asarray(np.random.default_rng(1).normal(size=(1, 8, 8, 1)), jnp.float32)
    res2 = jax.jit(Trunk(config).init_with_output)(KEY, stem)[0].res2
    padded = np.pad(np.maximum(np.asarray(stem)[0, :, :, 0], 0), 1)
    expected = [
        [padded[i : i + 3, j : j + 3].max() for j in range(0, 8, 2)]
        for i in range(0, 8, 2)
    ]
    np.testing.assert_array_equal(res2[0, :, :, 0], expected)


def test_all_features_come_in_the_compute_type():
    network = ResNet(
        ResNetConfig(depth=18, width=4), numerics=Numerics(dtype="bfloat16")
    )
    outputs = jax.eval_shape(network.init_with_output, KEY, IMAGE)[0]
    assert {out.dtype for out in outputs} == {jnp.dtype("bfloat16")}


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth=20: use one of"):
        ResNetConfig(depth=20)
    with pytest.raises(ValueError, match="more_blocks=-1: use 0 or more"):
        ResNetConfig(more_blocks=-1)
