"""Rows of figures as text, CSV and JSON, with the machine that gave them.

A row is a NamedTuple of numbers and words; None is a figure that does not apply. Units
stand at the end of the field names.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.media import atomic_path, make_folder
from vos_jax.runtime.machine import machine

_NOTHING = "-"


def describe(facts: NamedTuple) -> str:
    """One line, `name value` after `name value`, for the head of a table."""
    return ", ".join(f"{k} {_cell(v)}" for k, v in facts._asdict().items())


def text_table(rows: Sequence[NamedTuple]) -> str:
    """Aligned columns under the rows' field names; columns without content left out."""
    if not rows:
        return ""
    names = [name for name in rows[0]._fields if any(_said(r, name) for r in rows)]
    cells = [names, *([_cell(getattr(row, name)) for name in names] for row in rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    # Words are read from their left, numbers are compared by their right ends.
    is_number = [
        all(isinstance(getattr(r, n), int | float | None) for r in rows) for n in names
    ]
    lines = (
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in cells
    )
    return "\n".join(lines)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Words in aligned columns with bars between; columns without content left out."""
    kept = [i for i in range(len(head)) if any(line[i] for line in lines)]
    cells = [[line[i].replace("|", "\\|") for i in kept] for line in (head, *lines)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(x.ljust(n) for x, n in zip(line, widths, strict=True))} |"
        for line in (cells[0], rule, *cells[1:])
    )


def _said(row: NamedTuple, name: str) -> bool:
    return getattr(row, name) not in (None, "")


def _cell(value: Any) -> str:
    """Three digits of a float, which is more than timings are good for."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, float):
        if not math.isfinite(value) or value == 0:
            return f"{value:g}"
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return str(value)


def write_table(
    folder: str | Path,
    name: str,
    rows: Sequence[NamedTuple],
    notes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes `name.csv` and, with the machine and `notes`, `name.json`.

    Returns:
      The files.

    Raises:
      InputError: The folder cannot be made or written to.
    """
    folder = make_folder(folder)
    table, full = folder / f"{name}.csv", folder / f"{name}.json"
    with atomic_path(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0]._fields if rows else [])
        writer.writerows(["" if x is None else x for x in row] for row in rows)
    content = {
        "machine": machine()._asdict(),
        **(notes or {}),
        "rows": [row._asdict() for row in rows],
    }
    with atomic_path(full) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return [table, full]
