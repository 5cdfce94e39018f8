"""Seconds of a method's stages, each by itself, on videos of a data set's size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax import evaluation
from vos_jax.bench.model import ModelOptions, bench_model
from vos_jax.bench.speed import device, number_of_objects, type_of
from vos_jax.errors import InputError
from vos_jax.inference.dataset import open_sequence
from vos_jax.inference.segmenter import working_size
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods.base import config_text
from vos_jax.methods.weights import fingerprint, load_model
from vos_jax.reports.ablation import Setting, Split

_MEMORY_FRAMES = 5


class StageTimes(NamedTuple):
    """What stages take.

    Attributes:
      seconds: By the names that `vos-jax bench model` gives them.
      type: What was computed in.
      device: That computed.
    """

    seconds: dict[str, float]
    type: str
    device: str


def time_stages(
    method: str, setting: Setting, split: Split, file: Path, size: int | None = None
) -> StageTimes:
    """Times stages with as many objects as a video of a split has in the mean.

    Frames have the size of the first video's, and the memory holds five of them. What
    `file` has of the same network, size and device is read, and written otherwise.

    Args:
      method: Its name, unless the setting has one.
      setting: Whose stages.
      split: Of the videos.
      file: Of the times.
      size: Shorter side to compute at.

    Raises:
      InputError: As `read_dataset` and `load_model`; the file is damaged.
    """
    name = setting.method or method
    model, variables = load_model(name, setting.weights, **setting.changes)
    opened = [open_sequence(x) for x in evaluation.read_dataset(*split)]
    objects = [number_of_objects(given) for _, given in opened]
    height, width = working_size(*opened[0][0].size, size)
    options = ModelOptions(
        height=height,
        width=width,
        objects=(round(sum(objects) / len(objects)),),
        memory_frames=(_MEMORY_FRAMES,),
        lengths=(),
    )
    timed = {
        "method": config_text(model.config),
        "weights": fingerprint(name, setting.weights),
        "size": [height, width],
        "objects": list(options.objects),
        "device": device(),
    }
    seconds = _stored(file, timed)
    if seconds is None:
        rows = bench_model(model, variables, options).stages
        seconds = {x.stage: x.time_ms / 1e3 for x in rows if x.time_ms is not None}
        make_folder(file.parent)
        with atomic_path(file) as temporary:
            content = {"timed": timed, "seconds": seconds}
            temporary.write_text(json.dumps(content, indent=1) + "\n")
    return StageTimes(seconds, type_of(model), device())


def _stored(file: Path, timed: Mapping[str, Any]) -> dict[str, float] | None:
    """What is known of what is to be timed."""
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        seconds: dict[str, float] = content["seconds"]
        return seconds if content["timed"] == timed else None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged; remove it") from error
