"""The picture of `vos-jax bench read`: time against memory frames."""

from pathlib import Path
from typing import Any

from vos_jax.engine.bench_read import NAME, ReadResult, ReadRow
from vos_jax.engine.report_table import machine, made, pyplot
from vos_jax.errors import InputError
from vos_jax.media import atomic_path

_MARKERS = "os^Dv<>P"


def plot(result: ReadResult, folder: str | Path) -> Path:
    """Draws `bench_read.png`.

    Panels are kinds of read and types down, numbers of objects across. A read has one
    style in all of them, and its limit the same colour; a limit that another read of
    the panel has too is drawn once.

    Raises:
      InputError: Matplotlib is not installed, or every row was skipped.
    """
    plt = pyplot()
    rows = [row for row in result.rows if row.time_ms is not None]
    if not rows:
        raise InputError("nothing to plot: every row was skipped")
    kinds = list(dict.fromkeys(row.kind for row in rows))
    lines = list(dict.fromkeys((row.kind, row.dtype) for row in rows))
    lines.sort(key=lambda line: kinds.index(line[0]))
    objects = sorted({row.objects for row in rows})
    styles = _styles(rows)
    figure, axes = plt.subplots(
        len(lines),
        len(objects),
        figsize=(max(3.6 * len(objects) + 1.2, 7), 2.8 * len(lines) + 1.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (kind, dtype), line in zip(lines, axes, strict=True):
        for count, axis in zip(objects, line, strict=True):
            which = kind, dtype, count
            panel = [r for r in rows if (r.kind, r.dtype, r.objects) == which]
            _draw_panel(axis, panel, styles)
            noun = "object" if count == 1 else "objects"
            axis.set_title(f"{kind}, {dtype}, {count} {noun}", fontsize=10)
    _name_axes(axes, sorted({row.frames for row in rows}))
    _explain(plt, figure, styles)
    path = made(folder) / f"{NAME}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)
    return path


def _styles(rows: list[ReadRow]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each read; those with a larger bank are dotted."""
    styles = {}
    for index, read in enumerate(dict.fromkeys(row.read for row in rows)):
        larger = any(row.capacity > row.frames for row in rows if row.read == read)
        styles[read] = {
            "color": f"C{index % 10}",
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": ":" if larger else "-",
            "markersize": 5,
        }
    return styles


def _draw_panel(
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


def _name_axes(axes: Any, frames: list[int]) -> None:
    first = axes[0, 0]
    first.set_xscale("log")
    first.set_yscale("log")
    first.set_xticks(frames, [str(count) for count in frames])
    first.minorticks_off()
    for axis in axes.flat:
        axis.grid(True, which="major", alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("memory frames T")
    for axis in axes[:, 0]:
        axis.set_ylabel("time [ms]")


def _explain(plt: Any, figure: Any, styles: dict[str, dict[str, Any]]) -> None:
    """Title and legend, which is the same for all panels."""
    handles = [plt.Line2D([], [], label=x, **style) for x, style in styles.items()]
    dashed = {"color": "grey", "linestyle": "--", "linewidth": 1}
    handles.append(plt.Line2D([], [], label="limit (roofline)", **dashed))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 4),
        frameon=False,
    )
    facts = machine()
    name = facts.processor if facts.backend == "cpu" else facts.device
    figure.suptitle(f"Memory reads, {name}, {facts.cores} cores, jax {facts.jax}")
