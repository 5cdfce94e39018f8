"""What settings of one method are worth: a table whose rows outlive an interrupt."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax import evaluation
from vos_jax.engine.demo import write_demo_data
from vos_jax.engine.evaluate import Progressed, segment_dataset
from vos_jax.engine.model import fingerprint, load_model
from vos_jax.engine.report_table import made
from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.methods.base import Method


class Split(NamedTuple):
    """A part of a data set whose annotations are there: arguments of `score`.

    Attributes:
      dataset: "davis2016" or "davis2017".
      root: The data set's folder.
      name: Such as "val".
    """

    dataset: str
    root: Path
    name: str


class Setting(NamedTuple):
    """A way to run a method.

    Attributes:
      changes: Fields of its configuration.
      weights: `.safetensors` file; None for the weights that ship.
    """

    changes: Mapping[str, Any]
    weights: Path | None = None


class Measured(NamedTuple):
    """What a setting is worth.

    Attributes:
      j_and_f: Over all objects of a split; in [0, 1], as the next two.
      j: Region similarity.
      f: Contour accuracy.
      frames_per_s: From files to files; None where every video is too short to tell.
    """

    j_and_f: float
    j: float
    f: float
    frames_per_s: float | None


class SettingFolder:
    """Masks, speeds and scores of one setting, in a folder.

    The masks are in `masks/`. `figures.json` holds frames and frames/s of each
    sequence, and once all of them are segmented the scores.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what is there.

        Raises:
          InputError: The folder cannot be made, or its figures are damaged.
        """
        self._masks, self._file = folder / "masks", made(folder) / "figures.json"
        self._speeds: dict[str, tuple[int, float]] = {}
        self._scores: dict[str, float] = {}
        if self._file.exists():
            try:
                found = json.loads(self._file.read_text())
                self._speeds, self._scores = dict(found["speeds"]), found["scores"]
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self._file}: damaged; remove it, only speeds are lost"
                ) from error

    def segment(
        self,
        method: Method,
        variables: Mapping[str, Any],
        sequences: tuple[evaluation.Sequence, ...],
        **options: Any,
    ) -> None:
        """Segments what is not there yet, by `segment_dataset` with `options`."""
        segment_dataset(
            method, variables, sequences, self._masks, tell=self._add, **options
        )

    def _add(self, done: Progressed) -> None:
        if math.isfinite(done.frames_per_second):
            self._speeds[done.name] = (done.frames, done.frames_per_second)
        # They were those of other masks.
        self._scores = {}
        self._write()

    def measured(self, split: Split) -> Measured:
        """Scores of the split, all of which is segmented, and the speed."""
        if not self._scores:
            self._scores = evaluation.score(*split, self._masks).summary()
            self._write()
        both, j, f = (self._scores[f"{name}-Mean"] for name in ("J&F", "J", "F"))
        return Measured(both, j, f, self._rate)

    @property
    def _rate(self) -> float | None:
        """Frames/s over all sequences that are long enough to have one."""
        seconds = sum(frames / rate for frames, rate in self._speeds.values())
        frames = sum(frames for frames, _ in self._speeds.values())
        return frames / seconds if seconds else None

    def _write(self) -> None:
        figures = {"speeds": self._speeds, "scores": self._scores}
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n")


def measure_settings(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    out: Path,
    *,
    size: int | None = None,
) -> Iterator[tuple[str, Measured]]:
    """Evaluates settings one by one; what was done before is only read.

    All of them are loaded before the first one runs: what does not fit is told at once.

    Args:
      method: Its name.
      settings: By the names of their folders.
      split: To segment and score.
      out: Where the folders are.
      size: Shorter side to compute at.

    Yields:
      Name and figures of each setting, as soon as they are known.

    Raises:
      InputError: As `read_dataset`, `load_model` and `segment_dataset`.
    """
    sequences = evaluation.read_dataset(*split)
    for setting in settings.values():
        load_model(method, setting.weights, **setting.changes)
    for number, (name, setting) in enumerate(settings.items(), 1):
        print(f"{name} ({number}/{len(settings)})", file=sys.stderr, flush=True)
        folder = SettingFolder(out / name)
        folder.segment(
            *load_model(method, setting.weights, **setting.changes),
            sequences,
            weights_id=fingerprint(method, setting.weights),
            size=size,
        )
        yield name, folder.measured(split)


def generated_split(folder: Path, clips: int) -> Split:
    """Writes held-out generated clips, always the same ones."""
    write_demo_data(folder, clips)
    return Split("davis2017", folder, "demo")
