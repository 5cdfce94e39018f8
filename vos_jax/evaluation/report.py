"""What a scoring run found, and the files and tables it becomes."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation.measures import Statistics, statistics
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
    """

    sequence: str
    object_id: int
    frames: tuple[str, ...]
    region: np.ndarray
    contour: np.ndarray
    seen: bool = True

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
    """

    dataset: str
    split: str
    objects: tuple[ObjectScores, ...]
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, float]:
        """The global scores by the official column names, in order, in [0, 1].

        DAVIS: unweighted means over the objects of each object's statistics.
        YouTube-VOS: means over the objects of seen and of unseen categories, and their
        mean G. NaN where there is no such object.
        """
        if self.dataset == "youtube-vos":
            return _seen_and_unseen(self.objects)
        region = _mean_statistics(entry.region for entry in self.objects)
        contour = _mean_statistics(entry.contour for entry in self.objects)
        return {
            "J&F-Mean": (region.mean + contour.mean) / 2,
            "J-Mean": region.mean,
            "J-Recall": region.recall,
            "J-Decay": region.decay,
            "F-Mean": contour.mean,
            "F-Recall": contour.recall,
            "F-Decay": contour.decay,
        }


def write_report(report: Report, folder: str | Path) -> tuple[Path, ...]:
    """Writes the two official CSV files and a JSON file with every frame's scores.

    The CSV files have the names and the layout of the official DAVIS evaluator, three
    decimals. What is there is replaced, never read back.

    Returns:
      `global_results-<split>.csv`, `per-sequence_results-<split>.csv` and
      `results-<split>.json` in `folder`, which is made if needed.

    Raises:
      InputError: A file cannot be written.
    """
    folder = Path(folder)
    contents = {
        f"global_results-{report.split}.csv": _global_csv(report),
        f"per-sequence_results-{report.split}.csv": _sequence_csv(report),
        f"results-{report.split}.json": json.dumps(
            _as_json(report), indent=1, allow_nan=False
        )
        + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder}: {error.strerror}") from error
    for name, text in contents.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return tuple(folder / name for name in contents)


def format_table(report: Report) -> str:
    """The global scores and each object's means as aligned plain text."""
    summary = report.summary()
    width = max(len(name) for name in ("Object", *(o.name for o in report.objects)))
    lines = [
        f"{report.dataset} {report.split}: {len(report.objects)} objects, scores in "
        "[0, 1]",
        *report.notes,
        "",
        "  ".join(f"{name:>8}" for name in summary),
        "  ".join(f"{_decimal(value):>8}" for value in summary.values()),
        "",
        f"{'Object':<{width}}  J-Mean  F-Mean",
    ]
    for entry in report.objects:
        region, contour = statistics(entry.region), statistics(entry.contour)
        lines.append(
            f"{entry.name:<{width}}  {_decimal(region.mean):>6}  "
            f"{_decimal(contour.mean):>6}"
        )
    return "\n".join(lines) + "\n"


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
    summary = report.summary()
    values = ",".join(_decimal(value) for value in summary.values())
    return f"{','.join(summary)}\n{values}\n"


def _sequence_csv(report: Report) -> str:
    lines = ["Sequence,J-Mean,F-Mean"]
    for entry in report.objects:
        region, contour = statistics(entry.region), statistics(entry.contour)
        lines.append(f"{entry.name},{_decimal(region.mean)},{_decimal(contour.mean)}")
    return "\n".join(lines) + "\n"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "dataset": report.dataset,
        "split": report.split,
        "notes": list(report.notes),
        "global": {name: _finite(value) for name, value in report.summary().items()},
        "objects": [
            {
                "sequence": entry.sequence,
                "object": entry.object_id,
                "seen": entry.seen,
                "J": _statistics_json(entry.region),
                "F": _statistics_json(entry.contour),
                "frames": list(entry.frames),
                "J_frames": entry.region.tolist(),
                "F_frames": entry.contour.tolist(),
            }
            for entry in report.objects
        ],
    }


def _statistics_json(scores: np.ndarray) -> dict[str, float | None]:
    return {
        name: _finite(value) for name, value in statistics(scores)._asdict().items()
    }


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _decimal(value: float) -> str:
    return f"{value:.3f}"
