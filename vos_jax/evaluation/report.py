"""What a scoring run found, and the files and tables it becomes."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation.measures import Statistics, statistics
from vos_jax.evaluation.temporal_stability import mean_stability
from vos_jax.media.atomic import atomic_path


@dataclass(frozen=True, kw_only=True)
class ObjectScores:
    """The scores of one object in one sequence.

    Attributes:
      sequence: The sequence's name.
      object_id: The object's id in the annotation.
      frames: The stems of the `T` scored frames.
      region: J of each of them, float64 `[T]`.
      contour: F of each of them, float64 `[T]`.
      seen: Whether the object's category occurs in the training split.
      changes: What T averages: the change of outline between each scored frame and the
        next, float64 `[T - 1]`, NaN where undefined. None where T was not asked for
        and for sequences that take no part in it.
      given: Whether the annotation that gives the objects shows it.
      absent: Whether no scored annotation shows it. J and F then are 1 by definition
        wherever the result does not show it either.
    """

    sequence: str
    object_id: int
    frames: tuple[str, ...]
    region: np.ndarray
    contour: np.ndarray
    seen: bool = True
    changes: np.ndarray | None = None
    given: bool = True
    absent: bool = False

    @property
    def name(self) -> str:
        """`<sequence>_<id>`, as the official files name objects."""
        return f"{self.sequence}_{self.object_id}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All scores of a split.

    Attributes:
      dataset: The protocol, one of `datasets.DATASETS`.
      split: Such as "val".
      objects: In the order of the split's list.
      notes: What the protocol left out, in words.
      temporal: Whether temporal stability T was asked for.
      unscored: By sequence, ids that scored annotations show and that are no objects
        by the rules.
      about: Where masks and annotations were and how they were scored and, where that
        is known, made, as JSON can hold it. `annotations` has, for each sequence, a
        digest of those that were scored.
    """

    dataset: str
    split: str
    objects: tuple[ObjectScores, ...]
    notes: tuple[str, ...] = ()
    temporal: bool = False
    unscored: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """The global scores by the official column names, in order.

        J and F are in [0, 1]; T begins at 0 and may pass 1.

        DAVIS: unweighted means over the objects of each object's statistics. T-Mean,
        where asked for, is over the sequences that take part in it, and NaN where there
        is none or one of them has no T.
        YouTube-VOS: means over the objects of seen and of unseen categories, and their
        mean G. NaN where there is no such object.
        """
        scores = _official_scores(self.dataset, self.objects)
        if self.temporal:
            known = [mean_stability(changes) for changes in _all_changes(self)]
            scores["T-Mean"] = float(np.mean(known)) if known else math.nan
        return scores

    def scores_of_the_present(self) -> dict[str, float]:
        """`summary`, but for T, over the objects that are not absent.

        No official score; empty where all are absent.
        """
        present = tuple(entry for entry in self.objects if not entry.absent)
        return _official_scores(self.dataset, present) if present else {}


def write_report(report: Report, folder: str | Path) -> tuple[Path, ...]:
    """Writes the two official CSV files and a JSON file with every frame's scores.

    The CSV files have the names and the layout of the official DAVIS evaluator, three
    decimals. T, which they do not hold, gets one of its own; without T an earlier one
    is removed. What is there is replaced, never read back.

    Returns:
      `global_results-<split>.csv`, `per-sequence_results-<split>.csv`,
      `results-<split>.json` and, if T was asked for, `temporal_stability-<split>.csv`
      in `folder`, which is made if needed.

    Raises:
      InputError: A file cannot be written or removed.
    """
    folder = Path(folder)
    stability = f"temporal_stability-{report.split}.csv"
    contents = {
        f"global_results-{report.split}.csv": _global_csv(report),
        f"per-sequence_results-{report.split}.csv": _sequence_csv(report),
        f"results-{report.split}.json": json.dumps(
            _as_json(report), indent=1, allow_nan=False
        )
        + "\n",
    }
    if report.temporal:
        contents[stability] = _stability_csv(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder}: {error.strerror}") from error
    if not report.temporal:
        _remove_earlier(folder / stability)
    for name, text in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return tuple(folder / name for name in contents)


def _remove_earlier(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: of other results, and cannot be removed: {error.strerror}"
        ) from error


def format_table(report: Report) -> str:
    """The global scores and each object's means as aligned plain text."""
    summary = report.summary()
    width = max(len(name) for name in ("Object", *(o.name for o in report.objects)))
    lines = [
        f"{report.dataset} {report.split}: {len(report.objects)} objects, scores in "
        "[0, 1]" + (", T from 0 on and lower is better" if report.temporal else ""),
        *report.notes,
        "",
        "  ".join(f"{name:>8}" for name in summary),
        "  ".join(f"{_decimal(value):>8}" for value in summary.values()),
        "",
        f"{'Object':<{width}}  J-Mean  F-Mean" + "  T-Mean" * report.temporal,
    ]
    for entry in report.objects:
        cells = [statistics(entry.region).mean, statistics(entry.contour).mean]
        texts = [_decimal(value) for value in cells]
        if report.temporal:
            texts.append(_stability(entry))
        if entry.absent:
            texts.append("absent")
        lines.append("  ".join([f"{entry.name:<{width}}", *map("{:>6}".format, texts)]))
    return "\n".join(lines) + "\n"


def _official_scores(
    dataset: str, objects: tuple[ObjectScores, ...]
) -> dict[str, float]:
    """What the official files hold, which is all but T."""
    if dataset == "youtube-vos":
        return _seen_and_unseen(objects)
    region = _mean_statistics(entry.region for entry in objects)
    contour = _mean_statistics(entry.contour for entry in objects)
    return {
        "J&F-Mean": (region.mean + contour.mean) / 2,
        "J-Mean": region.mean,
        "J-Recall": region.recall,
        "J-Decay": region.decay,
        "F-Mean": contour.mean,
        "F-Recall": contour.recall,
        "F-Decay": contour.decay,
    }


def _mean_statistics(scores: Iterable[np.ndarray]) -> Statistics:
    return Statistics(*np.mean([statistics(each) for each in scores], axis=0).tolist())


def _seen_and_unseen(objects: tuple[ObjectScores, ...]) -> dict[str, float]:
    means = {}
    for measure in ("region", "contour"):
        for seen in (True, False):
            scores = [
                statistics(getattr(entry, measure)).mean
                for entry in objects
                if entry.seen == seen
            ]
            column = f"{'J' if measure == 'region' else 'F'}_{'' if seen else 'un'}seen"
            means[column] = float(np.mean(scores)) if scores else math.nan
    return {"G": float(np.mean(list(means.values()))), **means}


def _global_csv(report: Report) -> str:
    scores = _official_scores(report.dataset, report.objects)
    values = ",".join(_decimal(value) for value in scores.values())
    return f"{','.join(scores)}\n{values}\n"


def _sequence_csv(report: Report) -> str:
    lines = ["Sequence,J-Mean,F-Mean"]
    for entry in report.objects:
        region, contour = statistics(entry.region), statistics(entry.contour)
        lines.append(f"{entry.name},{_decimal(region.mean)},{_decimal(contour.mean)}")
    return "\n".join(lines) + "\n"


def _all_changes(report: Report) -> list[np.ndarray]:
    """Those of the sequences that take part in T."""
    return [entry.changes for entry in report.objects if entry.changes is not None]


def _stability(entry: ObjectScores) -> str:
    """T of an object, "-" where its sequence takes no part."""
    return "-" if entry.changes is None else _decimal(mean_stability(entry.changes))


def _stability_csv(report: Report) -> str:
    lines = ["Sequence,T-Mean"]
    for entry in report.objects:
        if entry.changes is not None:
            lines.append(f"{entry.name},{_stability(entry)}")
    return "\n".join(lines) + "\n"


def _stability_json(entry: ObjectScores) -> dict[str, Any]:
    if entry.changes is None:
        return {"T": None, "T_pairs": None}
    return {
        "T": _finite(mean_stability(entry.changes)),
        "T_pairs": [_finite(change) for change in entry.changes.tolist()],
    }


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "dataset": report.dataset,
        "split": report.split,
        "notes": list(report.notes),
        "about": dict(report.about),
        "global": _scores_json(report.summary()),
        "global_without_absent": _scores_json(report.scores_of_the_present()),
        "unscored": {name: list(ids) for name, ids in report.unscored.items()},
        "objects": [
            {
                "sequence": entry.sequence,
                "object": entry.object_id,
                "seen": entry.seen,
                "given": entry.given,
                "absent": entry.absent,
                "J": _statistics_json(entry.region),
                "F": _statistics_json(entry.contour),
                "frames": list(entry.frames),
                "J_frames": entry.region.tolist(),
                "F_frames": entry.contour.tolist(),
                **(_stability_json(entry) if report.temporal else {}),
            }
            for entry in report.objects
        ],
    }


def _scores_json(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in scores.items()}


def _statistics_json(scores: np.ndarray) -> dict[str, float | None]:
    return _scores_json(statistics(scores)._asdict())


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _decimal(value: float) -> str:
    return f"{value:.3f}"
