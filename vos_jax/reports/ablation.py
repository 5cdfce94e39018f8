"""What settings of a method are worth: tables whose rows outlive an interrupt."""

import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vos_jax import evaluation
from vos_jax.errors import InputError
from vos_jax.inference.dataset import Progressed, check_sequences, segment_dataset
from vos_jax.inference.demo import HELD_OUT, write_demo_data
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import open_inputs
from vos_jax.methods.weights import fingerprint, load_model
from vos_jax.runtime.text_table import text_table, write_table

_Known = TypeVar("_Known")
_Key = TypeVar("_Key")


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
    """

    changes: Mapping[str, Any]
    weights: Path | None = None
    method: str | None = None
    inputs: Path | None = None


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
        self._masks, self._file = folder / "masks", make_folder(folder) / "figures.json"
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

    def measure(self, split: Split) -> Measured:
        """Scores of the split, all of which is segmented, and the speed."""
        if not self._scores:
            self._scores = evaluation.score(*split, self._masks).summary()
            self._write()
        both, j, f = (self._scores[f"{name}-Mean"] for name in ("J&F", "J", "F"))
        return Measured(both, j, f, self._rate)

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

    All of them are loaded at the call: what does not fit is told before any work.

    Args:
      method: Its name.
      settings: By the names of their folders.
      split: To segment and score; its annotations are there.
      out: Where the folders are.
      size: Shorter side to compute at.

    Returns:
      Name and figures of each setting, as soon as they are known.

    Raises:
      InputError: As `read_dataset`, `load_model` and `segment_dataset`.
    """
    sequences = _read_and_check(method, settings, split)
    return _evaluate(
        *(method, settings, split, sequences, out, size),
        lambda folder: folder.measure(split),
    )


def pack_settings(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    out: Path,
    *,
    size: int | None = None,
) -> Iterator[tuple[str, Path]]:
    """As `measure_settings`, for a split that a server scores.

    Returns:
      Name and archive of each setting, `out/<name>/submission.zip`.
    """
    sequences = _read_and_check(method, settings, split)
    return _evaluate(
        *(method, settings, split, sequences, out, size),
        lambda folder: folder.pack(split, sequences),
    )


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
    finish: Callable[[SettingFolder], _Known],
) -> Iterator[tuple[str, _Known]]:
    """Segments by each setting, and finishes its folder."""
    for number, (name, setting) in enumerate(settings.items(), 1):
        print(f"{name} ({number}/{len(settings)})", file=sys.stderr, flush=True)
        own = setting.method or method
        folder = SettingFolder(out / name)
        folder.segment(
            *load_model(own, setting.weights, **setting.changes),
            sequences,
            split=split.name,
            root=split.root,
            weights_id=fingerprint(own, setting.weights),
            inputs=setting.inputs,
            size=size,
        )
        yield name, finish(folder)


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
    tables: Mapping[int, Collection[_Key]], found: Iterable[tuple[_Key, _Known]]
) -> Iterator[tuple[int, Mapping[_Key, _Known]]]:
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


def show_table(
    out: Path,
    number: int,
    title: str,
    rows: Sequence[NamedTuple],
    without: Collection[str],
    notes: Mapping[str, Any],
) -> None:
    """Prints a table of a paper, and writes `table<number>.csv` and `.json`.

    Args:
      out: Folder of the files.
      number: In the paper.
      title: What its rows differ in.
      rows: Of one type.
      without: Their fields that this table is not about, which stay empty.
      notes: Beside the rows in the JSON.
    """
    nothing: dict[str, Any] = dict.fromkeys(without)
    lines = [row._replace(**nothing) for row in rows]
    print(f"Table {number}: {title}\n{text_table(lines)}\n", flush=True)
    write_table(out, f"table{number}", lines, {"title": title, **notes})
