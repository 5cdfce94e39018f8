"""A paper's tables: what is printed, what is found here, and why something is not.

Every cell of a printed table is planned first: which weights, settings and videos it
needs, and what of that is not there. What several cells share is evaluated once.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.methods.weights import fingerprint
from vos_jax.reports.ablation import (
    Measured,
    Packed,
    measure_settings,
    pack_settings,
    tables_as_known,
)
from vos_jax.reports.paper import Paper, Place
from vos_jax.reports.paper_plan import (
    GENERATED,
    TIMES,
    Given,
    Plan,
    Run,
    places_of,
    plan_table,
)
from vos_jax.reports.printed import PrintedRow, PrintedTable, Value
from vos_jax.reports.stage_times import StageTimes, time_stages
from vos_jax.runtime.text_table import markdown_table, write_table

Found = Measured | Packed | StageTimes
"""What there is of a run."""


class Cell(NamedTuple):
    """One figure of a table.

    Attributes:
      row: Its name in the table.
      settings: What the row says of them, in words.
      measure: "J&F", "time_s" and so on; scores are in [0, 1].
      videos: Data set and split.
      printed: By the paper.
      found: Here.
      difference: Of the two, where both are numbers.
      weights: That it was found with.
      type: What was computed in; of times alone, as the device.
      device: That computed.
      missing: Why nothing was found.
    """

    row: str
    settings: str
    measure: str
    videos: str
    printed: Value
    found: float | None = None
    difference: float | None = None
    weights: str | None = None
    type: str | None = None
    device: str | None = None
    missing: str | None = None


def make_tables(paper: Paper, tables: Sequence[str], given: Given) -> None:
    """Evaluates what there is; prints and writes each table once it is known.

    `<id>.csv` and `.json` have a line for every figure, `<id>.md` is what is printed.

    Raises:
      InputError: Nothing can be evaluated; or as `measure_settings`.
    """
    wanted = {x for name in tables for x in paper.printed.tables[name].places}
    places = places_of(given, wanted)
    plans = {
        name: list(plan_table(paper, paper.printed.tables[name], given, places))
        for name in tables
    }
    runs = _runs(chain.from_iterable(plans.values()))
    if not runs:
        all_cells = chain.from_iterable(plans.values())
        reasons = dict.fromkeys(cell.missing for cell in all_cells if cell.missing)
        raise InputError(
            f"no row of {', '.join(tables)} can be run: {'; '.join(reasons)}"
        )
    method = paper.tiny if given.small else paper.method
    # This checks all videos, weights and inputs before any is segmented.
    evaluations = [
        _evaluate(method, place, runs.values(), places[place], given)
        for place in dict.fromkeys(place for place, _ in runs)
    ]
    found = chain.from_iterable(evaluations)
    needed = {
        name: [x.run.key for x in cells if x.run is not None]
        for name, cells in plans.items()
    }
    identify = cache(partial(fingerprint, method))
    nothing: dict[tuple[str, str], Found] = {}
    done = ((name, nothing) for name, keys in needed.items() if not keys)
    for name, figures in chain(done, tables_as_known(needed, found)):
        table, cells = paper.printed.tables[name], plans[name]
        notes = {
            "paper": paper.printed.paper,
            "title": table.title,
            "conditions": table.conditions,
            "method": method,
            "sizes": {place: places[place].size for place, _ in needed[name]},
            "weights": {
                label: identify(runs[place, label].setting.weights)
                for place, label in needed[name]
                if runs[place, label].setting.method is None
            },
        }
        _show(given.out, table, _filled(cells, figures, given), notes)


def _runs(cells: Iterable[Plan]) -> dict[tuple[str, str], Run]:
    """What is to be evaluated, each once: with T if any cell asks for it."""
    runs: dict[tuple[str, str], Run] = {}
    for cell in cells:
        if (run := cell.run) is not None:
            before = runs.get(run.key)
            temporal = run.setting.temporal or (before and before.setting.temporal)
            setting = run.setting._replace(temporal=bool(temporal))
            runs[run.key] = run._replace(setting=setting)
    return runs


def _evaluate(
    method: str, where: str, runs: Iterable[Run], place: Place, given: Given
) -> Iterator[tuple[tuple[str, str], Found]]:
    """Figures of all runs at a place by their keys, as soon as they are known."""
    here = [run for run in runs if run.place == where]
    settings = {run.label: run.setting for run in here if run.stage is None}
    folder = f"{GENERATED}_{given.clips}" if where == GENERATED else where
    out = given.out / folder.replace("/", "_")
    work: Any = measure_settings if place.is_public else pack_settings
    found: Iterator[tuple[str, Measured | Packed]] = work(
        *(method, settings, place.split, out), size=place.size, timed=given.timed
    )

    def results() -> Iterator[tuple[tuple[str, str], Found]]:
        for label, figures in found:
            if isinstance(figures, Packed):
                print(
                    f"{where}, {label}: archive for the scoring server:"
                    f" {figures.archive}",
                    file=sys.stderr,
                    flush=True,
                )
            yield (where, label), figures
        for run in here:
            if run.stage is not None:
                file = out / f"{run.label}.json"
                about = method, run.setting, place.split, file, place.size
                yield run.key, time_stages(*about)

    return results()


def _filled(
    cells: Sequence[Plan], figures: Mapping[tuple[str, str], Found], given: Given
) -> list[Cell]:
    """The figures of a table."""
    lines = []
    for cell in cells:
        line = Cell(
            row=cell.row.name,
            settings=settings_in_words(cell.row),
            measure=cell.column.measure,
            videos=cell.column.place,
            printed=cell.printed,
            missing=cell.missing,
        )
        if cell.run is not None:
            found = figures[cell.run.key]
            line = _found(line._replace(weights=cell.run.weights), found, cell.run)
            line = _of_server(line, found, cell.run, given)
            lines += _by_objects(line, found)
        lines.append(line)
    return [_compared(line) for line in lines]


def _found(line: Cell, found: Found, run: Run) -> Cell:
    """A line with what there is here."""
    if isinstance(found, StageTimes):
        seconds = found.seconds.get(run.stage or "")
        return line._replace(found=seconds, type=found.type, device=found.device)
    if line.measure not in TIMES:
        if isinstance(found, Packed):
            return line
        scores = {"J&F": found.j_and_f, "J": found.j, "F": found.f, "T": found.t}
        return line._replace(found=scores[line.measure])
    if not found.speeds:
        return line
    speed = found.speeds[-1]
    is_seconds = line.measure == "time_s"
    return line._replace(
        found=speed.s_per_frame if is_seconds else speed.frames_per_s,
        type=speed.type,
        device=speed.device,
    )


def _of_server(line: Cell, found: Found, run: Run, given: Given) -> Cell:
    """A line with what a server has told, or what to do for it."""
    if not isinstance(found, Packed) or line.measure in TIMES:
        return line
    scores = given.server.get(run.place, {}).get(run.label, {})
    if line.measure in scores:
        return line._replace(found=scores[line.measure])
    return line._replace(
        missing=f"a server scores {found.archive}; enter its scores by --server-results"
        f" under {run.place!r}, {run.label!r}"
    )


def _compared(line: Cell) -> Cell:
    """A line with the difference, where there is one."""
    if line.found is None or not isinstance(line.printed, int | float):
        return line
    return line._replace(difference=line.found - line.printed)


def _by_objects(line: Cell, found: Found) -> list[Cell]:
    """The times of videos with one, two and more objects."""
    if isinstance(found, StageTimes) or line.measure not in TIMES:
        return []
    rows = [row for row in found.speeds if row.objects is not None]
    if len(rows) < 2:
        return []
    return [
        line._replace(
            measure=f"{line.measure}, {row.objects} object{'s' * (row.objects != 1)}",
            found=row.s_per_frame if line.measure == "time_s" else row.frames_per_s,
            printed=None,
        )
        for row in rows
    ]


def settings_in_words(row: PrintedRow) -> str:
    """What a row names of its settings."""
    return ", ".join(f"{name} {_words(x)}" for name, x in row.varied.items())


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "+".join(map(str, value)) or "none"
    return str(value)


def _show(
    out: Path, table: PrintedTable, cells: Sequence[Cell], notes: Mapping[str, Any]
) -> None:
    """Prints a table and writes its files."""
    text = table_text(table, cells)
    print(f"{text}\n", flush=True)
    write_table(out, table.id, cells, notes)
    with atomic_path(out / f"{table.id}.md") as temporary:
        temporary.write_text(text)


def table_text(table: PrintedTable, cells: Sequence[Cell]) -> str:
    """A table for people: found, and in brackets what is printed and the difference."""
    columns = list(dict.fromkeys((x.measure, x.videos) for x in cells))
    many = len({videos for _, videos in columns}) > 1
    head = [
        "row",
        "settings",
        "weights",
        *(f"{name}, {videos}" if many else name for name, videos in columns),
    ]
    lines, reasons = [], dict[str, list[str]]()
    for row in dict.fromkeys(x.row for x in cells):
        own = {(x.measure, x.videos): x for x in cells if x.row == row}
        any_of = next(iter(own.values()))
        weights = dict.fromkeys(x.weights for x in own.values() if x.weights)
        lines.append(
            [
                row,
                any_of.settings,
                ", ".join(weights),
                *(_both(own[column]) if column in own else "" for column in columns),
            ]
        )
        for why in dict.fromkeys(x.missing for x in own.values() if x.missing):
            reasons.setdefault(why, []).append(row)
    videos = "" if many else f", {columns[0][1]}"
    told = "".join(f"\n{', '.join(rows)}: {why}." for why, rows in reasons.items())
    devices = dict.fromkeys(f"{x.device}, {x.type}" for x in cells if x.device)
    timed = f"\nTimes: {'; '.join(devices)}." if devices else ""
    return (
        f"{table.id}: {table.title}{videos}; {table.conditions}.\n\n"
        f"{markdown_table(head, lines)}\n{told}{timed}\n"
    )


def _both(cell: Cell) -> str:
    """0.852 (0.847, +0.005)."""
    found = "" if cell.found is None else number(cell.found, cell.measure)
    if cell.printed is None:
        return found
    printed, more = number(cell.printed, cell.measure), ""
    if cell.difference is not None:
        more = f", {cell.difference:+.{_digits(cell.measure)}f}"
    return f"{found} ({printed}{more})".strip()


def number(value: Value, measure: str) -> str:
    """A figure as tables show it."""
    if not isinstance(value, float):
        return str(value)
    # A short time has as many digits as it needs to differ from zero.
    return f"{value:.{_digits(measure)}f}" if value >= 0.1 else f"{value:.2g}"


def _digits(measure: str) -> int:
    return 2 if measure.startswith(TIMES) else 3
