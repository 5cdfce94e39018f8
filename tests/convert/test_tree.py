"""Flat and nested trees."""

import pytest

from vos_jax.convert.tree import flatten, unflatten

TREE = {"params": {"a": {"kernel": 1, "bias": 2}, "b": 3}, "stats": {"a": 4}}


def test_flattening_names_every_leaf_by_its_path():
    assert flatten(TREE) == {
        ("params", "a", "kernel"): 1,
        ("params", "a", "bias"): 2,
        ("params", "b"): 3,
        ("stats", "a"): 4,
    }


def test_unflattening_is_the_inverse():
    assert unflatten(flatten(TREE)) == TREE


@pytest.mark.parametrize("first", [True, False])
def test_a_path_through_a_leaf_is_refused_in_any_order(first):
    paths = [("a",), ("a", "b")]
    with pytest.raises(ValueError, match="a/b goes through a leaf"):
        unflatten(dict.fromkeys(paths if first else paths[::-1], 1))


@pytest.mark.parametrize("key", ["a/b", "", 3])
def test_a_key_that_cannot_be_part_of_a_path_is_refused(key):
    with pytest.raises(ValueError, match="cannot be part of a path"):
        flatten({"params": {key: 1}})
