"""Seconds of a method's stages, each by itself, on videos of a data set's size."""

import json
from pathlib import Path
from typing import NamedTuple

from vos_jax import evaluation
from vos_jax.bench.model import ModelOptions, bench_model
from vos_jax.bench.speed import device, type_of
from vos_jax.errors import InputError
from vos_jax.inference.checks import objects_in
from vos_jax.inference.dataset import open_sequence
from vos_jax.inference.segmenter import working_size
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods.weights import load_model
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
    `file` has of this device is read, and written otherwise.

    Args:
      method: Its name, unless the setting has one.
      setting: Whose stages.
      split: Of the videos.
      file: Of the times.
      size: Shorter side to compute at.

    Raises:
      InputError: As `read_dataset` and `load_model`; the file is damaged.
    """
    model, variables = load_model(
        setting.method or method, setting.weights, **setting.changes
    )
    here = {"type": type_of(model), "device": device()}
    if file.exists():
        try:
            found = StageTimes(**json.loads(file.read_text()))
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}: damaged; remove it") from error
        if (found.type, found.device) == (here["type"], here["device"]):
            return found
    sequences = evaluation.read_dataset(*split)
    opened = [open_sequence(sequence) for sequence in sequences]
    objects = [
        len({x for labels in given.values() for x in objects_in(labels)})
        for _, given in opened
    ]
    height, width = working_size(*opened[0][0].size, size)
    options = ModelOptions(
        height=height,
        width=width,
        objects=(round(sum(objects) / len(objects)),),
        memory_frames=(_MEMORY_FRAMES,),
        lengths=(),
    )
    rows = bench_model(model, variables, options).stages
    seconds = {x.stage: x.time_ms / 1e3 for x in rows if x.time_ms is not None}
    make_folder(file.parent)
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps({"seconds": seconds, **here}, indent=1) + "\n")
    return StageTimes(seconds, **here)
