"""Folders of results, read back: what was scored, how, and whether it still is so.

Figures are found anew wherever masks and annotations are there, so that none is shown
that belongs to other masks. Where they are not, those that were written are taken, and
said to be.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax import evaluation
from vos_jax.errors import InputError
from vos_jax.evaluation import ObjectScores, Report, read_dataset, score
from vos_jax.evaluation.notes import protocol_note
from vos_jax.evaluation.protocols import Progress

_MASKS, _SETTINGS = "masks", "run.json"


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of one method on a split.

    Attributes:
      name: That the page calls them by.
      folder: Where they were found.
      report: The scores.
      taken: Where these are from, a sentence.
      about: What was noted of how they were made; empty where nothing was.
      settings: Of the masks, from `masks/run.json`; empty where that is not there.
      speed: What `evaluate` has timed, as in `speed.json`; None without.
      masks: Their folder. None where the scores could not be found anew.
      sequences: With their frames, by name; empty where these are not there.
      unseen: Why there are no pictures; empty where there are.
      annotations: A digest of those it was scored by, by sequence; empty where results
        of an earlier version could not be scored anew.
      rules: How it was scored, in the words of `score`'s arguments.
    """

    name: str
    folder: Path
    report: Report
    taken: str
    about: Mapping[str, Any]
    settings: Mapping[str, Any]
    speed: Mapping[str, Any] | None
    masks: Path | None
    sequences: Mapping[str, evaluation.Sequence]
    unseen: str
    annotations: Mapping[str, str]
    rules: Mapping[str, Any]


def is_results(folder: Path) -> bool:
    """Whether `evaluate`, `score` or `demo` has written there."""
    return any(folder.glob("results-*.json")) or (folder / _MASKS / _SETTINGS).is_file()


def read_results(
    folder: Path,
    name: str,
    *,
    split: str | None = None,
    root: Path | None = None,
    masks: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Results:
    """Reads a folder of results and scores its masks anew.

    Args:
      folder: The `--out` of `evaluate`, `score` or `demo`.
      name: That they are called by.
      split: Which, where the folder has results of several.
      root: The data set's folder, where it is not where it was.
      masks: The folder of masks, where it is not where it was.
      workers: Processes that score.
      progress: As `score` calls it.

    Raises:
      InputError: There are no results of the split, they are damaged, or there is
        nothing to score them by.
    """
    settings = _read_json(folder / _MASKS / _SETTINGS) or {}
    written, file = _read_written(folder, split, settings)
    # Results of an earlier version say nothing of themselves.
    about: Mapping[str, Any] = written.get("about", {})
    dataset = str(written.get("dataset") or settings.get("dataset"))
    split = str(written.get("split") or settings.get("split"))
    masks = _must_be("--masks", masks) or _masks_of(folder, about)
    if masks is not None and masks.resolve() != (folder / _MASKS).resolve():
        settings = _read_json(masks / _SETTINGS) or {}
    known = _first_folder(about.get("root"), settings.get("root"), folder / "data")
    root = _must_be("--root", root) or known
    resolution = about.get("resolution", settings.get("resolution"))
    rules = {
        "resolution": resolution,
        "drop_last": about.get("drop_last", _dropped(written, dataset)),
        "temporal": "T-Mean" in written.get("global", {}),
    }
    found, reason = None, _what_is_missing(masks, root)
    if masks is not None and root is not None:
        try:
            found = score(
                *(dataset, root, split, masks),
                workers=workers,
                progress=progress,
                seen=about.get("seen"),
                **rules,
            )
        except InputError as error:
            if not written:
                raise
            reason = str(error)
    if found is None and not written:
        raise InputError(f"{folder}: {reason}, and no scores were written there")
    sequences: Mapping[str, evaluation.Sequence] = {}
    if found is not None and root is not None:
        try:
            listed = read_dataset(dataset, root, split, resolution=resolution)
            sequences = {each.name: each for each in listed if each.frames}
        except InputError as error:
            reason = str(error)
    return Results(
        name=name,
        folder=folder,
        report=_read_report(written, file) if found is None else found,
        taken=_taken(found, written, file.name, reason),
        about=about,
        settings=settings,
        speed=_read_speed(folder, masks),
        masks=None if found is None else masks,
        sequences=sequences,
        unseen="" if sequences else reason,
        annotations=(about if found is None else found.about).get("annotations", {}),
        rules=rules,
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Short names for folders: as many of their last parts as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{folders[0]}: is given twice; give each folder once")


def _read_written(
    folder: Path, split: str | None, settings: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Path]:
    """The scores that were written, empty if none were, and their file."""
    there = {x.stem.removeprefix("results-"): x for x in folder.glob("results-*.json")}
    if split is None and len(there) > 1:
        raise InputError(
            f"{folder}: has results of the splits {', '.join(sorted(there))}; choose"
            " one with --split"
        )
    if split is None:
        split = next(iter(there), settings.get("split"))
    elif split not in there and split != settings.get("split"):
        raise InputError(
            f"{folder}: has no results of split {split}; there are"
            f" {', '.join(sorted(there)) or settings.get('split') or 'none'}"
        )
    file = folder / f"results-{split}.json"
    return _read_json(file) or {}, file


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged; score or evaluate again") from error
    return found


def _masks_of(folder: Path, about: Mapping[str, Any]) -> Path | None:
    """Where the masks are that were scored.

    A run that segments has them beside its scores, wherever both go. `score` may have
    been told to write beside other masks than it has scored.
    """
    own, noted = folder / _MASKS, about.get("masks")
    return _first_folder(own, noted) if "type" in about else _first_folder(noted, own)


def _read_speed(folder: Path, masks: Path | None) -> dict[str, Any] | None:
    """What was timed with the masks beside it; None where the scores are of others."""
    own = folder / _MASKS
    if masks is not None and masks.resolve() != own.resolve():
        return None
    return _read_json(folder / "speed.json")


def _first_folder(*places: Any) -> Path | None:
    """The first place that is a folder."""
    paths = (Path(place) for place in places if place)
    return next((path for path in paths if path.is_dir()), None)


def _must_be(option: str, folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise InputError(f"{option} {folder}: is no folder; check the path")
    return folder


def _what_is_missing(masks: Path | None, root: Path | None) -> str:
    if root is None:
        return "the data set is not where it was; say where with --root"
    if masks is None:
        return "the masks are not where they were; say where with --masks"
    return ""


def _dropped(written: Mapping[str, Any], dataset: str) -> bool:
    """Whether results of an earlier version left the last frame out."""
    notes = written.get("notes", ())
    notes_of = [protocol_note(dataset, dropped) for dropped in (False, True)]
    return notes_of[0] != notes_of[1] and notes_of[1] in notes


def _taken(
    found: Report | None, written: Mapping[str, Any], file: str, reason: str
) -> str:
    if found is None:
        return f"taken from {file} and not checked, for they cannot be: {reason}"
    if not written:
        return "found from masks and annotations"
    own = found.summary()
    theirs = {name: written.get("global", {}).get(name) for name in own}
    if all(_same(own[name], theirs[name]) for name in own):
        return f"found anew from masks and annotations; {file} has the same"
    name = next(iter(own))
    was = "no number" if theirs[name] is None else f"{theirs[name]:.3f}"
    return (
        f"found anew from masks and annotations; {file} has others ({name} {was}),"
        " which are not those of these masks and annotations"
    )


def _same(own: float, theirs: float | None) -> bool:
    return math.isnan(own) if theirs is None else own == theirs


def _read_report(written: Mapping[str, Any], file: Path) -> Report:
    """What `write_report` has written."""
    temporal = "T-Mean" in written.get("global", {})
    try:
        return Report(
            dataset=written["dataset"],
            split=written["split"],
            objects=tuple(_read_object(each, temporal) for each in written["objects"]),
            notes=tuple(written["notes"]),
            temporal=temporal,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged; score or evaluate again") from error


def _read_object(each: Mapping[str, Any], temporal: bool) -> ObjectScores:
    changes = each.get("T_pairs") if temporal else None
    return ObjectScores(
        sequence=each["sequence"],
        object_id=each["object"],
        frames=tuple(each["frames"]),
        region=np.array(each["J_frames"], np.float64),
        contour=np.array(each["F_frames"], np.float64),
        seen=each["seen"],
        # None becomes NaN.
        changes=None if changes is None else np.array(changes, np.float64),
        given=each.get("given", True),
        absent=each.get("absent", False),
    )
