"""A method that begins with what it shares with another."""

import jax
import numpy as np
import pytest

from tests.methods.every import NARROW
from tests.training.initial_weights.test_grow import variables_of
from vos_jax.convert.tree import flatten
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
    of_stm = flatten(variables_of(create("stm", **NARROW["stm"]), 2.0))
    for place, value in leaves.items():
        np.testing.assert_array_equal(value, 2 if place in of_stm else 1)
    taken = {place[1] for place in leaves if place in of_stm}
    assert {"query_encoder", "memory_encoder", "query_head", "memory_head"} <= taken
    assert {place[1] for place in leaves if place not in of_stm} >= {"skip_convs"}


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
