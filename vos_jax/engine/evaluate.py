"""Inference over a data set, in the layout that scoring and servers want."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.engine.files import FileRun
from vos_jax.engine.out_of_memory import memory_told, segmenting_remedy
from vos_jax.errors import InputError
from vos_jax.evaluation import Sequence, given_labels
from vos_jax.media import atomic_path, open_frames
from vos_jax.methods.base import Method

_RUN_FILE = "run.json"


class Progressed(NamedTuple):
    """One sequence done: its name, frames segmented, and frames/s (NaN if none)."""

    name: str
    frames: int
    frames_per_second: float


def segment_dataset(
    method: Method,
    variables: Mapping[str, Any],
    sequences: tuple[Sequence, ...],
    out: Path,
    *,
    weights_id: str = "",
    size: int | None = None,
    flip: bool = False,
    tell: Callable[[Progressed], None] | None = None,
    remedy: str | None = None,
) -> list[Progressed]:
    """Writes `out/<sequence>/<frame>.png` for every sequence.

    Sequences whose masks are all there are left alone, so an interrupted run goes on
    where it was.

    Args:
      method: From `load_model`.
      variables: Its weights.
      sequences: From `read_dataset`.
      out: Folder of the masks.
      weights_id: Names the weights.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
      tell: Called with each sequence that was not there yet, as soon as it is.
      remedy: What a user can do when memory runs out; by default, what options there
        are for it.

    Raises:
      InputError: `out` holds masks of other settings, or the input is unusable.
    """
    settings = {
        "method": repr(method.config),
        "weights": weights_id,
        "size": size,
        "flip": flip,
    }
    _claim(out, settings)
    longest = max(len(sequence.frames) for sequence in sequences)
    done = []
    for number, sequence in enumerate(sequences, 1):
        folder = out / sequence.name
        if all((folder / f"{stem}.png").exists() for stem in sequence.outputs):
            done.append(Progressed(sequence.name, 0, float("nan")))
            continue
        source = open_frames(sequence.frames[0].parent)
        index_of = {name: index for index, name in enumerate(source.names)}
        given = given_labels(sequence)
        run = FileRun(
            source=source,
            given={index_of[stem]: labels for stem, labels in given.items()},
            masks=folder,
            size=size,
            flip=flip,
            resume=True,
            wanted=frozenset(sequence.outputs),
            # One capacity for all: sequences of one frame size share their programs.
            reserve=longest,
            label=f"{sequence.name} ({number}/{len(sequences)})",
        )
        with memory_told(sequence.name, remedy or segmenting_remedy(method)):
            report = run(method, variables, weights_id)
        done.append(Progressed(sequence.name, report.frames, report.frames_per_second))
        if tell is not None:
            tell(done[-1])
    return done


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Keeps masks of different settings out of one folder."""
    path = out / _RUN_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: damaged; use another --out") from error
        if not isinstance(found, dict):
            raise InputError(f"{path}: damaged; use another --out")
        if found != settings:
            differing = ", ".join(k for k in settings if found.get(k) != settings[k])
            raise InputError(
                f"{out}: holds masks made with another {differing}; use another --out"
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from error
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(settings))
