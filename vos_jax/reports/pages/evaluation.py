"""The page of one evaluation, or of several of one split."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.reports.pages import tables
from vos_jax.reports.pages.comparison import (
    Difference,
    by_sequence,
    common_part,
    differences,
    unknown_annotations,
)
from vos_jax.reports.pages.examples import (
    draw_examples,
    examples_part,
    worst_sequences,
)
from vos_jax.reports.pages.html import (
    POINT,
    Markup,
    chart,
    folded,
    paragraph,
    section,
    write_page,
)
from vos_jax.reports.pages.results import Results

PAGE_BYTES = 4_800_000
"""Pictures are coded so that a page has no more, if there are not too many figures."""

_ROOM = 300_000
_BINS = 20
_MANY_OBJECTS = 20


class Written(NamedTuple):
    """A page, and the figures it shows.

    Attributes:
      path: The file.
      summaries: Global scores of each result, by its name.
      differences: From the first result, by the others' names.
      notes: What is missing, in words.
    """

    path: Path
    summaries: Mapping[str, Mapping[str, float]]
    differences: Mapping[str, Sequence[Difference]]
    notes: Sequence[str]


def write_evaluation(results: Sequence[Results], folder: Path) -> Written:
    """Writes the page of results of one data set and split.

    Args:
      results: From `read_results`; others are compared with the first.
      folder: Of the page.

    Raises:
      InputError: They cannot be compared, a picture cannot be read, or the page not be
        written.
    """
    results, left_out = common_part(results)
    first, others = results[0], results[1:]
    found = {each.name: differences(first, each) for each in others}
    data = _data(results)
    examples = draw_examples(results)
    notes = [*filter(None, [left_out, unknown_annotations(results)])]
    notes += _missing(results)
    title = f"{', '.join(each.name for each in results)} on {_split(first)}"
    limit = PAGE_BYTES - _ROOM - len(json.dumps(data))
    body = [
        paragraph(_extent(results), "lead"),
        _links(bool(others)),
        *(paragraph(note, "note") for note in notes),
        section(
            "compared",
            "What was compared" if others else "What was scored",
            tables.compared_table(results),
            tables.places(results),
        ),
        section("scores", "Scores", tables.summary_table(results), *_notes(results)),
        *_differences_parts(results, found),
        section("speed", "Speed and memory", tables.speed_table(results)),
        _tables_part(results),
        _frames_part(),
        _histogram_part(),
        examples_part(examples, results, limit),
    ]
    return Written(
        path=write_page(folder, title, body, data),
        summaries={each.name: each.report.summary() for each in results},
        differences=found,
        notes=notes,
    )


def _split(results: Results) -> str:
    return f"{results.report.dataset} {results.report.split}"


def _extent(results: Sequence[Results]) -> str:
    objects = results[0].report.objects
    sequences = by_sequence(objects)
    frames = sum(
        len({x for entry in entries for x in entry.frames})
        for entries in sequences.values()
    )
    made = " and ".join(
        f"{len(x)} {word if len(x) == 1 else word + 's'}"
        for x, word in ((sequences, "sequence"), (objects, "object"))
    )
    return f"{_split(results[0])}: {made}, {frames} scored frames."


def _links(several: bool) -> Markup:
    parts = {
        "scores": "Scores",
        **({"differences": "Differences"} if several else {}),
        "speed": "Speed",
        "sequences": "Sequences and objects",
        "frames": "Over the frames",
        "distribution": "Distribution",
        "worst": "Pictures",
    }
    links = "\n".join(f'<a href="#{name}">{title}</a>' for name, title in parts.items())
    return Markup(f'<nav aria-label="Parts of this page">{links}</nav>')


def _missing(results: Sequence[Results]) -> list[str]:
    """What readers of the page must know of figures that were not found anew."""
    found = []
    for each in results:
        if each.masks is None or "has others" in each.taken:
            found.append(f"{each.name}: scores were {each.taken}.")
        elif each.unseen:
            found.append(f"{each.name}: there are no pictures: {each.unseen}.")
    return found


def _notes(results: Sequence[Results]) -> list[Markup]:
    """What the protocol says of the scores, once where it is the same for all."""
    found: dict[str, list[str]] = {}
    for each in results:
        for note in each.report.notes:
            found.setdefault(note, []).append(each.name)
    return [
        paragraph(
            note if len(names) == len(results) else f"{', '.join(names)}: {note}",
            "small",
        )
        for note, names in found.items()
    ]


def _differences_parts(
    results: Sequence[Results], found: Mapping[str, Sequence[Difference]]
) -> list[Markup]:
    if not found:
        return []
    ends = [abs(x) for each in found.values() for y in each for x in (y.low, y.high)]
    limit = max([1e-3, *filter(math.isfinite, ends)])
    parts = [
        tables.differences_part(results[0], each, found[each.name], limit)
        for each in results[1:]
    ]
    told = paragraph(tables.how_drawn(), "small")
    return [section("differences", "Differences", *parts, told)]


def _frames_part() -> Markup:
    controls = Markup(
        '<form class="controls">'
        '<label>sequence <select name="sequence"></select></label>'
        ' <label>object <select name="object"></select></label></form>'
    )
    return section(
        "frames",
        "J and F over the frames",
        controls,
        POINT,
        Markup(
            '<div class="charts wide">'
            f"{chart('J', 'J, region similarity')}{chart('F', 'F, contour accuracy')}"
            "</div>"
        ),
    )


def _histogram_part() -> Markup:
    return section(
        "distribution",
        "Distribution of J",
        chart("histogram", "Share of the scored frames of all objects, by their J"),
    )


def _tables_part(results: Sequence[Results]) -> Markup:
    objects = tables.object_table(results)
    if len(results[0].report.objects) > _MANY_OBJECTS:
        objects = folded("All objects", objects)
    return section(
        "sequences", "Sequences and objects", tables.sequence_table(results), objects
    )


def _data(results: Sequence[Results]) -> dict[str, Any]:
    """What the script draws."""
    grouped = [by_sequence(each.report.objects) for each in results]
    sequences = []
    for name, objects in grouped[0].items():
        frames = list(dict.fromkeys(x for entry in objects for x in entry.frames))
        if len({entry.frames for entry in objects}) > 1:
            # Objects that come late do not bring their frames in order.
            frames.sort(key=_place_of(results[0], name, frames))
        each = [
            {
                "id": entry.object_id,
                "J": [
                    _values(x[name][place].region, entry.frames, frames)
                    for x in grouped
                ],
                "F": [
                    _values(x[name][place].contour, entry.frames, frames)
                    for x in grouped
                ],
            }
            for place, entry in enumerate(objects)
        ]
        sequences.append({"name": name, "frames": frames, "objects": each})
    worst = worst_sequences(results)[0]
    return {
        "kind": "evaluation",
        "worst": list(grouped[0]).index(worst),
        "names": [each.name for each in results],
        "summaries": [_finite(each.report.summary()) for each in results],
        "sequences": sequences,
        "histogram": {
            "edges": [round(x / _BINS, 2) for x in range(_BINS + 1)],
            "shares": [_shares(each) for each in results],
        },
    }


def _place_of(results: Results, name: str, frames: Sequence[str]) -> Any:
    known = results.sequences.get(name)
    outputs = list(known.outputs) if known else sorted(frames)
    place = {stem: number for number, stem in enumerate(outputs)}
    return lambda stem: place[stem]


def _values(
    scores: np.ndarray, stems: Sequence[str], frames: Sequence[str]
) -> list[float | None]:
    """Of all frames of the sequence, to four decimals; None where there is none."""
    known = dict(zip(stems, scores.tolist(), strict=True))
    return [
        None if known.get(x) is None or np.isnan(known[x]) else round(known[x], 4)
        for x in frames
    ]


def _shares(results: Results) -> list[float]:
    scores = np.concatenate([entry.region for entry in results.report.objects])
    scores = scores[np.isfinite(scores)]
    counts, _ = np.histogram(scores, _BINS, (0.0, 1.0))
    return [round(x, 5) for x in (counts / max(1, len(scores))).tolist()]


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: x if np.isfinite(x) else None for name, x in scores.items()}
