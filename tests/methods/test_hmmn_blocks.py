"""Blocks of HMMN against their formulas."""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import numpy_layers
from tests.randomized import randomized
from vos_jax.methods.hmmn.blocks import (
    Decoder,
    FineConvs,
    FineHeads,
    FineKeys,
    FineStage,
    SkipConvs,
)
from vos_jax.nn.decoder import Skips
from vos_jax.nn.resnet import Features

FEATURES = 4
STAGES = (FineStage(3, 5, 6), FineStage(2, 3, 2))


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _features(objects=1):
    return Features(
        res2=_random(objects, 8, 12, 3, seed=2),
        res3=_random(objects, 4, 6, 6, seed=1),
        res4=_random(objects, 2, 3, 9),
    )


def _decoder_inputs(objects=3):
    read = _random(objects, 2, 3, 5)
    fine = {
        3: _random(objects, 4, 6, FEATURES, seed=3),
        2: _random(objects, 8, 12, FEATURES, seed=4),
    }
    skips = Skips(
        _random(1, 4, 6, FEATURES, seed=1), _random(1, 8, 12, FEATURES, seed=2)
    )
    return read, fine, skips


@pytest.mark.parametrize(("stage", "factor"), [(3, 2), (2, 4)])
def test_a_stage_knows_its_cells(stage, factor):
    assert FineStage(stage, 1, 1).factor == factor
    assert FineStage(stage, 1, 1).name == f"res{stage}"


def test_keys_and_values_are_convolutions_of_their_stage():
    features = _features(2)
    keys, heads = FineKeys(STAGES), FineHeads(STAGES)
    key_variables = randomized(keys, features)
    head_variables = randomized(heads, features)
    found = keys.apply(key_variables, features)
    entries = heads.apply(head_variables, features)
    for stage, feature in ((3, features.res3), (2, features.res2)):
        params = key_variables["params"][f"res{stage}"]
        expected = numpy_layers.conv(feature, params)
        np.testing.assert_allclose(found[stage], expected, atol=5e-6)
        params = head_variables["params"][f"res{stage}"]
        for side in ("key", "value"):
            expected = numpy_layers.conv(feature, params[side])
            out = getattr(entries[stage], side)
            np.testing.assert_allclose(out, expected, atol=5e-6)
    assert entries[2].value.shape == (2, 8, 12, 2)


def test_skips_are_convolutions_without_a_residual_block():
    features = _features()
    variables = randomized(SkipConvs(FEATURES), features.res3, features.res2)
    skips = SkipConvs(FEATURES).apply(variables, features.res3, features.res2)
    for name, skip in (("res3", skips.skip3), ("res2", skips.skip2)):
        expected = numpy_layers.conv(getattr(features, name), variables["params"][name])
        np.testing.assert_allclose(skip, expected, atol=5e-6)


def test_a_read_of_zeros_adds_nothing():
    reads = {3: _random(2, 4, 6, 6), 2: _random(2, 8, 12, 2)}
    variables = randomized(FineConvs(STAGES, FEATURES), reads)
    out = FineConvs(STAGES, FEATURES).apply(variables, reads)
    assert out[3].shape == (2, 4, 6, FEATURES) and np.asarray(out[3]).any()
    nothing = jax.tree.map(np.zeros_like, reads)
    for x in FineConvs(STAGES, FEATURES).apply(variables, nothing).values():
        assert not np.asarray(x).any()


def _decoded(read, fine, skips, params):
    x = numpy_layers.conv(read, params["compress"]["conv"])
    x = numpy_layers.res_block(x, params["compress"]["res"])
    for stage, skip in ((3, skips.skip3), (2, skips.skip2)):
        # The read joins before the first residual block, not behind it.
        skip = skip + fine.get(stage, 0)
        skip = numpy_layers.res_block(skip, params[f"join{stage}"])
        x = numpy_layers.res_block(
            skip + numpy_layers.double(x), params[f"merge{stage}"]
        )
    return numpy_layers.conv(numpy_layers.relu(x), params["predict"])


@pytest.mark.parametrize("stages", [(3, 2), (3,), (2,), ()])
def test_the_decoder_follows_its_formula(stages):
    read, fine, skips = _decoder_inputs()
    fine = {stage: fine[stage] for stage in stages}
    variables = randomized(Decoder(FEATURES), read, fine, skips)
    expected = _decoded(read, fine, skips, variables["params"])
    out = jax.jit(Decoder(FEATURES).apply)(variables, read, fine, skips)
    assert out.shape == (3, 8, 12, 2)
    np.testing.assert_allclose(out, expected, atol=4e-5)


def test_objects_are_decoded_independently_of_each_other():
    read, fine, skips = _decoder_inputs()
    variables = randomized(Decoder(FEATURES), read, fine, skips)
    decode = jax.jit(Decoder(FEATURES).apply)
    together = decode(variables, read, fine, skips)
    for o in range(3):
        own = jax.tree.map(itemgetter(slice(o, o + 1)), (read, fine))
        np.testing.assert_allclose(
            together[o], decode(variables, *own, skips)[0], atol=4e-6
        )


def test_every_parameter_of_the_decoder_matters():
    read, fine, skips = _decoder_inputs(1)
    variables = randomized(Decoder(FEATURES), read, fine, skips)

    @jax.jit
    @jax.grad
    def gradient(params):
        out = Decoder(FEATURES).apply({"params": params}, read, fine, skips)
        return jnp.sin(out).sum()

    gradients = jax.tree.leaves(gradient(variables["params"]))
    assert all(np.asarray(g).any() and np.isfinite(g).all() for g in gradients)
