"""Results of one split side by side: what all have, and how sure differences are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation import ObjectScores, statistics
from vos_jax.reports.pages.results import Results

RESAMPLES = 10_000
"""How often an interval draws its sample again."""

SEED = 0
"""Of what intervals draw."""

FEW = 5
"""With fewer sequences than this an interval means little."""


_RULES = {
    "drop_last": ("with the last frame of each video", "without it"),
    "temporal": ("without temporal stability", "with temporal stability"),
}
_KINDS = {
    "seen": ("is of an unseen category", "is of a seen category"),
    "given": ("is not given by the first annotation", "is given by it"),
    "absent": ("is in scored annotations", "is in no scored annotation"),
}


class Difference(NamedTuple):
    """By how much the mean of one measure is higher than that of a first result.

    Attributes:
      measure: "J&F", "J" or "F".
      mean: Over objects, of their means over frames. NaN, as the next two, where a
        score is missing.
      low: Lower end of the 95 % interval.
      high: Upper end.
    """

    measure: str
    mean: float
    low: float
    high: float


def common_part(results: Sequence[Results]) -> tuple[list[Results], str]:
    """The results cut down to the sequences that all have, in the first one's order.

    Returns:
      The results, whose objects are the same, one after the other, and a sentence of
      what was left out, "" if nothing.

    Raises:
      InputError: They are of different data sets or splits, have no sequence in
        common, or were scored by different rules, annotations, frames or objects.
    """
    first = results[0]
    for other in results[1:]:
        for what in ("dataset", "split"):
            one, two = getattr(first.report, what), getattr(other.report, what)
            if one != two:
                raise InputError(
                    f"{other.folder}: is of {what} {two}, {first.folder} of {one};"
                    " compare results of the same"
                )
    own = [dict.fromkeys(x.sequence for x in each.report.objects) for each in results]
    shared = [name for name in own[0] if all(name in each for each in own)]
    if not shared:
        raise InputError(f"{results[-1].folder}: has no sequence of {first.folder}")
    dropped = sorted(set().union(*own) - set(shared))
    cut = [_only(each, shared) for each in results]
    for other in cut[1:]:
        _check_same_rules(cut[0], other)
        _check_same_annotations(cut[0], other)
        _check_same_objects(cut[0], other)
    if not dropped:
        return cut, ""
    only = (
        f"the {len(shared)} sequences that all results have are"
        if len(shared) > 1
        else "the one sequence that all results have is"
    )
    return cut, f"Only {only} compared; left out: {', '.join(dropped)}."


def _only(results: Results, names: Sequence[str]) -> Results:
    """With the objects of some sequences, in the order of `names` and of their ids."""
    place = {name: number for number, name in enumerate(names)}
    kept = [x for x in results.report.objects if x.sequence in place]
    kept.sort(key=lambda x: (place[x.sequence], x.object_id))
    return replace(results, report=replace(results.report, objects=tuple(kept)))


def _check_same_rules(first: Results, other: Results) -> None:
    for rule, words in _RULES.items():
        one, two = bool(first.rules[rule]), bool(other.rules[rule])
        if one != two:
            raise InputError(
                f"{other.folder}: was scored {words[two]}, {first.folder}"
                f" {words[one]}; score both alike"
            )
    sizes = [each.rules["resolution"] for each in (first, other)]
    if all(sizes) and sizes[0] != sizes[1]:
        raise InputError(
            f"{other.folder}: is of resolution {sizes[1]}, {first.folder} of"
            f" {sizes[0]}, and F depends on it; compare results of the same"
        )


def _check_same_annotations(first: Results, other: Results) -> None:
    """As far as both are known; `unknown_annotations` has the others."""
    for name, digest in first.annotations.items():
        if other.annotations.get(name, digest) != digest and any(
            entry.sequence == name for entry in first.report.objects
        ):
            raise InputError(
                f"{other.folder}: sequence {name} was scored by other annotations, or"
                f" in another resolution, than in {first.folder}; score both by the"
                " same annotations"
            )


def unknown_annotations(results: Sequence[Results]) -> str:
    """Says whose annotations may be others than those of the rest, "" if none."""
    unknown = [
        each.name
        for each in results
        if any(x.sequence not in each.annotations for x in each.report.objects)
    ]
    if len(results) == 1 or not unknown:
        return ""
    return (
        f"{', '.join(unknown)}: whether the annotations were those of the others is not"
        " known, for they were not noted and the masks were not scored anew."
    )


def _check_same_objects(first: Results, other: Results) -> None:
    def facts(results: Results) -> dict[tuple[str, int], ObjectScores]:
        return {(x.sequence, x.object_id): x for x in results.report.objects}

    one, two = facts(first), facts(other)
    for mine, yours, lacking, having in (
        (one, two, other, first),
        (two, one, first, other),
    ):
        if missing := [entry.name for key, entry in mine.items() if key not in yours]:
            raise InputError(
                f"{lacking.folder}: has no object {missing[0]}, which {having.folder}"
                " has; score both by the same annotations"
            )
    for key, entry in one.items():
        if entry.frames != two[key].frames:
            raise InputError(
                f"{other.folder}: object {entry.name} was scored in other frames than"
                f" in {first.folder}; score both by the same annotations"
            )
        for what, words in _KINDS.items():
            kind, its = getattr(entry, what), getattr(two[key], what)
            if kind != its:
                raise InputError(
                    f"{other.folder}: object {entry.name} {words[its]}, and in"
                    f" {first.folder} it {words[kind]}; score both alike"
                )


def by_sequence(objects: Sequence[ObjectScores]) -> dict[str, list[ObjectScores]]:
    """Objects by the name of their sequence, in their order."""
    found: dict[str, list[ObjectScores]] = {}
    for entry in objects:
        found.setdefault(entry.sequence, []).append(entry)
    return found


def object_means(entry: ObjectScores) -> dict[str, float]:
    """J&F, J and F of an object, means over its frames."""
    region, contour = statistics(entry.region).mean, statistics(entry.contour).mean
    return {"J&F": (region + contour) / 2, "J": region, "F": contour}


def sequence_means(objects: Sequence[ObjectScores]) -> dict[str, dict[str, float]]:
    """J&F, J and F of every sequence, means over its objects."""
    return {
        name: _mean_of([object_means(entry) for entry in entries])
        for name, entries in by_sequence(objects).items()
    }


def _mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def differences(first: Results, other: Results) -> list[Difference]:
    """What `other` has more than `first`, with intervals over sequences.

    Raises:
      ValueError: They are not of the same objects in the same order; `common_part`
        makes them so.
    """
    pairs = list(zip(first.report.objects, other.report.objects, strict=True))
    if any(
        (one.sequence, one.object_id) != (two.sequence, two.object_id)
        for one, two in pairs
    ):
        raise ValueError("results of other objects, or in another order")
    names = [one.sequence for one, _ in pairs]
    found = []
    for measure in ("J&F", "J", "F"):
        changes = np.array(
            [
                object_means(two)[measure] - object_means(one)[measure]
                for one, two in pairs
            ]
        )
        interval = (math.nan, math.nan)
        if np.isfinite(changes).all():
            interval = bootstrap_interval(changes, names)
        found.append(Difference(measure, float(np.mean(changes)), *interval))
    return found


def bootstrap_interval(
    values: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a mean over objects, when sequences are drawn anew.

    Objects of one sequence share its difficulty, so whole sequences are drawn, with
    replacement and as many as there are; every object of one comes along each time.
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
      values: One for each object, float64 `[O]`.
      groups: The sequence of each.
      resamples: Draws.
      seed: Of the draws.
      level: Share of the draws' means between the ends.

    Returns:
      The ends of the interval.
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    count = int(place.max()) + 1
    sums = np.bincount(place, weights=values, minlength=count)
    sizes = np.bincount(place, minlength=count)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for draw in range(resamples):
        drawn = rng.integers(count, size=count)
        means[draw] = sums[drawn].sum() / sizes[drawn].sum()
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
