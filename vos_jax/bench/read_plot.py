"""The pictures of `vos-jax bench read`: time against memory frames and against k."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vos_jax.bench.read import NAME, ReadResult, ReadRow
from vos_jax.errors import InputError
from vos_jax.media import atomic_path, make_folder
from vos_jax.runtime.machine import machine
from vos_jax.runtime.plotting import pyplot

_MARKERS = "os^Dv<>P"
# With fewer numbers of cells there is no growth to be seen.
_LEAST_COUNTS = 3


def plot(result: ReadResult, folder: str | Path) -> list[Path]:
    """Draws `bench_read.png` and, of what was timed for three k or more, `_k.png`.

    Panels are kinds of read and types down, numbers of objects across.

    The first has time against memory frames. A read has one style in all panels:
    its colour says how many cells it keeps, and is that of its limit, too; a limit that
    another read of the panel has as well is drawn once. The second has time against k,
    a line for each number of memory frames, beside what grows in proportion to k.

    Returns:
      The files.

    Raises:
      InputError: Matplotlib is not installed, or every row was skipped.
    """
    plt = pyplot()
    rows = [row for row in result.rows if row.time_ms is not None]
    if not rows:
        raise InputError("nothing to plot: every row was skipped")
    folder = make_folder(folder)
    paths = [_drawn(plt, rows, _against_frames, folder / f"{NAME}.png")]
    growing = list(_of_many_counts(rows))
    if growing:
        paths.append(_drawn(plt, growing, _against_count, folder / f"{NAME}_k.png"))
    return paths


def _of_many_counts(rows: list[ReadRow]) -> Iterator[ReadRow]:
    """Filtered reads of the kinds that have enough of them."""
    for kind in dict.fromkeys(row.kind for row in rows):
        filtered = [row for row in rows if row.kind == kind and row.top_k is not None]
        if len({row.top_k for row in filtered}) >= _LEAST_COUNTS:
            yield from filtered


_Draw = Callable[[Any, Any, list[tuple[Any, list[ReadRow]]]], None]
"""Fills a figure (second) whose panels are axes with their rows, by Pyplot (first)."""


def _drawn(plt: Any, rows: list[ReadRow], draw: _Draw, path: Path) -> Path:
    """One picture: its panels, what they have in common, and its file."""
    lines = list(dict.fromkeys((row.kind, row.dtype) for row in rows))
    kinds = list(dict.fromkeys(kind for kind, _ in lines))
    lines.sort(key=lambda line: kinds.index(line[0]))
    objects = sorted({row.objects for row in rows})
    figure, axes = plt.subplots(
        len(lines),
        len(objects),
        figsize=(max(3.6 * len(objects) + 1.2, 7), 2.5 * len(lines) + 1.8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = []
    for (kind, dtype), line in zip(lines, axes, strict=True):
        for count, axis in zip(objects, line, strict=True):
            which = kind, dtype, count
            own = [r for r in rows if (r.kind, r.dtype, r.objects) == which]
            noun = "object" if count == 1 else "objects"
            axis.set_title(f"{kind}, {dtype}, {count} {noun}", fontsize=10)
            axis.grid(True, which="major", alpha=0.3)
            panels.append((axis, own))
    for axis in axes[:, 0]:
        axis.set_ylabel("time [ms]")
    draw(plt, figure, panels)
    facts = machine()
    name = facts.processor if facts.backend == "cpu" else facts.device
    figure.suptitle(f"Memory reads, {name}, {facts.cores} cores, jax {facts.jax}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)
    return path


def _against_frames(
    plt: Any, figure: Any, panels: list[tuple[Any, list[ReadRow]]]
) -> None:
    rows = [row for _, own in panels for row in own]
    styles = _styles(rows)
    for axis, own in panels:
        _draw_reads(axis, own, styles)
    _name_across(figure, "memory frames T", sorted({row.frames for row in rows}))
    dashed = {"color": "grey", "linestyle": "--", "linewidth": 1}
    _explain(plt, figure, styles | {"limit (roofline)": dashed})


def _styles(rows: list[ReadRow]) -> dict[str, dict[str, Any]]:
    """Of each read: a colour for each k, and a marker for all else that it is.

    References have dots and dashes, those with a larger bank dots.
    """
    counts = list(dict.fromkeys(row.top_k for row in rows))
    ways = list(dict.fromkeys(_way(row) for row in rows))
    styles = {}
    for row in rows:
        line = ":" if row.capacity > row.frames else _line(_way(row))
        place = counts.index(row.top_k), ways.index(_way(row))
        styles[row.read] = _style(*place, line)
    return styles


def _way(row: ReadRow) -> str:
    """What a read is but for the number of cells that it keeps."""
    return row.read.replace(f" top-{row.top_k}", "")


def _line(way: str) -> str:
    return "-." if way == "reference" else "-"


def _style(colour: int, marker: int, line: str) -> dict[str, Any]:
    return {
        "color": f"C{colour % 10}",
        "marker": _MARKERS[marker % len(_MARKERS)],
        "linestyle": line,
        "markersize": 5,
        "fillstyle": "none",
    }


def _draw_reads(
    axis: Any, rows: list[ReadRow], styles: dict[str, dict[str, Any]]
) -> None:
    drawn: set[tuple[int, float | None]] = set()
    for read in dict.fromkeys(row.read for row in rows):
        points = sorted((r for r in rows if r.read == read), key=lambda r: r.frames)
        frames = [row.frames for row in points]
        axis.plot(frames, [row.time_ms for row in points], **styles[read])
        limits = [(row.frames, row.limit_ms) for row in points]
        if not drawn.issuperset(limits):
            axis.plot(*zip(*limits, strict=True), "--", c=styles[read]["color"], lw=1)
        drawn.update(limits)


def _against_count(
    plt: Any, figure: Any, panels: list[tuple[Any, list[ReadRow]]]
) -> None:
    rows = [row for _, own in panels for row in own]
    frames = sorted({row.frames for row in rows})
    ways = list(dict.fromkeys(_way(row) for row in rows))
    styles = {
        f"{way}, T = {count}": _style(frames.index(count), ways.index(way), _line(way))
        for way in ways
        for count in frames
    }
    for axis, own in panels:
        lines: dict[str, list[tuple[int | None, float | None]]] = {}
        for row in own:
            points = lines.setdefault(f"{_way(row)}, T = {row.frames}", [])
            points.append((row.top_k, row.time_ms))
        for name, points in lines.items():
            axis.plot(*zip(*sorted(points), strict=True), **styles[name])
        _draw_slope(axis, own)
    _name_across(figure, "cells k", sorted({row.top_k or 0 for row in rows}))
    grey = {"color": "grey", "linestyle": "--", "linewidth": 1}
    _explain(plt, figure, styles | {"in proportion to k": grey})


def _draw_slope(axis: Any, rows: list[ReadRow]) -> None:
    """Proportion to k, through the fastest read of the largest."""
    counts = sorted({row.top_k for row in rows if row.top_k is not None})
    if counts:
        last = min(row.time_ms or 0 for row in rows if row.top_k == counts[-1])
        times = [last * count / counts[-1] for count in counts]
        axis.plot(counts, times, "--", c="grey", lw=1)


def _name_across(figure: Any, name: str, ticks: list[int]) -> None:
    """Both axes logarithmic; names the one across where there is no panel below."""
    first = figure.axes[0]
    first.set_xscale("log")
    first.set_yscale("log")
    first.set_xticks(ticks, [str(count) for count in ticks])
    first.minorticks_off()
    for axis in figure.axes:
        if axis.get_subplotspec().is_last_row():
            axis.set_xlabel(name)


def _explain(plt: Any, figure: Any, styles: dict[str, dict[str, Any]]) -> None:
    """The legend, which is the same for all panels."""
    handles = [plt.Line2D([], [], label=x, **style) for x, style in styles.items()]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        # The longest take two inches and a bit.
        ncols=min(len(handles), int(figure.get_figwidth() / 2.3)),
        frameon=False,
    )
