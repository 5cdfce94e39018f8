"""Scoring of result masks by the rules of DAVIS 2016, DAVIS 2017 and YouTube-VOS.

A result is `<results>/<sequence>/<stem>.png` for each annotated stem. Which frames,
which objects and which means count is all that differs between the protocols. Frames
are read one pair at a time; sequences are independent and may go to several processes.
"""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation.datasets import (
    Sequence,
    object_starts,
    read_categories,
    read_dataset,
)
from vos_jax.evaluation.measures import score_frame
from vos_jax.evaluation.report import ObjectScores, Report
from vos_jax.evaluation.temporal_stability import LEFT_OUT, temporal_stability
from vos_jax.media.masks import IGNORE, read_labels, read_size

Progress = Callable[[int, int, str], None]
_NOTES = {
    "davis2016": "The first and last frame of each sequence are left out; every "
    "non-zero pixel is the object.",
    "davis2017": "The first and last frame of each sequence are left out; void (255) "
    "in an annotation is background.",
}


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
      drop_last: YouTube-VOS: leave out the last frame of each video. DAVIS always
        does; whether the YouTube-VOS server does is not documented.
      seen: YouTube-VOS: the categories seen in training; by default those of
        `<root>/train/meta.json`, and all of them where the split is "train".
      temporal: DAVIS 2016: compute temporal stability T as well, of the sequences that
        take part in it. It takes several times as long as J and F.

    Raises:
      InputError: T is asked for where the protocol has none. A file is missing, has
        another size than its annotation or ids that are not objects; or the annotations
        of the split are not complete, because its scores come from a server.
    """
    if temporal and dataset != "davis2016":
        raise InputError(
            f"temporal stability is a measure of davis2016, not of {dataset}; leave it "
            "out"
        )
    listed = read_dataset(
        dataset,
        root,
        split,
        resolution=resolution,
        sequences=sequences,
        images=False,
    )
    if dataset == "youtube-vos":
        seen = _seen_categories(listed, Path(root), split, seen)
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
    for sequence in listed:
        _check_annotations(sequence, split)
    _check_results(jobs)
    found = _run(jobs, workers or 1, progress)
    objects = tuple(entry for entry in found if entry.frames)
    if not objects:
        raise InputError(f"{dataset} {split} has no object with a frame to score")
    notes = [_NOTES.get(dataset) or _youtube_vos_note(drop_last)]
    if unscored := [entry.name for entry in found if not entry.frames]:
        notes.append(f"Without a frame to score and left out: {', '.join(unscored)}.")
    if temporal:
        notes.extend(_temporal_notes(objects))
    return Report(
        dataset=dataset,
        split=split,
        objects=objects,
        notes=tuple(notes),
        temporal=temporal,
    )


def _youtube_vos_note(drop_last: bool) -> str:
    last = "left out" if drop_last else "scored"
    return (
        "An object is scored from the frame after the one that gives its mask; the "
        f"last frame of a video is {last} (what the server does is not documented)."
    )


def _temporal_notes(objects: tuple[ObjectScores, ...]) -> Iterator[str]:
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


def _seen_categories(
    sequences: tuple[Sequence, ...],
    root: Path,
    split: str,
    seen: Collection[str] | None,
) -> Collection[str] | None:
    """The seen categories, or None if all are; checks that each object has one."""
    if seen is None and split == "train":
        return None
    if seen is None:
        meta_file = root / "train" / "meta.json"
        if not meta_file.is_file():
            raise InputError(
                f"{meta_file} does not exist: it tells seen from unseen categories; "
                "name the seen ones instead"
            )
        seen = read_categories(meta_file)
    for sequence in sequences:
        if unknown := sorted(set(sequence.objects) - set(sequence.categories)):
            raise InputError(
                f"{root / split / 'meta.json'} gives object {unknown[0]} of video "
                f"{sequence.name} no category, so seen and unseen cannot be told apart"
            )
    return seen


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
            f"result mask {missing[0]} is missing, one of {len(missing)} of "
            f"{len(wanted)}; run the inference again or check the results folder"
        )
    for job, stem in wanted:
        height, width = read_size(job.sequence.annotations[stem])
        if (found := read_size(job.result(stem))) != (height, width):
            raise InputError(
                f"result mask {job.result(stem)} is {found[1]}x{found[0]} but the "
                f"annotation is {width}x{height} (width x height); write masks of the "
                "original size"
            )


def _candidates(job: _Job) -> tuple[str, ...]:
    """The stems that may be scored, as far as can be told without decoding."""
    sequence = job.sequence
    if sequence.dataset != "youtube-vos":
        return sequence.outputs[1:-1]
    starts = {label: stems[0] for label, stems in sequence.objects.items()}
    return tuple(sorted(set().union(*_frames_after(job, starts).values())))


def _frames_after(job: _Job, starts: dict[int, str]) -> dict[int, tuple[str, ...]]:
    """The scored stems of each YouTube-VOS object."""
    dropped = job.sequence.outputs[-1] if job.drop_last else None
    return {
        label: tuple(s for s in stems if s > starts[label] and s != dropped)
        for label, stems in job.sequence.objects.items()
    }


def _run(
    jobs: list[_Job], workers: int, progress: Progress | None
) -> list[ObjectScores]:
    """Scores all jobs, in this process or in several, and keeps their order."""
    found: list[list[ObjectScores]] = [[] for _ in jobs]
    if workers == 1 or len(jobs) == 1:
        for place, job in enumerate(jobs):
            found[place] = _score_sequence(job)
            if progress is not None:
                progress(place + 1, len(jobs), job.sequence.name)
        return list(chain.from_iterable(found))
    # Spawned, because a forked copy of a process that runs JAX can hang.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn")) as pool:
        places = {pool.submit(_score_sequence, job): i for i, job in enumerate(jobs)}
        try:
            for done, future in enumerate(as_completed(places), start=1):
                place = places[future]
                found[place] = future.result()
                if progress is not None:
                    progress(done, len(jobs), jobs[place].sequence.name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return list(chain.from_iterable(found))


def _score_sequence(job: _Job) -> list[ObjectScores]:
    sequence = job.sequence
    frames = _scored_frames(job)
    regions: dict[int, list[float]] = {label: [] for label in frames}
    contours: dict[int, list[float]] = {label: [] for label in frames}
    for stem in sorted(set().union(*frames.values())):
        labels = [label for label in frames if stem in frames[label]]
        predicted = _read_result(job, stem, frames.keys())
        annotated = read_labels(sequence.annotations[stem])
        if sequence.dataset == "davis2016":
            predicted, annotated = predicted != 0, annotated != 0
        for label, j, f in zip(
            labels, *score_frame(predicted, annotated, labels), strict=True
        ):
            regions[label].append(j)
            contours[label].append(f)
    return [
        ObjectScores(
            sequence=sequence.name,
            object_id=label,
            frames=stems,
            region=np.array(regions[label], np.float64),
            contour=np.array(contours[label], np.float64),
            seen=job.seen is None or sequence.categories[label] in job.seen,
            changes=_changes(job, stems) if job.temporal else None,
        )
        for label, stems in frames.items()
    ]


def _changes(job: _Job, stems: tuple[str, ...]) -> np.ndarray:
    """What T averages: of each pair of consecutive results, read once more."""
    return temporal_stability(read_labels(job.result(stem)) for stem in stems)


def _scored_frames(job: _Job) -> dict[int, tuple[str, ...]]:
    """The stems at which each object is scored, by id."""
    sequence = job.sequence
    if sequence.dataset == "youtube-vos":
        return _frames_after(job, object_starts(sequence))
    if sequence.dataset == "davis2016":
        return {1: sequence.outputs[1:-1]}
    first = sequence.annotations[sequence.outputs[0]]
    labels = read_labels(first)
    last_id = int(labels[labels != IGNORE].max(initial=0))
    if not last_id:
        raise InputError(f"{first} shows no object; the first annotation must")
    # A gap in the ids is an object nevertheless: absent in both, so J = F = 1.
    return dict.fromkeys(range(1, last_id + 1), sequence.outputs[1:-1])


def _read_result(job: _Job, stem: str, labels: Collection[int]) -> np.ndarray:
    path = job.result(stem)
    predicted = read_labels(path)
    if job.sequence.dataset == "davis2016":
        return predicted
    known = np.zeros(256, bool)
    known[[0, *labels]] = True
    if not known[predicted].all():
        extra = np.unique(predicted[~known[predicted]]).tolist()
        raise InputError(
            f"result mask {path} has ids {extra}, which are no objects of sequence "
            f"{job.sequence.name} (objects {sorted(labels)}); keep the annotation's "
            "ids"
        )
    return predicted
