"""The page of a training run, or of several: curves, rates, validation pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.images import load_image
from vos_jax.reports.pages.html import (
    POINT,
    Cell,
    Markup,
    chart,
    facts,
    folded,
    number,
    paragraph,
    section,
    swatch,
    table,
    text,
    write_page,
)
from vos_jax.reports.pages.pictures import Album
from vos_jax.reports.pages.written import as_written, read_object

_LOG, _EXPERIMENT = "log.jsonl", "experiment.json"
_VALIDATION = "validation "
_SHEETS = 4
_SHEET_WIDTH = 1400
_PICTURE_BYTES = 4_000_000
_WORDS = {
    "loss": "loss",
    "iou": "IoU of the clips' objects",
    "clips_per_second": "clips a second",
    "data_wait": "data wait: share of the time that steps wait for clips",
    "learning_rate": "learning rate",
    "grad_norm": "norm of the gradients",
}


class Run(NamedTuple):
    """A training run as its folder has it.

    Attributes:
      name: That the page calls it by.
      folder: Its working folder.
      rows: Of its log.
      experiment: What it is; empty where that is not there.
      sheets: Pictures of validation, by step.
      clips: The picture of its first clips; None where there is none.
    """

    name: str
    folder: Path
    rows: list[dict[str, Any]]
    experiment: Mapping[str, Any]
    sheets: Mapping[int, Path]
    clips: Path | None


def is_run(folder: Path) -> bool:
    """Whether a training run has written there."""
    return (folder / _LOG).is_file()


def read_run(folder: Path, name: str) -> Run:
    """Reads a working folder of `train`.

    Raises:
      InputError: Its log is damaged or has no row yet.
    """
    from vos_jax.training.log import read_log

    rows = read_log(folder)
    if not rows:
        raise InputError(
            f"{folder / _LOG}: has no row yet; wait until the run has written one"
        )
    with as_written(folder / _LOG, "train"):
        for figure in (x for row in rows for x in row.values()):
            # A whole number may be larger than any that is drawn.
            float(figure)
    experiment = read_object(folder / _EXPERIMENT, "train")
    sheets = {
        int(step): path
        for path in (folder / "validation").glob("step_*.png")
        if (step := path.stem.removeprefix("step_")).isdecimal()
    }
    clips = folder / "batch.png"
    return Run(
        *(name, folder, rows, experiment),
        dict(sorted(sheets.items())),
        clips if clips.is_file() else None,
    )


class Written(NamedTuple):
    """A page, and the figures it shows, each by the name of its run.

    Attributes:
      path: The file.
      newest: The newest value of each figure.
      no_number: Of each figure that was NaN or infinite somewhere, in how many of how
        many rows.
      notes: These, in words.
    """

    path: Path
    newest: Mapping[str, Mapping[str, float]]
    no_number: Mapping[str, Mapping[str, tuple[int, int]]]
    notes: Sequence[str]


def write_training(folders: Sequence[Path], names: Sequence[str], out: Path) -> Written:
    """Writes the page of runs, whose curves share their axes.

    Raises:
      InputError: A log is damaged or empty, a picture cannot be read, or the page not
        be written.
    """
    runs = [read_run(*each) for each in zip(folders, names, strict=True)]
    charts = _charts(runs)
    data = {"kind": "training", "names": [run.name for run in runs], "curves": charts}
    title = f"Training of {', '.join(run.name for run in runs)}"
    is_score = {name: name.startswith(_VALIDATION) for name in charts}
    no_number = {run.name: _no_number(run) for run in runs}
    notes = [
        f"{run}: {figure} was no number in {some} of {every} row{'s' * (every > 1)}."
        for run, found in no_number.items()
        for figure, (some, every) in found.items()
    ]
    parts = [
        paragraph(_extent(runs), "lead"),
        *(paragraph(note, "note") for note in notes),
        section("figures", "Newest figures", _newest_table(runs)),
        _curves("training", "Training", [x for x, own in is_score.items() if not own]),
        _curves("validation", "Validation", [x for x, own in is_score.items() if own]),
        _pictures_part(runs),
        section("about", "What was run", _about_table(runs), _whole(runs)),
    ]
    path = write_page(out, title, parts, data)
    newest = {run.name: _newest(run) for run in runs}
    return Written(path, newest, {k: x for k, x in no_number.items() if x}, notes)


def _extent(runs: Sequence[Run]) -> str:
    told = [
        f"{run.name}: step {run.rows[-1]['step']}"
        + (f" of {run.experiment['steps']}" if "steps" in run.experiment else "")
        for run in runs
    ]
    return "; ".join(told) + "."


def _newest(run: Run) -> dict[str, float]:
    """The last value of each figure."""
    found: dict[str, float] = {}
    for row in run.rows:
        found.update(row)
    return found


def _no_number(run: Run) -> dict[str, tuple[int, int]]:
    """In how many of its rows a figure was none, of those where it was at times."""
    found = {}
    for name in dict.fromkeys(name for row in run.rows for name in row):
        values = [row[name] for row in run.rows if name in row]
        if none := sum(not math.isfinite(value) for value in values):
            found[name] = none, len(values)
    return found


def _named(runs: Sequence[Run]) -> list[Markup]:
    return [
        Markup(f'<span class="name">{swatch(place)} {text(run.name)}</span>')
        for place, run in enumerate(runs)
    ]


def _newest_table(runs: Sequence[Run]) -> Markup:
    newest = [_newest(run) for run in runs]
    names = list(dict.fromkeys(name for row in newest for name in row))
    best = [_best(run) for run in runs]
    rows: list[list[Cell | str]] = [
        [name, *(_figure(row.get(name)) for row in newest)] for name in names
    ]
    if any(best):
        rows.append(
            ["best validation J&F", *(_figure(each.get("score")) for each in best)]
        )
        rows.append(["at step", *(_figure(each.get("step")) for each in best)])
    return table(["figure", *_named(runs)], rows, caption="Newest figures", quiet=True)


def _best(run: Run) -> dict[str, float]:
    """The step that validated best, the last one of equals."""
    found = [x for x in run.rows if math.isfinite(x.get("validation J&F", math.nan))]
    if not found:
        return {}
    row = max(found, key=lambda row: (row["validation J&F"], row["step"]))
    return {"score": row["validation J&F"], "step": row["step"]}


def _figure(value: float | None) -> Cell:
    """A count as it is, anything else to four digits."""
    if value is None or isinstance(value, int):
        return number(value, 0)
    if not math.isfinite(value):
        return Cell("-")
    return Cell(f"{value:.4g}", value)


def _charts(runs: Sequence[Run]) -> dict[str, list[dict[str, list[Any]]]]:
    """Of each figure the steps and the values of each run, those with words first."""
    names = dict.fromkeys(
        name
        for run in runs
        for row in run.rows
        for name, value in row.items()
        if name != "step" and math.isfinite(value)
    )
    known = [name for name in _WORDS if name in names]
    ordered = dict.fromkeys([*known, *names])
    return {name: [_curve(run, name) for run in runs] for name in ordered}


def _curve(run: Run, name: str) -> dict[str, list[Any]]:
    points = [(row["step"], row[name]) for row in run.rows if name in row]
    return {
        "steps": [step for step, _ in points],
        "values": [_rounded(value) for _, value in points],
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _curves(name: str, title: str, curves: Sequence[str]) -> Markup:
    if not curves:
        return section(name, title, paragraph("The log has no such figure."))
    drawn = "\n".join(chart(each, _WORDS.get(each, each)) for each in curves)
    return section(name, title, POINT, Markup(f'<div class="charts">{drawn}</div>'))


def _pictures_part(runs: Sequence[Run]) -> Markup:
    """Contact sheets of validation, from first to last, and the first clips."""
    album, shown = Album(), list[tuple[str, int]]()
    for run in runs:
        steps = list(run.sheets)
        places = np.linspace(0, len(steps) - 1, min(_SHEETS, len(steps)))
        for step in (steps[round(place)] for place in places):
            words = f"{run.name}, validation at step {step}"
            shown.append((words, _add(album, run.sheets[step])))
        if run.clips is not None:
            shown.append(
                (f"{run.name}, clips of the first step", _add(album, run.clips))
            )
    if not shown:
        return section("pictures", "Pictures", paragraph("The run has none."))
    sources, _ = album.coded(_PICTURE_BYTES)
    parts = [
        Markup(
            f'<figure class="sheet"><figcaption>{text(words)}</figcaption>'
            f'<img decoding="async" src="{sources[place]}" alt="{text(words)}">'
            "</figure>"
        )
        for words, place in shown
    ]
    return section("pictures", "Validation pictures", *parts)


def _add(album: Album, path: Path) -> int:
    picture = np.array(load_image(path).convert("RGB"))
    return album.add(picture, _SHEET_WIDTH)


def _about_table(runs: Sequence[Run]) -> Markup:
    names = ("method", "weights", "steps", "batch", "seed")
    rows: list[list[Cell | str]] = [
        [name, *(_plain(run.experiment.get(name)) for run in runs)] for name in names
    ]
    rows.append(["folder", *(str(run.folder) for run in runs)])
    return table(["", *_named(runs)], rows, caption="What was run", quiet=True)


def _plain(value: Any) -> str:
    return "-" if value is None else str(value)


def _whole(runs: Sequence[Run]) -> Markup:
    """All fields of the experiments."""
    fields = {
        run.name: Markup(f"<pre>{text(json.dumps(run.experiment, indent=1))}</pre>")
        for run in runs
        if run.experiment
    }
    return (
        folded("All fields of the experiment", facts(fields)) if fields else Markup("")
    )
