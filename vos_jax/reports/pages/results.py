"""Folders of results, read back: what was scored, how, and whether it still is so.

Figures are found anew wherever masks and annotations are there, so that none is shown
that belongs to other masks. Where they are not, those that were written are taken, and
said to be. What was noted of a run is shown beside its own masks alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax import evaluation
from vos_jax.errors import InputError
from vos_jax.evaluation import Report, read_dataset, score
from vos_jax.evaluation.notes import protocol_note
from vos_jax.evaluation.protocols import Progress
from vos_jax.reports.pages.written import (
    Written,
    read_scores,
    read_settings,
    read_speed,
)

_MASKS, _SETTINGS = "masks", "run.json"
_OF_THE_RUN = ("method", "weights", "type", "machine", "segmented", "memory")
_OTHER_MASKS = "not known: these are other masks than those of the run"


class _Given(NamedTuple):
    """Where things are by the options, None without."""

    root: Path | None
    masks: Path | None


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
      root: The data set's folder that was scored by, or that was noted.
      sequences: With their frames, by name; empty where these are not there.
      unseen: Why there are no pictures; empty where there are.
      annotations: A digest of those it was scored by, by sequence; empty where results
        of an earlier version could not be scored anew.
      rules: How it was scored, in the words of `score`'s arguments.
      others: Why nothing is known of the run, where these are not its masks; else
        empty.
    """

    name: str
    folder: Path
    report: Report
    taken: str
    about: Mapping[str, Any]
    settings: Mapping[str, Any]
    speed: Mapping[str, Any] | None
    masks: Path | None
    root: Path | str | None
    sequences: Mapping[str, evaluation.Sequence]
    unseen: str
    annotations: Mapping[str, str]
    rules: Mapping[str, Any]
    others: str


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
      InputError: There are no results of the split, they are damaged, there is
        nothing to score them by, or what `root` or `masks` name cannot be scored.
    """
    settings = read_settings(folder / _MASKS)
    file, split = _scores_file(folder, split, settings)
    written = None if split is None else read_scores(file, split)
    about = written.report.about if written else {}
    dataset = str(written.report.dataset if written else settings.get("dataset"))
    places = _Given(_must_be("--root", root), _must_be("--masks", masks))
    masks = places.masks or _masks_of(folder, about)
    if masks is not None and masks.resolve() != (folder / _MASKS).resolve():
        settings = read_settings(masks)
    known = _first_folder(about.get("root"), settings.get("root"), folder / "data")
    root = places.root or known
    rules = {
        "resolution": about.get("resolution", settings.get("resolution")),
        "drop_last": about.get("drop_last", _dropped(written, dataset)),
        "temporal": written is not None and written.report.temporal,
    }
    found, reason = None, _what_is_missing(masks, root)
    if masks is not None and root is not None:
        try:
            found = score(
                *(dataset, root, str(split), masks),
                workers=workers,
                progress=progress,
                seen=about.get("seen"),
                **rules,
            )
        except InputError as error:
            if written is None or any(places):
                raise
            reason = str(error)
    elif places.masks is not None:
        raise InputError(f"--masks {masks}: cannot be scored: {reason}")
    if found is None and written is None:
        raise InputError(f"{folder}: {reason}, and no scores were written there")
    others = _other_masks(places.masks, folder, found, written)
    sequences: Mapping[str, evaluation.Sequence] = {}
    if found is not None and root is not None:
        try:
            listed = read_dataset(
                *(dataset, root, str(split)), resolution=rules["resolution"]
            )
            sequences = {each.name: each for each in listed if each.frames}
        except InputError as error:
            reason = str(error)
    report = found or (written and written.report)
    assert report is not None
    return Results(
        name=name,
        folder=folder,
        report=report,
        taken=_taken(found, written, file.name, reason),
        about={k: x for k, x in about.items() if not (others and k in _OF_THE_RUN)},
        settings={} if others and places.masks is None else settings,
        speed=None if others else _speed_of(folder, masks),
        masks=None if found is None else masks,
        root=root or about.get("root") or settings.get("root"),
        sequences=sequences,
        unseen="" if sequences else reason,
        annotations=report.about.get("annotations", {}),
        rules=rules,
        others=others,
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Short names for folders: as many of their last parts as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError(f"{folders[0]}: is given twice; give each folder once")


def _scores_file(
    folder: Path, split: str | None, settings: Mapping[str, Any]
) -> tuple[Path, str | None]:
    """The file of the scores, whether or not it is there, and their split."""
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
    return folder / f"results-{split}.json", split


def _masks_of(folder: Path, about: Mapping[str, Any]) -> Path | None:
    """Where the masks are that were scored.

    A run that segments has them beside its scores, wherever both go. `score` may have
    been told to write beside other masks than it has scored.
    """
    own, noted = folder / _MASKS, about.get("masks")
    return _first_folder(own, noted) if "type" in about else _first_folder(noted, own)


def _speed_of(folder: Path, masks: Path | None) -> dict[str, Any] | None:
    """What was timed with the masks beside it; None where the scores are of others."""
    own = folder / _MASKS
    if masks is not None and masks.resolve() != own.resolve():
        return None
    return read_speed(folder) or None


def _other_masks(
    given: Path | None, folder: Path, found: Report | None, written: Written | None
) -> str:
    """What to say of the run that is noted where the masks are not its own.

    Args:
      given: The folder of masks that was asked for.
      folder: That of the results.
      found: The scores of the masks.
      written: Those that were there.
    """
    if found is None or written is None:
        return ""
    about = written.report.about
    noted = [Path(about["masks"])] if about.get("masks") else []
    if "type" in about or not noted:
        noted.append(folder / _MASKS)
    if given is not None and given.resolve() not in [each.resolve() for each in noted]:
        return _OTHER_MASKS
    if _same_scores(found, written):
        return ""
    before = about.get("annotations")
    if before and before != found.about["annotations"]:
        return "not known: masks or annotations are others than those of the run"
    return _OTHER_MASKS


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


def _dropped(written: Written | None, dataset: str) -> bool:
    """Whether results of an earlier version left the last frame out."""
    notes = written.report.notes if written else ()
    notes_of = [protocol_note(dataset, dropped) for dropped in (False, True)]
    return notes_of[0] != notes_of[1] and notes_of[1] in notes


def _taken(
    found: Report | None, written: Written | None, file: str, reason: str
) -> str:
    if written is None:
        return "found from masks and annotations"
    was = _other_score(found or written.report, written)
    if found is None:
        unchecked = f"not checked, for they cannot be: {reason}"
        if not was:
            return f"taken from {file} and {unchecked}"
        return (
            f"found from those of the frames in {file}, where the global ones are"
            f" others ({was}), and {unchecked}"
        )
    if not was:
        return f"found anew from masks and annotations; {file} has the same"
    return (
        f"found anew from masks and annotations; {file} has others ({was}), which are"
        " not those of these masks and annotations"
    )


def _other_score(report: Report, written: Written) -> str:
    """A global score that is not as it was written, "" if all are."""
    for name, value in report.summary().items():
        was = written.summary.get(name)
        told = "no number" if was is None else f"{was:.3f}"
        if not math.isclose(
            *(value, math.nan if was is None else was), rel_tol=0, abs_tol=1e-9
        ) and not (math.isnan(value) and was is None):
            return f"{name} {told}"
    return ""


def _same_scores(found: Report, written: Written) -> bool:
    return not _other_score(found, written)
