"""What evaluates each cell of a paper's tables, or why nothing does."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.bench.speed import Timed
from vos_jax.data.proposals import REGIONS
from vos_jax.errors import InputError, warn
from vos_jax.evaluation import read_dataset
from vos_jax.methods import METHODS
from vos_jax.reports.ablation import Setting, generated_split
from vos_jax.reports.paper import PLACES, PUBLISHED, Paper, Place, Recipe
from vos_jax.reports.printed import Column, PrintedRow, PrintedTable, Value

GENERATED = "generated"
"""The place of generated clips."""

TIMES = ("time_s", "fps")
"""Measures that are no scores."""

SCORES = ("J&F", "J", "F")
"""Measures where some videos stand for all."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a user has.

    Attributes:
      out: Folder of masks, figures and tables.
      small: Run the small network.
      roots: Folders of data sets by the option that names them.
      clips: Generated clips that stand for all videos; None for those of `roots`.
      stand_in: The one of `PLACES` whose videos stand for all; None for each its own.
      common: Weights of the paper's usual setting.
      weights: Weights by the name of what they were trained as.
      inputs: What else the method takes, by name.
      server: Scores of servers: by place, label and measure.
      size: Shorter side to compute at.
      timed: Which sequences are timed.
    """

    out: Path
    small: bool = False
    roots: Mapping[str, Path] = field(default_factory=dict)
    clips: int | None = None
    stand_in: str | None = None
    common: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    server: Mapping[str, Mapping[str, Mapping[str, float]]] = field(
        default_factory=dict
    )
    size: int | None = None
    timed: Timed = "all"

    @property
    def only(self) -> str | None:
        """The place that stands for all others."""
        return self.stand_in if self.clips is None else GENERATED


class Run(NamedTuple):
    """What gives a cell its figure.

    Attributes:
      place: Of the videos.
      label: Of the folder, and of a server's scores.
      setting: To evaluate.
      weights: Whose they are, in words.
      stage: The one to time, in place of an evaluation.
    """

    place: str
    label: str
    setting: Setting
    weights: str
    stage: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Runs of one key are one."""
        return self.place, self.label


class Plan(NamedTuple):
    """A cell before anything is evaluated.

    Attributes:
      row: Of the table.
      column: Of the table.
      printed: What the paper has there.
      run: What evaluates it.
      missing: Why there is none.
    """

    row: PrintedRow
    column: Column
    printed: Value
    run: Run | None
    missing: str | None


def places_of(given: Given, wanted: Collection[str]) -> dict[str, Place]:
    """What there is of these; a part that a data set's folder lacks is left out."""
    if given.clips is not None:
        folder = given.out / f"{GENERATED}_{given.clips}" / "data"
        split = generated_split(folder, given.clips)
        return {GENERATED: Place("--generated", split, size=given.size)}
    found, missing = {}, {}
    wanted = wanted if given.stand_in is None else {given.stand_in}
    for name, place in PLACES.items():
        root = given.roots.get(place.option)
        if root is None or name not in wanted:
            continue
        split = place.split._replace(root=root)
        try:
            read_dataset(*split)
        except InputError as error:
            missing[name] = f"{name}: {error}"
            continue
        found[name] = place._replace(split=split, size=given.size or place.size)
    for name in missing:
        if not found or PLACES[name].option not in {x.option for x in found.values()}:
            raise InputError(missing[name])
        warn(f"left out: {missing[name]}")
    return found


def plan_table(
    paper: Paper, table: PrintedTable, given: Given, places: Mapping[str, Place]
) -> Iterator[Plan]:
    """The cells of a table."""
    columns = _columns(table, given)
    for row in table.rows:
        for name, column in columns.items():
            run = _run(paper, table, row, column, given, places)
            yield Plan(
                row,
                column,
                row.values.get(name) if given.only is None else None,
                run=run if isinstance(run, Run) else None,
                missing=run if isinstance(run, str) else None,
            )


def _columns(table: PrintedTable, given: Given) -> dict[str, Column]:
    """What is printed, and times where none are; the same ones of a stand-in."""
    measures = {column.measure for column in table.columns.values()}
    if given.only is not None:
        names = [*(SCORES if measures - set(TIMES) else ()), "time_s"]
        return {name: Column(name, given.only) for name in names}
    columns = dict(table.columns)
    if not measures & set(TIMES):
        columns["time_s"] = Column("time_s", table.places[0])
    return columns


def _run(
    paper: Paper,
    table: PrintedTable,
    row: PrintedRow,
    column: Column,
    given: Given,
    places: Mapping[str, Place],
) -> Run | str:
    """What evaluates a row for a column, or why nothing does."""
    place = column.place if given.only is None else table.places[0]
    recipe = paper.recipe(row, place)
    if isinstance(recipe, str):
        return recipe
    where = given.only or place
    if where not in places:
        known = PLACES.get(where)
        if known is None:
            return f"{where} is not public"
        if known.option in given.roots:
            return f"{known.option} has no {where}"
        return f"needs {known.option} DIR"
    if recipe.stage is not None and given.timed == "none":
        return "nothing is timed, by --speed none"
    found = _weights(paper, recipe, given)
    if isinstance(found, str):
        return found
    weights, named, words = found
    inputs = None
    if recipe.inputs is not None:
        inputs = given.inputs.get(recipe.inputs)
        if given.only is not None:
            if recipe.inputs != paper.inputs[0]:
                return f"{given.only} has the proposals of one proposer alone"
            inputs = Path(REGIONS)
        if inputs is None:
            return f"needs --proposals {recipe.inputs}=PATH"
    common = PUBLISHED[recipe.method or paper.method]
    setting = Setting(
        {**common, **recipe.changes},
        weights,
        _rival(recipe, given),
        inputs,
        temporal=column.measure == "T",
    )
    label = label_of(recipe._replace(weights=named))
    if recipe.stage is not None:
        label = f"stages_{label}"
    return Run(where, label, setting, words, recipe.stage)


def _rival(recipe: Recipe, given: Given) -> str | None:
    """The method of another paper that a recipe is of: the small one if it has one."""
    small = f"{recipe.method}-tiny"
    return small if given.small and small in METHODS else recipe.method


def _weights(
    paper: Paper, recipe: Recipe, given: Given
) -> tuple[Path | None, str, str] | str:
    """The weights of a row, their name and whose they are; or what is missing."""
    own = dict(given.weights)
    if given.common is not None:
        own.setdefault(paper.usual, given.common)
    for name in filter(None, (recipe.weights, recipe.instead)):
        cut = "" if name == recipe.weights else ", not trained so"
        if name in own:
            return own[name], name, f"{name}{cut}"
        if not given.small:
            continue
        if recipe.method is not None:
            small = f"{recipe.method}-tiny"
            if small not in METHODS:
                return f"{recipe.method.upper()} has no small network"
            return None, small, small
        if name in {paper.usual, *paper.alike}:
            # What differs in data alone is one network in small.
            if paper.usual in own:
                return own[paper.usual], paper.usual, f"{paper.usual}{cut}"
            return None, paper.tiny, f"{paper.tiny}{cut}"
    return f"needs --weights {recipe.weights}=FILE"


def label_of(recipe: Recipe) -> str:
    """A folder's name that says all that a recipe changes."""
    changes = (f"{name}={value}" for name, value in recipe.changes.items())
    words = filter(None, (recipe.method, recipe.weights, recipe.inputs, *changes))
    return re.sub(r"[^\w.+=-]+", "-", "_".join(words)).strip("-")


def read_server_results(path: Path | None) -> Mapping[str, Any]:
    """Scores of servers: `{place: {label: {measure: score}}}`, scores in [0, 1].

    Nothing without a file.

    Raises:
      InputError: The file cannot be read, or holds something else.
    """
    if path is None:
        return {}
    example = 'like {"youtube_vos_2018/val": {"LABEL": {"G": 0.794}}}'
    try:
        content = json.loads(path.read_text())
        scores = [
            (place, measure, score)
            for place, labels in content.items()
            for measures in labels.values()
            for measure, score in measures.items()
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no file {example}: {error}") from error
    for place, measure, score in scores:
        if place not in PLACES:
            raise InputError(
                f"{path}: {place!r} is no place; use one of: {', '.join(PLACES)}"
            )
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise InputError(f"{path}: {measure} {score!r} is no number")
        if not 0 <= score <= 1:
            raise InputError(f"{path}: {measure} {score}: use fractions of 1")
    return content
