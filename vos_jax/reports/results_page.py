"""A page of all papers' tables: what is printed, and what small networks find."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vos_jax.reports.paper import Paper
from vos_jax.reports.paper_tables import number, settings_in_words
from vos_jax.reports.printed import PrintedTable, Value
from vos_jax.runtime.text_table import markdown_table

_Column = tuple[str, str]
"""Measure and videos."""

_Found = Mapping[tuple[str, _Column], Mapping[str, Any]]
"""Cells by row and column, as `make_tables` has written them."""


def results_page(papers: Iterable[Paper], folders: Mapping[str, Path]) -> str:
    """Markdown, a part for each paper and a table for each of its tables.

    Args:
      papers: In the order of the page.
      folders: Where `make_tables` has written, by what videos are called; a paper's
        tables are in the folder of its method.
    """
    parts = []
    for paper in papers:
        parts.append(f"## {paper.printed.paper}")
        for table in paper.printed.tables.values():
            found = {
                words: _read(folder / paper.method / f"{table.id}.json")
                for words, folder in folders.items()
            }
            parts.append(f"### {table.id}: {table.title}\n\n{_about(table)}")
            parts.append(_table(table, found))
    return "\n\n".join(parts) + "\n"


def _about(table: PrintedTable) -> str:
    places = ", ".join(table.places)
    return f"{places}; {table.conditions}."


def _read(file: Path) -> _Found:
    """The cells of a table; none where it was not made."""
    if not file.exists():
        return {}
    rows = json.loads(file.read_text())["rows"]
    return {
        (x["row"], (x["measure"], x["videos"])): x
        for x in rows
        if x["found"] is not None
    }


def _table(table: PrintedTable, found: Mapping[str, _Found]) -> str:
    """Printed columns, then those of each kind of videos."""
    columns = [
        (words, column)
        for words, cells in found.items()
        for column in dict.fromkeys(column for _, column in cells)
        if "object" not in column[0]
    ]
    many = len(table.places) > 1
    head = [
        *("row", "settings"),
        *(
            f"{x.measure}, {x.place}" if many else x.measure
            for x in table.columns.values()
        ),
        *(f"{words}: {measure}" for words, (measure, _) in columns),
    ]
    lines = []
    for row in table.rows:
        printed = (
            _printed(row.values.get(name), column.measure)
            for name, column in table.columns.items()
        )
        here = (_cell(found[words].get((row.name, x))) for words, x in columns)
        lines.append([row.name, settings_in_words(row), *printed, *here])
    return markdown_table(head, lines)


def _printed(value: Value, measure: str) -> str:
    return "" if value is None else number(value, measure)


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    told = number(cell["found"], cell["measure"])
    return f"{told} (not trained so)" if "not trained" in cell["weights"] else told
