"""The part of a page that shows where results are worst, and where they differ."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vos_jax.evaluation import ObjectScores
from vos_jax.reports.pages.comparison import by_sequence, sequence_means
from vos_jax.reports.pages.html import Markup, paragraph, section, text
from vos_jax.reports.pages.pictures import CONFUSED, Album, draw_frame
from vos_jax.reports.pages.results import Results
from vos_jax.reports.side_by_side import MISSED, WRONG

_WORST, _DIFFERENT = 6, 3
_LARGE = Markup(
    '<p class="small"><label><input type="checkbox" id="large"> large pictures</label>'
    "</p>"
)


class Example(NamedTuple):
    """A frame to look at.

    Attributes:
      sequence: Its name.
      frame: The stem.
      scores: J&F of the frame, mean over its objects, of each result.
    """

    sequence: str
    frame: str
    scores: tuple[float, ...]


class Examples(NamedTuple):
    """Frames with their pictures.

    Attributes:
      worst: Of the sequences with the lowest J&F, the lowest first.
      different: Of those where the results differ most; none that is in `worst`.
      pictures: Of each frame the numbers of its pictures in the album.
      album: Holds all pictures.
    """

    worst: list[Example]
    different: list[Example]
    pictures: dict[Example, list[int]]
    album: Album


def choose_frames(
    results: Sequence[Results], sequence: str, count: int, *, different: bool = False
) -> list[Example]:
    """The worst frames of a sequence, worst first, not all from one moment.

    Args:
      results: Of several that have the sequence their mean counts.
      sequence: Its name.
      count: How many frames, at most.
      different: Those where results differ most instead.
    """
    means = [
        frame_means(by_sequence(each.report.objects)[sequence]) for each in results
    ]
    frames = list(means[0])
    table = np.array([[each[frame] for frame in frames] for each in means])
    badness = -table.mean(axis=0)
    if different:
        badness = table.max(axis=0) - table.min(axis=0)
    apart = max(1, len(frames) // (2 * count))
    chosen: list[int] = []
    for place in np.argsort(-badness, kind="stable").tolist():
        if len(chosen) < count and all(abs(place - x) >= apart for x in chosen):
            chosen.append(place)
    return [Example(sequence, frames[x], tuple(table[:, x].tolist())) for x in chosen]


def frame_means(objects: Sequence[ObjectScores]) -> dict[str, float]:
    """J&F of each frame of a sequence, mean over the objects scored in it."""
    found: dict[str, list[float]] = {}
    for entry in objects:
        both = (entry.region + entry.contour) / 2
        for frame, value in zip(entry.frames, both.tolist(), strict=True):
            found.setdefault(frame, []).append(value)
    return {frame: float(np.mean(values)) for frame, values in found.items()}


def draw_examples(results: Sequence[Results]) -> Examples:
    """Chooses frames and draws them where all results have what that takes.

    Raises:
      InputError: A file cannot be read.
    """
    worst, different = _choose(results)
    album, pictures = Album(), dict[Example, list[int]]()
    if results[0].sequences and all(each.masks is not None for each in results):
        for example in dict.fromkeys([*worst, *different]):
            drawn = draw_frame(example.sequence, example.frame, results)
            pictures[example] = [album.add(picture) for picture in drawn]
    return Examples(worst, different, pictures, album)


def worst_sequences(results: Sequence[Results]) -> list[str]:
    """Sequences by their J&F, of several results by the mean of it, lowest first."""
    table = _scores(results)
    # Sequences with a missing score come last.
    return sorted(table, key=lambda x: (np.nan_to_num(np.mean(table[x]), nan=2), x))


def _scores(results: Sequence[Results]) -> dict[str, list[float]]:
    """J&F of each result, by the sequence's name."""
    means = [sequence_means(each.report.objects) for each in results]
    return {name: [each[name]["J&F"] for each in means] for name in means[0]}


def _choose(results: Sequence[Results]) -> tuple[list[Example], list[Example]]:
    count = 3 if len(results) == 1 else 2
    names = worst_sequences(results)[:_WORST]
    worst = [x for name in names for x in choose_frames(results, name, count)]
    if len(results) == 1:
        return worst, []
    spread = {name: max(row) - min(row) for name, row in _scores(results).items()}
    apart = sorted(spread, key=lambda name: (-spread[name], name))[:_DIFFERENT]
    different = [
        example
        for name in apart
        if spread[name] > 0
        for example in choose_frames(results, name, count, different=True)
        if example not in worst
    ]
    return worst, different


def examples_part(examples: Examples, results: Sequence[Results], limit: int) -> Markup:
    """Shows them.

    Args:
      examples: From `draw_examples`.
      results: The same.
      limit: Characters of all pictures together.
    """
    if not examples.pictures:
        told = "There are none: they need the data set's frames and all results' masks."
        return section("worst", "Worst sequences", paragraph(told))
    sources, width = examples.album.coded(limit)
    rest = (examples.pictures, results, sources)
    parts = [_legend(), _LARGE, *_shown(examples.worst, *rest)]
    if examples.different:
        parts.append(Markup("<h3>Where they differ most</h3>"))
        parts += _shown(examples.different, *rest)
    told = f"Pictures are at most {width} pixels wide, and coded with loss."
    return section(
        "worst", "Worst sequences and frames", *parts, paragraph(told, "small")
    )


def _legend() -> Markup:
    words = {
        "none": "right: an object in its own colours",
        _hex(MISSED): "missed: an object, taken for background",
        _hex(WRONG): "wrong: background, taken for an object",
        _hex(CONFUSED): "confused: an object, taken for another",
    }
    lines = [
        '<li><svg class="patch" viewBox="0 0 12 12" aria-hidden="true">'
        f'<rect width="12" height="12" fill="{colour}"/></svg>'
        f" {text(said)}</li>"
        for colour, said in words.items()
    ]
    return Markup(f'<ul class="legend">{"".join(lines)}</ul>')


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{x:02x}" for x in colour)


def _shown(
    chosen: Sequence[Example],
    pictures: dict[Example, list[int]],
    results: Sequence[Results],
    sources: Sequence[str],
) -> list[Markup]:
    parts, before = [], None
    means = [sequence_means(each.report.objects) for each in results]
    for example in chosen:
        if example.sequence != before:
            before = example.sequence
            told = ", ".join(
                f"{_told(each, results)}{row[before]['J&F']:.3f}"
                for each, row in zip(results, means, strict=True)
            )
            title = f"{text(before)} <small>J&amp;F {text(told)}</small>"
            parts.append(Markup(f"<h3>{title}</h3>"))
        parts.append(_example(example, pictures[example], results, sources))
    return parts


def _told(each: Results, results: Sequence[Results]) -> str:
    return f"{each.name} " if len(results) > 1 else ""


def _example(
    example: Example,
    numbers: Sequence[int],
    results: Sequence[Results],
    sources: Sequence[str],
) -> Markup:
    captions = ["annotation"]
    for each, score in zip(results, example.scores, strict=True):
        named = _told(each, results)
        captions += [f"{named}mask", f"{named}errors, J&F {score:.3f}"]
    figures = "\n".join(
        f'<figure><img decoding="async" src="{sources[number]}" alt="'
        f'{text(f"{example.sequence}, frame {example.frame}: {caption}")}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for number, caption in zip(numbers, captions, strict=True)
    )
    return Markup(
        f"<h4>frame {text(example.frame)}</h4>\n"
        f'<div class="pictures of{len(numbers)}">{figures}</div>'
    )
