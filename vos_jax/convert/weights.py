"""Weights files: one `.safetensors` with the variables and what they belong to.

Leaves are named by their path joined with "/", the collection first:
`params/query_encoder/conv1/kernel`. The metadata holds `format`, `method`, and as JSON
`config` and `notes`.
"""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from vos_jax.convert.finite import check_values
from vos_jax.convert.reason import one_line
from vos_jax.convert.safetensors_file import (
    FORMAT_FAMILY,
    in_one_order,
    open_safetensors,
)
from vos_jax.convert.tree import flatten, unflatten
from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path

FORMAT = f"{FORMAT_FAMILY}1"
"""The format and its version, as the metadata of a file names it."""


class Metadata(NamedTuple):
    """What a weights file says about itself."""

    method: str
    config: dict[str, Any]
    notes: dict[str, str]


class Weights(NamedTuple):
    """The content of a weights file; `variables` is a nested dict of NumPy arrays."""

    variables: dict[str, Any]
    method: str
    config: dict[str, Any]
    notes: dict[str, str]


def save_weights(
    path: str | PathLike[str],
    variables: Mapping[str, Any],
    *,
    method: str,
    config: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes the variables to `path`, whole or not at all; an old file is replaced.

    Args:
      path: Must end in `.safetensors`.
      variables: Nested mappings of arrays, NumPy or JAX: float, integer or bool.
      method: The name the method is created by.
      config: What JSON can hold; tuples come back as lists.
      notes: Free text for people: where the weights come from, their licence.

    Raises:
      InputError: The ending is another, a value is not finite, a variance negative,
        or the file cannot be written.
      ValueError: The variables are empty or a leaf is not such an array; the config
        is not JSON.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise InputError(
            f"{path}: weights are written as .safetensors; end the name with it"
        )
    metadata = {
        "format": FORMAT,
        "method": method,
        "config": _to_json(config),
        "notes": _to_json(notes or {}),
    }
    arrays = _named_arrays(variables)
    check_values(
        f"{path}: not written",
        arrays.items(),
        _is_variance,
        "take the weights of an earlier step",
    )
    content = in_one_order(safetensors.numpy.save(arrays, metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: str | PathLike[str]) -> Weights:
    """Reads a file written by `save_weights`.

    Raises:
      InputError: The file is missing, damaged, of another format or version, or a
        value is not finite or a variance negative.
    """
    path = Path(path)
    with open_safetensors(path) as handle:
        metadata = _parse_metadata(path, handle.metadata())
        try:
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}
            variables = unflatten(
                {tuple(name.split("/")): array for name, array in arrays.items()}
            )
        # NumPy lacks some of the format's types; which error says so varies by version.
        except (AttributeError, TypeError, ValueError) as error:
            raise _damaged(path, str(error)) from error
    check_values(
        str(path), arrays.items(), _is_variance, "convert, export or train them again"
    )
    return Weights(variables, *metadata)


def read_metadata(path: str | PathLike[str]) -> Metadata:
    """Reads what a weights file says about itself, and no array.

    Raises:
      InputError: As `load_weights`.
    """
    path = Path(path)
    with open_safetensors(path) as handle:
        return _parse_metadata(path, handle.metadata())


def _to_json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), sort_keys=True, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"{value!r} cannot be kept as JSON: {error}") from error


def _named_arrays(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {
        # The library writes the buffer as it lies in memory, whatever its strides.
        "/".join(path): np.asarray(leaf, order="C")
        for path, leaf in flatten(variables).items()
    }
    if not arrays:
        raise ValueError("there are no variables to save; initialise or convert some")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} has type {array.dtype}, which a weights file does not hold; "
                "cast it to float32"
            )
    return arrays


def _is_variance(name: str) -> bool:
    return name.startswith("batch_stats/") and name.endswith("/var")


def _parse_metadata(path: Path, metadata: dict[str, str] | None) -> Metadata:
    metadata = metadata or {}
    found = metadata.get("format", "")
    if not found.startswith(FORMAT_FAMILY):
        raise InputError(
            f"{path}: a safetensors file, but not one of vos_jax's weights (its "
            "metadata does not say so); if it holds published weights, use "
            "`vos-jax convert METHOD SRC DST.safetensors`"
        )
    if found != FORMAT:
        raise InputError(
            f"{path}: written in format {found!r}, but this version reads {FORMAT!r}; "
            "update vos_jax, or convert the published weights again"
        )
    method = metadata.get("method", "")
    if not method:
        raise _damaged(path, "its metadata names no method")
    return Metadata(
        method,
        _parse_json(path, metadata, "config"),
        _parse_json(path, metadata, "notes"),
    )


def _parse_json(path: Path, metadata: dict[str, str], key: str) -> dict[str, Any]:
    # Notes are optional; without a configuration nothing can be built.
    text = metadata.get(key, "{}" if key == "notes" else "")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the {key!r} of its metadata is not JSON") from error
    if not isinstance(value, dict):
        raise _damaged(path, f"the {key!r} of its metadata is not a JSON object")
    return value


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: damaged weights file: {one_line(reason)}; "
        "download it or convert it again"
    )
