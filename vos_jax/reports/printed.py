"""What a paper prints: its tables, read from the file that holds them.

A file has the keys `paper`, `defaults` (settings of the paper's own full model) and
`tables`. A table has `id`, `title`, `dataset`, `split`, `other_dataset` (a list of
`dataset/split`), `conditions`, `columns` and `rows`; a row `name`, `settings`,
`values`, `own` and `note`. A column is a measure, or `<measure>_<dataset>` where it is
of another data set than the table. Scores are fractions of 1, times seconds a frame,
and null is printed as a dash.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.errors import InputError

Value = float | str | None
"""A number as printed, a bound such as "<8.4", or nothing."""


class Column(NamedTuple):
    """What a column is about.

    Attributes:
      measure: "J", "F", "J&F", "T", "G", "J_seen", "time_s", "fps" and so on.
      place: Data set and split, such as "davis2017/val".
    """

    measure: str
    place: str


class PrintedRow(NamedTuple):
    """A line of a table.

    Attributes:
      name: Its id in the table.
      own: Whether it is of the paper's own method; else of a rival.
      settings: All of the paper's own rows; of rivals what the table marks.
      varied: Those of them that the row itself names.
      values: By the names of columns.
      note: What is odd about it; "" for nothing.
    """

    name: str
    own: bool
    settings: Mapping[str, Any]
    varied: Mapping[str, Any]
    values: Mapping[str, Value]
    note: str


class PrintedTable(NamedTuple):
    """A table.

    Attributes:
      id: Its number, "T5"; parts of one have their part's name behind, "T6a".
      title: What its rows differ in.
      conditions: What holds for all rows, in words.
      columns: By their names.
      rows: In the printed order.
    """

    id: str
    title: str
    conditions: str
    columns: Mapping[str, Column]
    rows: tuple[PrintedRow, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """Data sets and splits of its columns, each once."""
        return tuple(dict.fromkeys(x.place for x in self.columns.values()))


class Printed(NamedTuple):
    """A paper's tables by their ids."""

    paper: str
    tables: Mapping[str, PrintedTable]


def read_printed(path: str | Path) -> Printed:
    """Reads the tables of a paper.

    Raises:
      InputError: The file cannot be read, or a column's data set has no split.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    defaults = content["defaults"]
    tables = {x["id"]: _table(path, x, defaults) for x in content["tables"]}
    return Printed(content["paper"], tables)


def _table(
    path: Path, stored: Mapping[str, Any], defaults: Mapping[str, Any]
) -> PrintedTable:
    splits = {stored["dataset"]: stored["split"]}
    for place in stored["other_dataset"]:
        dataset, _, split = place.partition("/")
        splits[dataset] = split
    columns = {
        name: _column(name, stored["dataset"], splits) for name in stored["columns"]
    }
    for row in stored["rows"]:
        if unknown := set(row["values"]) - set(columns):
            raise InputError(
                f"{path}: {stored['id']}, row {row['name']}: there is no column"
                f" {', '.join(sorted(unknown))}"
            )
    rows = tuple(_row(row, defaults) for row in stored["rows"])
    return PrintedTable(
        stored["id"], stored["title"], stored["conditions"], columns, rows
    )


def _column(name: str, dataset: str, splits: Mapping[str, str]) -> Column:
    for other, split in splits.items():
        if name.endswith(f"_{other}"):
            return Column(name.removesuffix(f"_{other}"), f"{other}/{split}")
    return Column(name, f"{dataset}/{splits[dataset]}")


def _row(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> PrintedRow:
    varied = stored["settings"]
    return PrintedRow(
        name=stored["name"],
        own=stored["own"],
        settings={**defaults, **varied} if stored["own"] else varied,
        varied=varied,
        values=stored["values"],
        note=stored.get("note") or "",
    )
