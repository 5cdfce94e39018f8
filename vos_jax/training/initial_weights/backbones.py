"""ImageNet encoders as a start for training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Array

from vos_jax.convert.tree import TreePath, flatten, unflatten
from vos_jax.convert.weights import read_metadata
from vos_jax.errors import InputError
from vos_jax.methods.weights import BACKBONES, load_weights, weights_file
from vos_jax.training.initial_weights.grow import widen

_PARTS = "stem", "trunk"
_QUERY = "query_encoder"


def with_backbone(
    variables: Mapping[str, Any], path: str | Path, key: Array
) -> dict[str, Any]:
    """Puts a backbone into every encoder that is such a ResNet.

    An encoder is any group with a `stem` and a `trunk`. What ImageNet does not know
    stays as it is: biases of convolutions, kernels for masks that are arrays of their
    own. Masks that share the image's kernel begin orthogonal there.

    Args:
      variables: Of a method; not changed.
      path: `.safetensors` that `vos-jax convert resnet50` and the like have written; or
        of a method, or its name for weights that ship: then its query encoder.
      key: Of what begins orthogonal.

    Raises:
      InputError: The file is none of these, or no encoder is of its kind.
    """
    path = weights_file("", path)
    kind = read_metadata(path).method
    backbone, called = flatten(load_weights(path)), f"a {kind}"
    if kind not in BACKBONES:
        backbone, called = _query_encoder(backbone), f"the ResNet of {kind!r}"
    if not backbone:
        raise InputError(
            f"{path}: weights of {kind!r}, not of a backbone nor of a method with a"
            f" {_QUERY}; make some with `vos-jax convert"
            f" {next(reversed(BACKBONES))} SOURCE TARGET`"
        )
    leaves = flatten(variables)
    fitting = [name for name in _encoders(leaves) if _fits(leaves, name, backbone)]
    if not fitting:
        raise InputError(f"{path}: no encoder of the method is {called} of that width")
    for name in fitting:
        for leaf, value in backbone.items():
            place = _place(leaves, name, leaf)
            leaves[place] = widen(leaves[place], value, key)
    return unflatten(leaves)


def _query_encoder(leaves: Mapping[TreePath, Any]) -> dict[TreePath, Any]:
    return {
        (path[0], *path[2:]): value
        for path, value in leaves.items()
        if path[1] == _QUERY and path[2] in _PARTS
    }


def _encoders(leaves: Mapping[TreePath, Any]) -> Iterator[str]:
    params = [path[1:] for path in leaves if path[0] == "params"]
    parts: dict[str, set[str]] = {}
    for path in params:
        parts.setdefault(path[0], set()).add(path[1])
    return (name for name, found in parts.items() if set(_PARTS) <= found)


def _place(leaves: Mapping[TreePath, Any], name: str, leaf: TreePath) -> TreePath:
    """Where a backbone's leaf belongs in an encoder."""
    collection, *rest = leaf
    place = (collection, name, *rest)
    if rest[:2] == ["stem", "conv"] and place not in leaves:
        # Image and masks have kernels of their own there.
        return (collection, name, "stem", "image", *rest[2:])
    return place


def _fits(
    leaves: Mapping[TreePath, Any], name: str, backbone: Mapping[TreePath, Any]
) -> bool:
    """Whether an encoder has the backbone's leaves and none beside them but biases."""
    places = {_place(leaves, name, leaf): value for leaf, value in backbone.items()}
    beside = {
        place
        for place in leaves
        if place[1:3] == (name, "trunk") and place[-2:] != ("conv", "bias")
    } - places.keys()
    return not beside and all(
        place in leaves and _takes(leaves[place].shape, value.shape)
        for place, value in places.items()
    )


def _takes(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether the shapes agree, except for input channels beyond those of the image."""
    wider = len(old) == 4 and new[2] == 3 and old[2] > 3
    return old == new or (wider and (*old[:2], old[3]) == (*new[:2], new[3]))
