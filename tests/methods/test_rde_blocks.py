"""SAM's parameters: their names, shapes and first values, and what computes with them.

The formulas are tested with `vos_jax.ops.aggregation`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.randomized import randomized
from vos_jax.methods.rde.blocks import Aggregation
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.aggregation import Affine, Enhance, Extract, Weights, aggregate

CHANNELS = 8


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _pair(objects=1, channels=CHANNELS):
    return (_random(objects, 4, 5, channels, seed=seed) for seed in (0, 1))


def _weights(params):
    def affine(each):
        kernel = each["kernel"]
        return Affine(kernel[0] if len(kernel) == 1 else kernel, each["bias"])

    rates = (params["enhance"][f"rate{rate}"]["kernel"][0] for rate in (0, 2, 4, 6))
    return Weights(
        Extract(*(affine(params["extract"][x]) for x in ("theta", "phi", "g", "out"))),
        Enhance(tuple(rates), params["enhance"]["merge"]["kernel"][0]),
        affine(params["squeeze"]),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_parameter_has_its_place_in_the_update(dtype):
    old, new = _pair(2)
    module = Aggregation(Numerics(dtype=dtype))
    variables = randomized(module, old, new)
    out = jax.jit(module.apply)(variables, old, new)
    half = (jnp.asarray(x, dtype) for x in (old, new))
    expected = jax.jit(aggregate)(_weights(variables["params"]), *half)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected)


def test_shapes_are_those_of_the_released_program():
    old, new = _pair()
    params = jax.eval_shape(Aggregation().init, jax.random.key(0), old, new)["params"]
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    half, quarter = CHANNELS // 2, CHANNELS // 4
    narrow = {
        f"extract/{name}/{leaf}": shape
        for name in ("theta", "phi", "g")
        for leaf, shape in (
            ("kernel", (1, 1, 1, CHANNELS, half)),
            ("bias", (half,)),
        )
    }
    assert shapes == narrow | {
        "extract/out/kernel": (1, 1, 1, half, CHANNELS),
        "extract/out/bias": (CHANNELS,),
        "enhance/rate0/kernel": (1, 1, 1, CHANNELS, quarter),
        "enhance/rate2/kernel": (1, 3, 3, CHANNELS, quarter),
        "enhance/rate4/kernel": (1, 3, 3, CHANNELS, quarter),
        "enhance/rate6/kernel": (1, 3, 3, CHANNELS, quarter),
        "enhance/merge/kernel": (1, 3, 3, CHANNELS, CHANNELS),
        "squeeze/kernel": (2, 3, 3, CHANNELS, CHANNELS),
        "squeeze/bias": (CHANNELS,),
    }


def test_kernels_begin_with_a_third_of_the_variance_that_keeps_the_scale():
    x = jnp.zeros((1, 4, 4, 64))
    params = Aggregation().init(jax.random.key(0), x, x)["params"]
    kernel = params["enhance"]["merge"]["kernel"]
    fan_in = kernel[..., 0].size
    np.testing.assert_allclose(kernel.var() * fan_in, 1 / 3, rtol=0.02)
    assert np.abs(kernel).max() <= fan_in**-0.5 * (1 + 1e-6)
    assert params["extract"]["out"]["kernel"].any()


def test_every_parameter_matters():
    old, new = _pair()
    variables = randomized(Aggregation(), old, new)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sin(Aggregation().apply({"params": params}, old, new)).sum()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path


def test_folded_networks_take_fewer_products():
    old, new = (_random(1, 9, 5, 16, seed=seed) for seed in (0, 1))
    variables = randomized(Aggregation(), old, new)
    plain, folded = (
        str(
            jax.make_jaxpr(Aggregation(Numerics(folded=each)).apply)(
                variables, old, new
            )
        )
        for each in (False, True)
    )
    assert folded.count("conv_general_dilated") > plain.count("conv_general_dilated")
