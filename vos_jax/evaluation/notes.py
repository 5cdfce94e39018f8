"""What a report says beside its numbers: what counts, what does not, what misleads."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vos_jax.evaluation.report import ObjectScores, Report

_PROTOCOLS = {
    "davis2016": "The first and last frame of each sequence are left out; every "
    "non-zero pixel is the object.",
    "davis2017": "The first and last frame of each sequence are left out; void (255) "
    "in an annotation is background.",
}
_MOST_NAMED = 10


def protocol_note(dataset: str, drop_last: bool) -> str:
    """The rules by which a data set is scored."""
    last = "left out" if drop_last else "scored"
    return _PROTOCOLS.get(dataset) or (
        "An object is scored from the frame after the one that gives its mask; the "
        f"last frame of a video is {last} (what the server does is not documented)."
    )


def temporal_notes(objects: tuple[ObjectScores, ...]) -> Iterator[str]:
    """Which sequences T is the mean of, and which have none."""
    absent = [entry.sequence for entry in objects if entry.changes is None]
    if len(absent) == len(objects):
        yield "T is undefined: by the rules of DAVIS 2016 no sequence here takes part."
    elif absent:
        yield (
            f"T is the mean of {len(objects) - len(absent)} sequences; by the rules of "
            f"DAVIS 2016 these take no part: {', '.join(absent)}."
        )
    if without := [
        entry.sequence
        for entry in objects
        if entry.changes is not None and np.isnan(entry.changes).all()
    ]:
        yield (
            "T is undefined without two masks in a row that have an outline: "
            f"{', '.join(without)}."
        )


def undefined_notes(report: Report) -> Iterator[str]:
    """Why scores of YouTube-VOS are not a number."""
    if report.dataset != "youtube-vos":
        return
    for seen, kind in ((True, "seen"), (False, "unseen")):
        if all(entry.seen != seen for entry in report.objects):
            yield (
                f"G, J_{kind} and F_{kind} are undefined: no object that is scored is "
                f"of {'a' if seen else 'an'} {kind} category."
            )


def misleading_notes(report: Report) -> Iterator[str]:
    """Where official scores say less than they seem to: objects that are not there."""
    if absent := [entry for entry in report.objects if entry.absent]:
        yield (
            "No scored annotation shows these objects, so that each counts as 1 where "
            f"the results do not show it either: {_of_entries(absent)}. "
            f"{_without(report)}"
        )
    if late := [o for o in report.objects if not (o.given or o.absent)]:
        yield (
            "The first annotation, which gives the objects, does not show these, and "
            f"yet they are scored: {_of_entries(late)}."
        )
    if report.unscored:
        reason = "the first annotation has no id as high"
        if report.dataset == "youtube-vos":
            reason = "meta.json does not list them"
        yield (
            f"Later annotations show these objects, which are not scored, as {reason}: "
            f"{_of_ids(report.unscored)}."
        )


def _without(report: Report) -> str:
    """The means over the objects that are there."""
    scores = report.scores_of_the_present()
    if not scores:
        return "No other object is scored."
    named = [
        f"{name} {value:.3f}"
        for name, value in scores.items()
        if not name.endswith(("Recall", "Decay"))
    ]
    return f"The means without them: {', '.join(named)}."


def _of_entries(entries: Iterable[ObjectScores]) -> str:
    ids: dict[str, list[int]] = {}
    for entry in entries:
        ids.setdefault(entry.sequence, []).append(entry.object_id)
    return _of_ids(ids)


def _of_ids(ids: Mapping[str, Iterable[int]]) -> str:
    """Ids of sequences: `goat 2, 4-19; gym 3`."""
    texts = [f"{name} {_ranges(each)}" for name, each in ids.items()]
    if len(texts) > _MOST_NAMED:
        rest = len(texts) - _MOST_NAMED
        texts[_MOST_NAMED:] = [f"and of {rest} more sequences"]
    return "; ".join(texts)


def _ranges(ids: Iterable[int]) -> str:
    """Ascending numbers, those in a row as their first and last: `2, 4-19`."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)
