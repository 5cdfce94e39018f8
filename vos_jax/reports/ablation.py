"""What settings of a method are worth: tables whose rows outlive an interrupt."""

import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from vos_jax import evaluation
from vos_jax.bench.speed import (
    SpeedRow,
    Timed,
    VideoSpeed,
    chosen_sequences,
    device,
    speed_rows,
    time_sequences,
)
from vos_jax.errors import InputError
from vos_jax.inference.dataset import Progressed, check_sequences, segment_dataset
from vos_jax.inference.demo import HELD_OUT, write_demo_data
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods.base import Method, config_text
from vos_jax.methods.inputs import open_inputs
from vos_jax.methods.weights import fingerprint, load_model

_Speeds = tuple[SpeedRow, ...]
_Known = TypeVar("_Known")
_Key = TypeVar("_Key")
_Table = TypeVar("_Table")


class Split(NamedTuple):
    """A part of a data set: arguments of `read_dataset` and `score`.

    Attributes:
      dataset: "davis2016", "davis2017" or "youtube-vos".
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
      method: Its name; None for the one whose settings are compared.
      inputs: What else it takes with every frame, as for `segment_dataset`.
      temporal: Temporal stability is asked for, of DAVIS 2016.
    """

    changes: Mapping[str, Any]
    weights: Path | None = None
    method: str | None = None
    inputs: Path | None = None
    temporal: bool = False


class Measured(NamedTuple):
    """What a setting is worth.

    Attributes:
      j_and_f: Over all objects of a split; in [0, 1], as the next two.
      j: Region similarity.
      f: Contour accuracy.
      frames_per_s: From files to files; None where every video is too short to tell.
      t: Temporal stability, where it was asked for; lower is better.
      speeds: Warm, from a frame on the host to its labels on the host, see
        `vos_jax.bench.speed`; empty where nothing was timed.
    """

    j_and_f: float
    j: float
    f: float
    frames_per_s: float | None
    t: float | None = None
    speeds: tuple[SpeedRow, ...] = ()


class Packed(NamedTuple):
    """What there is of a setting whose scores a server knows.

    Attributes:
      archive: For the server.
      speeds: As of `Measured`.
    """

    archive: Path
    speeds: tuple[SpeedRow, ...] = ()


class SettingFolder:
    """Masks, speeds and scores of one setting, in a folder.

    The masks are in `masks/`. `figures.json` holds frames and frames/s of each
    sequence, what their frames take when nothing is read or written, and once all of
    them are segmented the scores.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what is there.

        Raises:
          InputError: The folder cannot be made, or its figures are damaged.
        """
        self._masks, self._file = folder / "masks", make_folder(folder) / "figures.json"
        self._speeds: dict[str, tuple[int, float]] = {}
        self._scores: dict[str, float] = {}
        self._timed: dict[str, dict[str, VideoSpeed]] = {}
        if self._file.exists():
            try:
                found = json.loads(self._file.read_text())
                self._speeds, self._scores = dict(found["speeds"]), found["scores"]
                self._timed = {
                    computed: {name: VideoSpeed(*x) for name, x in timed.items()}
                    for computed, timed in found.get("timed", {}).items()
                }
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
        for timed in self._timed.values():
            timed.pop(done.name, None)
        self._write()

    def time(
        self,
        method: Method,
        variables: Mapping[str, Any],
        sequences: Iterable[evaluation.Sequence],
        **options: Any,
    ) -> tuple[SpeedRow, ...]:
        """Times sequences by `time_sequences`, but those that this device has timed.

        Returns:
          Their speeds by numbers of objects.
        """
        sequences = tuple(sequences)
        if not sequences:
            return ()
        about = (device(), options.get("size"), config_text(method.config))
        known = self._timed.setdefault("; ".join(map(str, about)), {})
        left = [sequence for sequence in sequences if sequence.name not in known]
        if left:
            for name, speed in time_sequences(method, variables, left, **options):
                known[name] = speed
                self._write()
        speeds = (known[sequence.name] for sequence in sequences)
        return tuple(speed_rows(method, speeds))

    def measure(self, split: Split, temporal: bool = False) -> Measured:
        """Scores of the split, all of which is segmented, and the speed."""
        if not self._scores or (temporal and "T-Mean" not in self._scores):
            report = evaluation.score(*split, self._masks, temporal=temporal)
            self._scores = report.summary()
            self._write()
        both, j, f = (self._scores[f"{name}-Mean"] for name in ("J&F", "J", "F"))
        return Measured(both, j, f, self._rate, self._scores.get("T-Mean"))

    def pack(self, split: Split, sequences: tuple[evaluation.Sequence, ...]) -> Path:
        """Packs the masks, all of which are there, for the server that scores them."""
        archive = self._file.with_name("submission.zip")
        return evaluation.write_submission(
            self._masks, sequences, archive, split.dataset
        )

    @property
    def _rate(self) -> float | None:
        """Frames/s over all sequences that are long enough to have one."""
        seconds = sum(frames / rate for frames, rate in self._speeds.values())
        frames = sum(frames for frames, _ in self._speeds.values())
        return frames / seconds if seconds else None

    def _write(self) -> None:
        figures = {
            "speeds": self._speeds,
            "timed": self._timed,
            "scores": self._scores,
        }
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n")


def measure_settings(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    out: Path,
    *,
    size: int | None = None,
    timed: Timed = "none",
) -> Iterator[tuple[str, Measured]]:
    """Evaluates settings one by one; what was done before is only read.

    All of them are loaded at the call: what does not fit is told before any work.

    Args:
      method: Its name.
      settings: By the names of their folders.
      split: To segment and score; its annotations are there.
      out: Where the folders are.
      size: Shorter side to compute at.
      timed: Which sequences are segmented once more, to time their frames.

    Returns:
      Name and figures of each setting, as soon as they are known.

    Raises:
      InputError: As `read_dataset`, `load_model` and `segment_dataset`.
    """
    sequences = _read_and_check(method, settings, split)

    def finish(folder: SettingFolder, setting: Setting, speeds: _Speeds) -> Measured:
        figures = folder.measure(split, setting.temporal)
        return figures._replace(speeds=speeds)

    return _evaluate(method, settings, split, sequences, out, size, timed, finish)


def pack_settings(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    out: Path,
    *,
    size: int | None = None,
    timed: Timed = "none",
) -> Iterator[tuple[str, Packed]]:
    """As `measure_settings`, for a split that a server scores.

    Returns:
      Name and archive of each setting, `out/<name>/submission.zip`.
    """
    sequences = _read_and_check(method, settings, split)

    def finish(folder: SettingFolder, setting: Setting, speeds: _Speeds) -> Packed:
        return Packed(folder.pack(split, sequences), speeds)

    return _evaluate(method, settings, split, sequences, out, size, timed, finish)


def _read_and_check(
    method: str, settings: Mapping[str, Setting], split: Split
) -> tuple[evaluation.Sequence, ...]:
    """Checks weights and inputs of all settings, each file of inputs once."""
    sequences = evaluation.read_dataset(*split)
    checked: set[Path | None] = set()
    for setting in settings.values():
        model, _ = load_model(
            setting.method or method, setting.weights, **setting.changes
        )
        if model.inputs is None or setting.inputs not in checked:
            reader = open_inputs(model.inputs, setting.inputs)
            if reader is not None:
                check_sequences(reader, sequences)
                checked.add(setting.inputs)
    return sequences


def _evaluate(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    sequences: tuple[evaluation.Sequence, ...],
    out: Path,
    size: int | None,
    timed: Timed,
    finish: Callable[[SettingFolder, Setting, _Speeds], _Known],
) -> Iterator[tuple[str, _Known]]:
    """Segments by each setting, times it, and finishes its folder."""
    chosen = chosen_sequences(sequences, timed)
    longest = max(len(sequence.frames) for sequence in sequences)
    for number, (name, setting) in enumerate(settings.items(), 1):
        print(f"{name} ({number}/{len(settings)})", file=sys.stderr, flush=True)
        own = setting.method or method
        folder = SettingFolder(out / name)
        model = load_model(own, setting.weights, **setting.changes)
        common: dict[str, Any] = {"inputs": setting.inputs, "size": size}
        folder.segment(
            *model,
            sequences,
            split=split.name,
            root=split.root,
            weights_id=fingerprint(own, setting.weights),
            **common,
        )
        speeds = folder.time(*model, chosen, reserve=longest, **common)
        # A process has no room for the programs of hundreds of settings and sizes.
        jax.clear_caches()
        yield name, finish(folder, setting, speeds)


def generated_split(
    folder: Path,
    clips: int,
    theme: str = "shapes",
    frames: int | None = None,
    seed: int = HELD_OUT,
) -> Split:
    """Writes held-out generated clips, always the same ones.

    Args:
      folder: Where to.
      clips: How many.
      theme: What they show.
      frames: Of each; 24 by default.
      seed: `HELD_OUT`, or a larger number for a further set of clips.

    Raises:
      InputError: The folder cannot be made, or there is no such theme.
    """
    write_demo_data(make_folder(folder), clips, theme, frames, seed)
    return Split("davis2017", folder, "demo")


def tables_as_known(
    tables: Mapping[_Table, Collection[_Key]], found: Iterable[tuple[_Key, _Known]]
) -> Iterator[tuple[_Table, Mapping[_Key, _Known]]]:
    """Each table as soon as its settings are known.

    Args:
      tables: The settings of each, by its number.
      found: Settings one by one, with what is known of them.

    Yields:
      The number of a table, and what is known of all settings so far.
    """
    known: dict[_Key, _Known] = {}
    left = dict(tables)
    for key, figures in found:
        known[key] = figures
        for number, keys in list(left.items()):
            if known.keys() >= set(keys):
                del left[number]
                yield number, known
