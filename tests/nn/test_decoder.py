"""The refinement decoder against its formulas."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.nn.decoder import ConvResBlock, Decoder, ResBlock, SkipBranches, Skips

FEATURES = 4


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _inputs(objects=3):
    read = _random(objects, 2, 3, 5)
    skips = Skips(
        _random(1, 4, 6, FEATURES, seed=1), _random(1, 8, 12, FEATURES, seed=2)
    )
    return read, skips


def test_a_residual_block_adds_the_unrectified_input():
    x = _random(2, 5, 4, FEATURES)
    variables = randomized(ResBlock(FEATURES), x)
    expected = numpy_layers.res_block(x, variables["params"])
    out = ResBlock(FEATURES).apply(variables, x)
    np.testing.assert_allclose(out, expected, atol=5e-6)


def test_a_convolution_meets_its_residual_block_without_a_relu_between():
    x = _random(2, 5, 4, 3)
    variables = randomized(ConvResBlock(FEATURES), x)
    convolved = numpy_layers.conv(x, variables["params"]["conv"])
    expected = numpy_layers.res_block(convolved, variables["params"]["res"])
    out = ConvResBlock(FEATURES).apply(variables, x)
    np.testing.assert_allclose(out, expected, atol=5e-6)


def test_the_decoder_follows_its_formula():
    read, skips = _inputs()
    variables = randomized(Decoder(FEATURES), read, skips)
    params = variables["params"]
    x = numpy_layers.conv(read, params["compress"]["conv"])
    x = numpy_layers.res_block(x, params["compress"]["res"])
    x = numpy_layers.res_block(skips.skip3 + numpy_layers.double(x), params["merge3"])
    x = numpy_layers.res_block(skips.skip2 + numpy_layers.double(x), params["merge2"])
    expected = numpy_layers.conv(numpy_layers.relu(x), params["predict"])
    out = jax.jit(Decoder(FEATURES).apply)(variables, read, skips)
    assert out.shape == (3, 8, 12, 2)
    np.testing.assert_allclose(out, expected, atol=2e-5)


def test_objects_are_decoded_independently_of_each_other():
    read, skips = _inputs()
    variables = randomized(Decoder(FEATURES), read, skips)
    decode = jax.jit(Decoder(FEATURES).apply)
    together = decode(variables, read, skips)
    alone = [decode(variables, read[o : o + 1], skips)[0] for o in range(3)]
    np.testing.assert_allclose(together, np.stack(alone), atol=2e-6)


def test_skip_branches_are_made_once_whatever_the_objects():
    res3, res2 = _random(1, 4, 6, 6), _random(1, 8, 12, 3)
    variables = randomized(SkipBranches(FEATURES), res3, res2)
    skips = SkipBranches(FEATURES).apply(variables, res3, res2)
    assert skips.skip3.shape == (1, 4, 6, FEATURES)
    assert skips.skip2.shape == (1, 8, 12, FEATURES)
    for name, feature, skip in (
        ("res3", res3, skips.skip3),
        ("res2", res2, skips.skip2),
    ):
        params = variables["params"][name]
        convolved = numpy_layers.conv(feature, params["conv"])
        expected = numpy_layers.res_block(convolved, params["res"])
        np.testing.assert_allclose(skip, expected, atol=5e-6)


def test_every_parameter_of_the_decoder_matters():
    read, skips = _inputs(1)
    variables = randomized(Decoder(FEATURES), read, skips)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sin(Decoder(FEATURES).apply({"params": params}, read, skips)).sum()

    gradients = jax.tree.leaves(gradient(variables["params"]))
    assert all(np.asarray(g).any() and np.isfinite(g).all() for g in gradients)
