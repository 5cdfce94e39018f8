"""Weights of another method as a start, as far as the networks have parts in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_jax.convert.tree import flatten, unflatten
from vos_jax.convert.weights import read_metadata
from vos_jax.errors import InputError
from vos_jax.methods.weights import load_weights, weights_file


def with_shared(
    name: str, variables: Mapping[str, Any], path: str | Path
) -> dict[str, Any]:
    """Puts stored arrays wherever the network has one of that name and shape.

    So HMMN begins with STM's encoders, keys and decoder, and its fine reads at random.

    Args:
      name: Of the method.
      variables: Of its network; not changed.
      path: `.safetensors` of another method, or its name for weights that ship.

    Raises:
      InputError: The file is damaged, or the networks share no part.
    """
    path = weights_file("", path)
    leaves, stored = flatten(variables), flatten(load_weights(path))
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
    return unflatten({**leaves, **shared})
