"""Weights files out of training runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.methods.weights import save_weights
from vos_jax.training.checkpoints import Checkpoints
from vos_jax.training.start import method_of_run, read_claim


def export_weights(
    workdir: Path,
    path: Path,
    which: int | Literal["best", "newest"] = "newest",
    half: bool = False,
) -> dict[str, Any]:
    """Writes the weights of a checkpoint, the averaged ones where there are.

    Needs neither the data nor the devices of the run, which may still be going on.

    Args:
      workdir: Of the run, of any method.
      path: The `.safetensors` to write.
      which: A step, the newest checkpoint, or the best one by validation.
      half: Store kernels in float16, as `save_weights`.

    Returns:
      Figures for the report: the `step`, `arrays` and `parameters` written.

    Raises:
      InputError: There is no run or no such checkpoint, it is damaged, or the file
        cannot be written.
    """
    begun = read_claim(workdir)
    method = method_of_run(begun)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = _find_step(checkpoints, which, workdir)
        variables = checkpoints.read_variables(step)
    write_weights(path, begun.experiment, method, variables, step, half)
    return {
        "step": step,
        "arrays": len(jax.tree.leaves(variables)),
        "parameters": sum(x.size for x in jax.tree.leaves(variables["params"])),
    }


def _find_step(checkpoints: Checkpoints, which: int | str, workdir: Path) -> int:
    if not checkpoints.steps:
        raise InputError(f"{workdir}: holds no checkpoint yet; let the run go on")
    step = {"best": checkpoints.best, "newest": checkpoints.latest}.get(
        str(which), which
    )
    if step is None:
        raise InputError(
            f"{workdir}: no checkpoint was validated, so none is the best; use newest"
        )
    if step not in checkpoints.steps:
        known = ", ".join(map(str, checkpoints.steps))
        raise InputError(
            f"{workdir}: holds no checkpoint of step {step}; it has: {known}"
        )
    return int(step)


def write_weights(
    path: Path,
    description: Mapping[str, Any],
    method: Method,
    variables: Mapping[str, Any],
    step: int,
    half: bool = False,
) -> None:
    """Writes the weights of a run.

    Args:
      path: The `.safetensors` to write.
      description: The experiment, from `describe`; kept in the file.
      method: Whose weights they are.
      variables: NumPy arrays, or jax arrays that every device has whole.
      step: Kept in the file.
      half: Store kernels in float16.

    Raises:
      InputError: The file cannot be written.
    """
    notes = {"experiment": json.dumps(description), "step": str(step)}
    name = description["method"]
    save_weights(path, name, method, on_host(variables), notes, half)


def on_host(tree: Any) -> Any:
    """NumPy copies of arrays that every device, also of other processes, has whole."""

    def copy(x: Any) -> np.ndarray:
        return np.asarray(x.addressable_data(0) if isinstance(x, jax.Array) else x)

    return jax.tree.map(copy, tree)
