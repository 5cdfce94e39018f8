"""Scoring of result masks by the rules of DAVIS 2016, DAVIS 2017 and YouTube-VOS.

A result is `<results>/<sequence>/<stem>.png` for each annotated stem. Which frames,
which objects and which means count is all that differs between the protocols. Frames
are read one pair at a time; sequences are independent and may go to several processes.
"""

import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vos_jax.errors import InputError, warn
from vos_jax.evaluation.categories import seen_categories
from vos_jax.evaluation.datasets import (
    Sequence,
    no_object_error,
    object_starts,
    read_dataset,
)
from vos_jax.evaluation.measures import score_frame
from vos_jax.evaluation.notes import (
    misleading_notes,
    protocol_note,
    temporal_notes,
    undefined_notes,
)
from vos_jax.evaluation.report import ObjectScores, Report
from vos_jax.evaluation.temporal_stability import LEFT_OUT, temporal_stability
from vos_jax.media.masks import read_labels, read_size
from vos_jax.types import IGNORE

Progress = Callable[[int, int, str], None]
"""Told how many sequences are done, of how many, and the name of the latest."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What one process needs to score one sequence.

    Attributes:
      sequence: With all its annotations.
      results: The folder of all results.
      drop_last: YouTube-VOS: whether the last frame is left out.
      seen: YouTube-VOS: the seen categories; None if all are.
      temporal: Whether T is computed too.
    """

    sequence: Sequence
    results: Path
    drop_last: bool
    seen: frozenset[str] | None
    temporal: bool

    def result(self, stem: str) -> Path:
        return self.results / self.sequence.name / f"{stem}.png"


class _Scored(NamedTuple):
    """What a sequence has come to.

    Attributes:
      objects: With their scores; those without a frame to score have no scores.
      unscored: Ids that scored annotations show and that are no objects by the rules.
      digest: Of the scored annotations, as they were read.
    """

    objects: list[ObjectScores]
    unscored: tuple[int, ...]
    digest: str


def score(
    dataset: str,
    root: str | Path,
    split: str,
    results: str | Path,
    workers: int | None = None,
    progress: Progress | None = None,
    *,
    resolution: str | None = None,
    sequences: Collection[str] | None = None,
    drop_last: bool = False,
    seen: Collection[str] | None = None,
    temporal: bool = False,
) -> Report:
    """Scores the masks of a folder against the annotations of a split.

    The scores are those of the official programs. Where these count objects that are
    not there, the report's notes say so, and a warning is given.

    Args:
      dataset: "davis2016", "davis2017" (semi-supervised) or "youtube-vos".
      root: The data set's folder, see `read_dataset`.
      split: Such as "val".
      results: The folder of `<sequence>/<stem>.png` masks.
      workers: Processes to use, by default this one alone. They are spawned, so a
        script that asks for more needs the `if __name__ == "__main__"` guard.
      progress: Called with (sequences done, sequences in all, name of the one just
        done).
      resolution: DAVIS: see `read_dataset`.
      sequences: Score only these.
      drop_last: YouTube-VOS: leave out the last annotated frame of each video, for all
        of its objects. DAVIS always does; whether the YouTube-VOS server does is not
        documented.
      seen: YouTube-VOS: the categories seen in training; by default those of
        `<root>/train/meta.json`, and all of them where the split is "train".
      temporal: DAVIS 2016: compute temporal stability T as well, of the sequences that
        take part in it. It takes several times as long as J and F.

    Raises:
      InputError: T or seen categories are asked for where the protocol has none. A
        file is missing, has another size than its annotation or ids that are not
        objects; or the annotations of the split are not complete, because its scores
        come from a server.
    """
    if seen is not None and dataset != "youtube-vos":
        raise InputError(
            f"seen and unseen categories are those of youtube-vos, not of {dataset}; "
            "leave them out"
        )
    if temporal and dataset != "davis2016":
        raise InputError(
            f"temporal stability is a measure of davis2016, not of {dataset}; leave it "
            "out"
        )
    about = {
        "root": str(Path(root).resolve()),
        "masks": str(Path(results).resolve()),
        "resolution": resolution,
        "drop_last": drop_last,
        "seen": None if seen is None else sorted(seen),
    }
    listed = read_dataset(
        dataset,
        root,
        split,
        resolution=resolution,
        sequences=sequences,
        images=False,
    )
    for sequence in listed:
        _check_annotations(sequence, split)
    if dataset == "youtube-vos":
        seen = seen_categories(listed, Path(root), split, seen)
    jobs = [
        _Job(
            sequence=sequence,
            results=Path(results),
            drop_last=drop_last,
            seen=None if seen is None else frozenset(seen),
            temporal=temporal and sequence.name not in LEFT_OUT,
        )
        for sequence in listed
    ]
    _check_results(jobs)
    found = _run(jobs, workers or 1, progress)
    report = _report(dataset, split, drop_last, temporal, found)
    digests = {name: scored.digest for name, scored in found.items()}
    return replace(report, about={**about, "annotations": digests})


def _report(
    dataset: str,
    split: str,
    drop_last: bool,
    temporal: bool,
    found: dict[str, _Scored],
) -> Report:
    """Joins the sequences, and says what is to be known beside the scores."""
    entries = [entry for scored in found.values() for entry in scored.objects]
    objects = tuple(entry for entry in entries if entry.frames)
    if not objects:
        raise InputError(f"{dataset} {split} has no object with a frame to score")
    report = Report(
        dataset=dataset,
        split=split,
        objects=objects,
        temporal=temporal,
        unscored={n: each.unscored for n, each in found.items() if each.unscored},
    )
    notes = [protocol_note(dataset, drop_last)]
    if without := [entry.name for entry in entries if not entry.frames]:
        notes.append(f"Without a frame to score and left out: {', '.join(without)}.")
    if temporal:
        notes.extend(temporal_notes(objects))
    notes.extend(undefined_notes(report))
    for note in misleading_notes(report):
        warn(f"{dataset} {split}: {note}")
        notes.append(note)
    return replace(report, notes=tuple(notes))


def _check_annotations(sequence: Sequence, split: str) -> None:
    """Refuses a sequence whose annotations are kept by the organisers."""
    wanted = sequence.outputs
    if missing := [stem for stem in wanted if stem not in sequence.annotations]:
        raise InputError(
            f"sequence {sequence.name} has no annotation {missing[0]}.png, one of "
            f"{len(missing)} missing: {sequence.dataset} {split} cannot be scored "
            "here; send a submission archive to its server"
        )
    if sequence.dataset != "youtube-vos" and len(wanted) < 3:
        raise InputError(
            f"sequence {sequence.name} has {len(wanted)} annotated frame(s), none "
            f"between first and last: if {sequence.dataset} {split} is scored by its "
            "server, send a submission archive"
        )


def _check_results(jobs: list[_Job]) -> None:
    """Checks that all masks to be read exist and have their annotations' sizes."""
    wanted = [(job, stem) for job in jobs for stem in _candidates(job)]
    paths = [job.result(stem) for job, stem in wanted]
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(
            f"result mask {missing[0]} is missing, {_among(missing, wanted)}; run the"
            " inference again or check the results folder"
        )
    for job, stem in wanted:
        height, width = read_size(job.sequence.annotations[stem])
        if (found := read_size(job.result(stem))) != (height, width):
            raise InputError(
                f"result mask {job.result(stem)} is {found[1]}x{found[0]} but the "
                f"annotation is {width}x{height} (width x height); write masks of the "
                "original size"
            )


def _among(missing: list[Path], wanted: list[tuple[_Job, str]]) -> str:
    """Whether a missing mask is one of several."""
    if len(missing) == len(wanted):
        return f"as are all {len(wanted)}"
    if len(missing) == 1:
        return f"the only one of {len(wanted)}"
    return f"one of {len(missing)} of {len(wanted)}"


def _candidates(job: _Job) -> tuple[str, ...]:
    """The stems that may be scored, as far as can be told without decoding."""
    sequence = job.sequence
    if sequence.dataset != "youtube-vos":
        return sequence.outputs[1:-1]
    starts = {label: stems[0] for label, stems in sequence.objects.items()}
    return _in_order(job, _frames_after(job, starts))


def _in_order(job: _Job, frames: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """The frames of all objects, in order of time."""
    wanted = set().union(*frames.values())
    return tuple(stem for stem in job.sequence.outputs if stem in wanted)


def _frames_after(job: _Job, starts: dict[int, str]) -> dict[int, tuple[str, ...]]:
    """The scored stems of each YouTube-VOS object."""
    dropped = job.sequence.outputs[-1] if job.drop_last else None
    return {
        label: tuple(s for s in stems[stems.index(starts[label]) + 1 :] if s != dropped)
        for label, stems in job.sequence.objects.items()
    }


def _run(
    jobs: list[_Job], workers: int, progress: Progress | None
) -> dict[str, _Scored]:
    """Scores all jobs, in this process or in several, and keeps their order."""
    found: dict[str, _Scored] = {}
    if workers == 1 or len(jobs) == 1:
        for job in jobs:
            found[job.sequence.name] = _score_sequence(job)
            if progress is not None:
                progress(len(found), len(jobs), job.sequence.name)
        return found
    # Spawned, because a forked copy of a process that runs JAX can hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        names = {pool.submit(_score_sequence, job): job.sequence.name for job in jobs}
        try:
            for done, future in enumerate(as_completed(names), start=1):
                found[names[future]] = future.result()
                if progress is not None:
                    progress(done, len(jobs), names[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {job.sequence.name: found[job.sequence.name] for job in jobs}


def _score_sequence(job: _Job) -> _Scored:
    sequence = job.sequence
    frames, given = _scored_frames(job)
    regions: dict[int, list[float]] = {label: [] for label in frames}
    contours: dict[int, list[float]] = {label: [] for label in frames}
    present: set[int] = set()
    unscored: set[int] = set()
    digest = hashlib.sha256()
    for stem in _in_order(job, frames):
        labels = [label for label in frames if stem in frames[label]]
        predicted = _read_result(job, stem, frames.keys())
        annotated = _read_annotation(sequence, stem)
        digest.update(f"{stem} {annotated.shape}".encode() + annotated.tobytes())
        shown = _ids(annotated)
        present |= shown.intersection(labels)
        unscored |= shown.difference(frames)
        for label, j, f in zip(
            labels, *score_frame(predicted, annotated, labels), strict=True
        ):
            regions[label].append(j)
            contours[label].append(f)
    objects = [
        ObjectScores(
            sequence=sequence.name,
            object_id=label,
            frames=stems,
            region=np.array(regions[label], np.float64),
            contour=np.array(contours[label], np.float64),
            seen=job.seen is None or sequence.categories[label] in job.seen,
            changes=_changes(job, stems) if job.temporal else None,
            given=label in given,
            absent=label not in present,
        )
        for label, stems in frames.items()
    ]
    return _Scored(objects, tuple(sorted(unscored)), digest.hexdigest()[:16])


def _changes(job: _Job, stems: tuple[str, ...]) -> np.ndarray:
    """What T averages: of each pair of consecutive results, read once more."""
    return temporal_stability(read_labels(job.result(stem)) for stem in stems)


def _scored_frames(
    job: _Job,
) -> tuple[dict[int, tuple[str, ...]], frozenset[int]]:
    """The stems at which each object is scored, by id, and the ids that are given."""
    sequence = job.sequence
    if sequence.dataset == "youtube-vos":
        starts = object_starts(sequence)
        return _frames_after(job, starts), frozenset(starts)
    first, scored = sequence.outputs[0], sequence.outputs[1:-1]
    labels = _read_annotation(sequence, first)
    given = _ids(labels)
    if sequence.dataset == "davis2016":
        return {1: scored}, given
    if not given:
        raise no_object_error(sequence.annotations[first], labels)
    # A gap in the ids is an object nevertheless: absent in both, so J = F = 1.
    return dict.fromkeys(range(1, max(given) + 1), scored), given


def _read_annotation(sequence: Sequence, stem: str) -> np.ndarray:
    labels = read_labels(sequence.annotations[stem])
    return (labels != 0).astype(np.uint8) if sequence.dataset == "davis2016" else labels


def _ids(labels: np.ndarray) -> frozenset[int]:
    """The objects that a label map shows."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    return frozenset(np.flatnonzero(counts[:IGNORE]).tolist()) - {0}


def _read_result(job: _Job, stem: str, labels: Collection[int]) -> np.ndarray:
    path = job.result(stem)
    predicted = read_labels(path)
    if job.sequence.dataset == "davis2016":
        return (predicted != 0).astype(np.uint8)
    known = np.zeros(256, bool)
    known[[0, *labels]] = True
    if not known[predicted].all():
        extra = np.unique(predicted[~known[predicted]]).tolist()
        remedy = "keep the annotation's ids"
        if extra == [IGNORE]:
            remedy += ", and write no 255, which is no object but void"
        raise InputError(
            f"result mask {path} has ids {extra}, which are no objects of sequence "
            f"{job.sequence.name} (objects {sorted(labels)}); {remedy}"
        )
    return predicted
