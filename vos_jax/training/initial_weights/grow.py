"""Weights of a network as a start for a larger one, of its method or one beyond it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vos_jax.convert.tree import flatten, unflatten
from vos_jax.convert.weights import read_metadata
from vos_jax.errors import InputError
from vos_jax.methods import find_entry, stored_name
from vos_jax.methods.weights import load_weights, weights_file


def load_into_larger(
    name: str, variables: Mapping[str, Any], path: str | Path, key: Array
) -> dict[str, Any]:
    """Puts stored weights into a larger network.

    Kernels may have further input channels, after those that are stored, which begin
    orthogonal, and there may be further arrays, which stay as they are. As RDE-VOS goes
    from still images to videos: one more mask as an input, and SAM. Or as LCM begins
    with STM.

    Args:
      name: Of the method.
      variables: Of the larger network; not changed.
      path: `.safetensors` of the smaller one, or its name for weights that ship.
      key: Of the further input channels.

    Raises:
      InputError: The file is damaged, of another method, or not of a smaller network.
    """
    path = weights_file("", path)
    metadata = read_metadata(path)
    own, extended = stored_name(name), find_entry(name).extends
    known = [each for each in (own, extended) if each is not None]
    if metadata.method not in known:
        raise InputError(
            f"{path}: weights of {metadata.method!r}, not of"
            f" {' or '.join(map(repr, known))}; begin with a file of that method"
        )
    leaves = flatten(variables)
    for place, value in flatten(load_weights(path)).items():
        if place not in leaves or not _fits(leaves[place].shape, value.shape):
            raise InputError(
                f"{path}: {'/'.join(place)} has no place in the network to train;"
                " change method_options, or begin with other weights"
            )
        leaves[place] = widen(leaves[place], value, key)
    return unflatten(leaves)


def _fits(new: tuple[int, ...], old: tuple[int, ...]) -> bool:
    """Whether the shapes agree, but for further inputs of a kernel."""
    if len(new) < 4:
        return new == old
    same = (*new[:-2], new[-1]) == (*old[:-2], old[-1])
    return len(new) == len(old) and same and new[-2] >= old[-2]


def widen(new: Array, old: Array, key: Array) -> Array:
    """`old` in the place of `new`, with orthogonal kernels for further input channels.

    All taps of these channels times the output channels are the matrix whose rows, or
    columns if there are fewer, are orthonormal (the released programs of STCN and
    RDE-VOS).
    """
    if new.shape == old.shape:
        return old
    further = (*new.shape[:-2], new.shape[-2] - old.shape[-2], new.shape[-1])
    taps = jax.nn.initializers.orthogonal()(key, further, jnp.float32)
    return jnp.concatenate([jnp.asarray(old), taps], axis=-2)
