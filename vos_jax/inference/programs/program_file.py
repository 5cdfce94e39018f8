"""A program's two files: what `jax.export` serialises, and beside it what it is.

`FILE` is for JAX, `FILE.json` for people and for whoever checks what it is called with;
with weights as an argument there is `FILE.npz`, too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path

FORMAT = 1
"""Of the description."""

_AGAIN = "export it again with `vos-jax export-program`"

_NEEDED: Mapping[str, type] = {
    "what": str,
    "sha256": str,
    "platforms": list,
    "jax": str,
    "calling_convention": int,
    "conditions": list,
    "arguments": list,
    "results": list,
}


def description_path(path: str | Path) -> Path:
    """Where the description of a program is."""
    return Path(f"{path}.json")


def weights_path(path: str | Path) -> Path:
    """Where the weights are that a program takes as an argument."""
    return Path(f"{path}.npz")


def write_program(
    path: str | Path,
    content: bytes,
    description: Mapping[str, Any],
    weights: Mapping[str, np.ndarray] | None,
) -> dict[str, Any]:
    """Writes a program's files; each is whole or not there.

    Returns:
      The description as it is written.

    Raises:
      InputError: They cannot be written.
    """
    described = {
        "format": FORMAT,
        **description,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(described, indent=1, default=str)
    if weights is not None:
        # By a file and not by a name, to which an ending would be added.
        with atomic_path(weights_path(path)) as target, target.open("wb") as file:
            np.savez(file, **weights)  # type: ignore[arg-type]
    with atomic_path(path) as target:
        target.write_bytes(content)
    with atomic_path(description_path(path)) as target:
        target.write_text(f"{text}\n")
    read: dict[str, Any] = json.loads(text)
    return read


def read_program(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """A program's bytes, and its description, which are of one another.

    Raises:
      InputError: One is missing or damaged, or they do not belong together.
    """
    beside = description_path(path)
    content, text = _bytes(path), _bytes(beside)
    try:
        description = json.loads(text)
    except ValueError as error:
        raise InputError(f"{beside}: is damaged, it is not JSON; {_AGAIN}") from error
    if not isinstance(description, dict) or "format" not in description:
        raise InputError(f"{beside}: does not describe a program; {_AGAIN}")
    if description["format"] != FORMAT:
        raise InputError(
            f"{beside}: its format is {description['format']!r}, this version reads"
            f" {FORMAT}; {_AGAIN}"
        )
    for name, kind in _NEEDED.items():
        if not isinstance(description.get(name), kind):
            raise InputError(f"{beside}: is damaged, {name} is missing; {_AGAIN}")
    if hashlib.sha256(content).hexdigest() != description["sha256"]:
        raise InputError(
            f"{path}: is damaged, or not the program that {beside.name} describes;"
            f" copy both again, or {_AGAIN}"
        )
    return content, description


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; a program is FILE and FILE.json, keep both together"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check that it is a readable"
            " file"
        ) from error
