"""A method that begins with what it shares with another."""

import jax
import numpy as np
import pytest

import vos_jax
from tests.methods.every import NARROW, tiny
from tests.training.initial_weights.test_grow import variables_of
from vos_jax.convert.tree import flatten
from vos_jax.data.synthetic import generate_clip
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.weights import load_weights, save_weights, shipped_weights
from vos_jax.training.initial_weights.grow import load_into_larger
from vos_jax.training.initial_weights.shared import with_shared


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "stm.safetensors"
    method = create("stm", **NARROW["stm"])
    save_weights(path, "stm", method, variables_of(method, 2.0))
    return path


def test_what_both_have_is_taken_and_the_rest_stays(stored):
    larger = variables_of(create("hmmn", **NARROW["stm"]), 1.0)
    leaves = flatten(with_shared("hmmn", larger, stored))
    assert leaves.keys() == flatten(larger).keys()
    others = {
        "query_fine_heads": 1,
        "memory_fine_heads": 1,
        # Nothing that is added to what is shared.
        "fine_convs": 0,
    }
    for place, value in leaves.items():
        np.testing.assert_array_equal(value, others.get(place[1], 2), str(place))


@pytest.mark.slow
def test_hmmn_begins_as_stm_does(tmp_path):
    stm, known = tiny("stm")
    save_weights(tmp_path / "stm.safetensors", "stm", stm, known)
    options = {"value_dim": stm.config.value_dim, "kernel_guided": False}
    hmmn, own = tiny("hmmn", **options)
    own = jax.tree.map(lambda x: 2 * x, own)
    started = with_shared("hmmn", own, tmp_path / "stm.safetensors")
    clip = generate_clip(seed=3, frames=4, size=(48, 64), objects=2)
    of_stm, of_hmmn, of_own = (
        vos_jax.segment_video(method, weights, clip.frames, clip.labels[0])
        for method, weights in ((stm, known), (hmmn, started), (hmmn, own))
    )
    np.testing.assert_array_equal(of_hmmn, of_stm)
    assert (of_own != of_stm).any()


def test_networks_without_a_common_part_are_told(stored):
    variables = variables_of(create("rde", **NARROW["rde"]), 1.0)
    with pytest.raises(InputError, match="'stm', of which 'rde' has no part"):
        with_shared("rde", variables, stored)


def test_a_network_that_ships_is_found_by_its_name():
    shipped = flatten(load_weights(shipped_weights("stm-tiny")))
    larger = variables_of(create("lcm-tiny"), 0.0)
    for given in (
        with_shared("lcm-tiny", larger, "stm-tiny"),
        load_into_larger("lcm-tiny", larger, "stm-tiny", jax.random.key(0)),
    ):
        leaves = flatten(given)
        for place, value in shipped.items():
            np.testing.assert_array_equal(leaves[place], value)
