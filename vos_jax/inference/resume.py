"""The state of an interrupted run on disk, so that it can go on exactly there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.media import atomic_path

# Of the file, and of what a state is made of: raised when either changes.
_FORMAT = 1

_START_OVER = "run without --resume"


class Saved(NamedTuple):
    """A state and where it stands.

    Attributes:
      position: Number of frames done.
      views: How many states there are; none after the last frame.
      leaves: Their arrays on the host, in the order of the tree.
    """

    position: int
    views: int
    leaves: list[np.ndarray]


def save(
    path: Path, position: int, views: tuple[State, ...], run: Mapping[str, Any]
) -> None:
    """Writes the state, whole or not at all; bytes as they are, whatever the type."""
    leaves = jax.device_get(jax.tree.leaves(views))
    arrays = {
        f"leaf{i}": np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8)
        for i, x in enumerate(leaves)
    }
    header = {
        "format": _FORMAT,
        "position": position,
        "run": dict(run),
        "views": len(views),
        "leaves": [[str(x.dtype), list(x.shape)] for x in leaves],
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]


def load(path: Path, run: Mapping[str, Any], start_over: str = _START_OVER) -> Saved:
    """Reads a state that the same run has saved.

    Args:
      path: The file.
      run: What identifies the run: input, masks, weights, options.
      start_over: What a user does who does not want to go on.

    Raises:
      InputError: The file is damaged or belongs to a run with other settings.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            leaves = [
                np.frombuffer(file[f"leaf{i}"].tobytes(), jnp.dtype(dtype)).reshape(
                    shape
                )
                for i, (dtype, shape) in enumerate(header["leaves"])
            ]
            settings, position = dict(header["run"]), int(header["position"])
            views, written = int(header["views"]), header.get("format")
    # Which exception a damaged archive raises depends on where the damage is.
    except Exception as error:
        raise InputError(
            f"{path}: damaged; remove it and run again to start over"
        ) from error
    if written != _FORMAT:
        raise InputError(
            f"{path}: of another version of this program; {start_over} to start over"
        )
    differing = sorted(k for k in run if settings.get(k) != run[k])
    if differing:
        was = ", ".join(f"{k}={settings.get(k)!r}" for k in differing)
        raise InputError(
            f"{path}: of a run with other settings ({was}); give the same ones, or"
            f" {start_over} to start over"
        )
    return Saved(position, views, leaves)
