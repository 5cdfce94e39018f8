"""The tables of an evaluation's page: what was compared, scores, speed, differences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vos_jax.evaluation import statistics
from vos_jax.reports.pages.comparison import (
    FEW,
    RESAMPLES,
    SEED,
    Difference,
    by_sequence,
    object_means,
    sequence_means,
)
from vos_jax.reports.pages.html import (
    Cell,
    Markup,
    facts,
    folded,
    number,
    paragraph,
    signed,
    swatch,
    table,
    text,
)
from vos_jax.reports.pages.results import Results

_Row = list[Cell | str]


def named(results: Sequence[Results]) -> list[Markup]:
    """Names with the lines that charts draw them by."""
    return [
        Markup(f'<span class="name">{swatch(place)} {text(each.name)}</span>')
        for place, each in enumerate(results)
    ]


def compared_table(results: Sequence[Results]) -> Markup:
    """What was compared: a column for each result."""
    columns = [_facts_of(each) for each in results]
    names = dict.fromkeys(name for column in columns for name in column)
    rows: list[_Row] = []
    for name in names:
        cells = [
            str(column.get(name) or each.others or "not noted")
            for column, each in zip(columns, results, strict=True)
        ]
        rows.append([name, *cells])
    return table(["", *named(results)], rows, caption="What was compared", quiet=True)


def _facts_of(results: Results) -> dict[str, Any]:
    about, settings = results.about, results.settings
    machine = about.get("machine") or (results.speed or {}).get("machine", {})
    rows = (results.speed or {}).get("rows", [])
    config = settings.get("method") or ""
    found: dict[str, Any] = {
        "method": about.get("method") or config.partition("(")[0],
        "weights": _weights(about, settings),
        "computed at": _size(settings),
        "type": about.get("type") or next((row["type"] for row in rows), None),
        "device": _device(machine),
        "versions": _versions(machine),
        "made on": machine.get("date"),
        "scores": results.taken,
    }
    return found


def _weights(about: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    name = about.get("weights") or ("that ship with it" if "method" in about else None)
    mark = settings.get("weights")
    if mark == "demo":
        mark = None
    if name and mark:
        return f"{name} ({mark})"
    return name or mark


def _size(settings: Mapping[str, Any]) -> str | None:
    if not settings:
        return None
    size = settings.get("size")
    told = "the size of the frames" if size is None else f"shorter side {size} pixels"
    return f"{told}, mirrored too" if settings.get("flip") else told


def _device(machine: Mapping[str, Any]) -> str | None:
    if not machine:
        return None
    if machine.get("backend") == "cpu":
        return f"{machine['processor']}, {machine['cores']} cores"
    return f"{machine['devices']} x {machine['device']}"


def _versions(machine: Mapping[str, Any]) -> str | None:
    if not machine:
        return None
    return ", ".join(f"{x} {machine[x]}" for x in ("jax", "jaxlib", "python"))


def places(results: Sequence[Results]) -> Markup:
    """Where everything was, and the methods' whole configurations, folded."""
    parts = []
    for name, each in zip(named(results), results, strict=True):
        known = {
            "results": each.folder,
            "masks": each.masks or each.about.get("masks"),
            "data set": each.root,
            "configuration": each.settings.get("method"),
        }
        parts.append(Markup(f"<h3>{name}</h3>{facts(known)}"))
    return folded("Folders and configurations", Markup("\n".join(parts)))


def summary_table(results: Sequence[Results]) -> Markup:
    """The global scores, by their official names."""
    summaries = [each.report.summary() for each in results]
    names = list(dict.fromkeys(name for row in summaries for name in row))
    rows: list[_Row] = [
        [name, *(number(summary.get(key)) for key in names)]
        for name, summary in zip(named(results), summaries, strict=True)
    ]
    return table(["result", *names], rows, caption="Scores", quiet=True)


def speed_table(results: Sequence[Results]) -> Markup:
    """Frames a second and memory, as far as they were noted."""
    head = ["result", "objects", "frames", "frames/s", "ms a frame", "what was timed"]
    rows: list[_Row] = []
    for name, each in zip(named(results), results, strict=True):
        rows += [[name, *row] for row in _speeds(each)]
    memory: list[_Row] = [
        [name, *map(_mebibytes, _peaks(each))]
        for name, each in zip(named(results), results, strict=True)
        if any(_peaks(each))
    ]
    parts = [table(head, rows, caption="Speed")] if rows else []
    if memory:
        titles = ["result", "of the process, MiB", "of the device, MiB"]
        parts.append(table(titles, memory, caption="Most memory in use"))
    for each in results:
        if each.others:
            parts.append(paragraph(f"{each.name}: {each.others}."))
    quiet = [each.name for each in results if not (list(_speeds(each)) or each.others)]
    if quiet:
        parts.append(paragraph(f"No speed was noted with {', '.join(quiet)}."))
    return Markup("\n".join(parts))


def _speeds(results: Results) -> Iterator[_Row]:
    for row in (results.speed or {}).get("rows", []):
        objects = "any" if row["objects"] is None else str(row["objects"])
        seconds = number(1000 * row["s_per_frame"], 1)
        timed = f"warm, frame by frame, without files; {row['type']}; {row['device']}"
        rate = number(row["frames_per_s"], 1)
        yield [objects, Cell(str(row["frames"])), rate, seconds, timed]
    videos = [x for x in results.about.get("segmented", ()) if x["frames_per_second"]]
    if videos:
        frames = sum(video["frames"] for video in videos)
        seconds = sum(video["frames"] / video["frames_per_second"] for video in videos)
        rates = number(frames / seconds, 1), number(1000 * seconds / frames, 1)
        yield [
            "any",
            Cell(str(frames)),
            *rates,
            "videos of the run that made the masks, files too",
        ]


def _peaks(results: Results) -> tuple[int | None, int | None]:
    found = results.about.get("memory") or (results.speed or {}).get("memory") or {}
    return found.get("process_peak_bytes"), found.get("device_peak_bytes")


def _mebibytes(size: int | None) -> Cell:
    return number(None if size is None else size / 2**20, 0)


def sequence_table(results: Sequence[Results]) -> Markup:
    """J&F, J and F of each sequence."""
    means = [sequence_means(each.report.objects) for each in results]
    sequences = by_sequence(results[0].report.objects)
    measures = ("J&F",) if len(results) > 1 else ("J&F", "J", "F")
    head = ["sequence", "objects", "frames"]
    head += [
        _column(measure, each, results) for each in results for measure in measures
    ]
    if len(results) > 1:
        head += [f"{x.name} − {results[0].name}" for x in results[1:]]
    changes = [abs(x[n]["J&F"] - means[0][n]["J&F"]) for x in means for n in x]
    limit = max(filter(math.isfinite, changes), default=0.0)
    rows: list[_Row] = []
    for name, objects in sequences.items():
        frames = len(dict.fromkeys(x for entry in objects for x in entry.frames))
        row: _Row = [_chooser(name), _count(len(objects)), _count(frames)]
        row += [number(each[name][measure]) for each in means for measure in measures]
        own = means[0][name]["J&F"]
        row += [
            _with_bar(each[name]["J&F"] - own, limit, place)
            for place, each in enumerate(means[1:], 1)
        ]
        rows.append(row)
    return table(head, rows, caption="Sequences", sortable=True)


def _with_bar(value: float, limit: float, place: int) -> Cell:
    """A difference with a bar from 0 in the colour of who is better.

    Args:
      value: By how much a result is better than the first one.
      limit: Of the longest bar.
      place: Of the result.
    """
    cell = signed(value)
    if cell.value is None:
        return cell
    end = 32 + 30 * value / (limit or 1.0)
    left, width = min(32.0, end), abs(end - 32)
    kind = f"bar series{place % 6 if value > 0 else 0}"
    bar = (
        ' <svg class="bar-cell" viewBox="0 0 64 10" aria-hidden="true">'
        f'<rect class="{kind}" x="{left:.1f}" y="1" width="{width:.1f}" height="8"/>'
        '<line class="zero" x1="32" x2="32" y1="0" y2="10"/></svg>'
    )
    return Cell(Markup(cell.content + bar), cell.value)


def object_table(results: Sequence[Results]) -> Markup:
    """Mean, recall and decay of each object; of several results the means."""
    several = len(results) > 1
    head = ["object"]
    if several:
        measures: tuple[str, ...] = ("J", "F")
        head += [_column(x, each, results) for each in results for x in measures]
    else:
        head += ["J&F"]
        head += [f"{x} {y}" for x in "JF" for y in ("mean", "recall", "decay")]
    head += ["frames"]
    rows: list[_Row] = []
    for entries in zip(*(each.report.objects for each in results), strict=True):
        first = entries[0]
        row: _Row = [f"{first.name}, absent" if first.absent else first.name]
        if several:
            for entry in entries:
                means = object_means(entry)
                row += [number(means["J"]), number(means["F"])]
        else:
            row.append(number(object_means(first)["J&F"]))
            for scores in (first.region, first.contour):
                row += [number(value) for value in statistics(scores)]
        rows.append([*row, _count(len(first.frames))])
    return table(head, rows, caption="Objects", sortable=True)


def _column(measure: str, each: Results, results: Sequence[Results]) -> str:
    return f"{measure}, {each.name}" if len(results) > 1 else measure


def _count(value: int) -> Cell:
    return Cell(str(value), value)


def _chooser(name: str) -> Markup:
    """A sequence's name, by which its charts are chosen."""
    return Markup(f'<a href="#frames" data-choose="{text(name)}">{text(name)}</a>')


def differences_part(
    first: Results, other: Results, found: Sequence[Difference], limit: float
) -> Markup:
    """By how much one result is better than a first one, and where.

    Args:
      first: The one that others are compared with.
      other: One of these.
      found: Their differences.
      limit: Where the axes of the intervals end.
    """
    head = ["measure", "difference", "from", "to", "95 % interval"]
    rows: list[_Row] = []
    for each in found:
        ends = signed(each.low), signed(each.high)
        rows.append([each.measure, signed(each.mean), *ends, _interval(each, limit)])
    title = f"{other.name} − {first.name}, means over objects"
    parts = [
        table(head, rows, caption=title),
        paragraph(_in_words(first, other, found)),
    ]
    return Markup("\n".join(parts))


def _in_words(first: Results, other: Results, found: Sequence[Difference]) -> str:
    own, theirs = (sequence_means(each.report.objects) for each in (first, other))
    changes = [theirs[name]["J&F"] - own[name]["J&F"] for name in own]
    better, worse = sum(x > 0 for x in changes), sum(x < 0 for x in changes)
    count = len(changes)
    both = next(each for each in found if each.measure == "J&F")
    if not math.isfinite(both.mean):
        return "Of J&F scores are missing, so that which is better cannot be told."
    sure = both.low > 0 or both.high < 0
    words = (
        f"In J&F {other.name} is better than {first.name} in {better} of {count}"
        f" sequence{'s' * (count > 1)} and worse in {worse}. The interval of J&F"
        f" {'does not hold' if sure else 'holds'} 0"
        f"{'' if sure else ', so which is better is not settled by these sequences'}."
    )
    if count < FEW:
        words += f" With {count} sequence{'s' * (count > 1)} it means little."
    return words


def how_drawn() -> str:
    """What the intervals are, in words."""
    return (
        f"95 % percentile intervals of the bootstrap: whole sequences were drawn with"
        f" replacement, {RESAMPLES:,} times, by a generator that begins with {SEED}."
        " They tell of other sequences like these, not of other training runs."
    )


def _interval(each: Difference, limit: float) -> Markup:
    """The interval as a line, with the mean on it and a tick at 0."""
    if not math.isfinite(each.mean):
        return Markup("-")

    def place(value: float) -> str:
        return f"{60 + 56 * max(-1.0, min(1.0, value / limit)):.1f}"

    return Markup(
        '<svg class="interval" viewBox="0 0 120 14" aria-hidden="true">'
        '<line class="zero" x1="60" x2="60" y1="0" y2="14"/>'
        f'<line x1="{place(each.low)}" x2="{place(each.high)}" y1="7" y2="7"/>'
        f'<circle cx="{place(each.mean)}" cy="7" r="3.5"/></svg>'
    )
