"""Weights of another method as a start, as far as the networks have parts in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from vos_jax.convert.tree import TreePath, flatten, is_below, unflatten
from vos_jax.convert.weights import read_metadata
from vos_jax.errors import InputError
from vos_jax.methods import find_entry
from vos_jax.methods.weights import load_weights, weights_file


def with_shared(
    name: str, variables: Mapping[str, Any], path: str | Path
) -> dict[str, Any]:
    """Puts stored arrays wherever the network has one of that name and shape.

    Names may differ as the method's `Entry.aliases` say, and its `additions` begin with
    zeros. So HMMN begins as STM does, and learns to add its fine reads.

    Args:
      name: Of the method.
      variables: Of its network; not changed.
      path: `.safetensors` of another method, or its name for weights that ship.

    Raises:
      InputError: The file is damaged, or the networks share no part.
    """
    path = weights_file("", path)
    entry = find_entry(name)
    leaves = flatten(variables)
    stored = {
        _named(place, entry.aliases): value
        for place, value in flatten(load_weights(path)).items()
    }
    shared = {
        place: value
        for place, value in stored.items()
        if place in leaves and leaves[place].shape == value.shape
    }
    parts = {place[:2] for place in shared}
    whole = parts - {place[:2] for place in stored.keys() - shared.keys()}
    if not whole:
        other = read_metadata(path).method
        raise InputError(
            f"{path}: weights of {other!r}, of which {name!r} has no part in that size;"
            " begin with those of a method that shares one"
        )
    silent = {
        place: jnp.zeros_like(value)
        for place, value in leaves.items()
        if place not in shared
        and any(is_below(place, part) for part in entry.additions)
    }
    return unflatten({**leaves, **shared, **silent})


def _named(place: TreePath, aliases: Mapping[str, str]) -> TreePath:
    """Where the network has what another one has at `place`."""
    for there, here in aliases.items():
        if is_below(place, there):
            rest = place[1 + len(there.split("/")) :]
            return (place[0], *here.split("/"), *rest)
    return place
