"""Inference over a data set, in the layout that scoring and servers want."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.clip_inputs import InputReader
from vos_jax.errors import InputError, warn
from vos_jax.evaluation import Sequence, given_labels
from vos_jax.inference.announce import announce_run, model_facts, plural
from vos_jax.inference.capacity import segmenting_remedy
from vos_jax.inference.file_run import Beside, FileRun, Report
from vos_jax.inference.many.crew import segment_each
from vos_jax.inference.many.shards import Shard
from vos_jax.inference.many.videos import (
    ONE_BY_ONE,
    Facts,
    Outcome,
    Spread,
    Video,
    facts_of,
    raise_failures,
)
from vos_jax.inference.run_folder import DATASET_FILE, RunFolder
from vos_jax.inference.run_identity import RUN_FILE, describe_run
from vos_jax.media import FrameSource, atomic_path, open_frames
from vos_jax.media.fingerprint import fingerprint_frames
from vos_jax.media.lock import lock_folder
from vos_jax.methods.base import Method, config_text
from vos_jax.methods.inputs import open_inputs
from vos_jax.runtime.out_of_memory import memory_told
from vos_jax.runtime.progress import Progress

_START_OVER = "remove the folder"
_PATIENCE_S = 30.0


class Progressed(NamedTuple):
    """One sequence done: its name, frames segmented, and frames/s (NaN if none)."""

    name: str
    frames: int
    frames_per_second: float


class _Opened(NamedTuple):
    """A sequence's frames, their fingerprints by name, label maps by frame index."""

    source: FrameSource
    fingerprints: dict[str, str]
    given: dict[int, np.ndarray]


def segment_dataset(
    method: Method,
    variables: Mapping[str, Any],
    sequences: tuple[Sequence, ...],
    out: Path,
    *,
    split: str | None = None,
    root: Path | None = None,
    weights_id: str = "",
    inputs: Path | None = None,
    size: int | None = None,
    flip: bool = False,
    spread: Spread = ONE_BY_ONE,
    shard: Shard | None = None,
    only_merge: bool = False,
    title: str | None = None,
    tell: Callable[[Progressed], None] | None = None,
    remedy: str | None = None,
) -> list[Progressed]:
    """Writes `out/<sequence>/<frame>.png` for every sequence.

    Sequences whose masks are all there are left alone, so an interrupted run goes on
    where it was. `out/run.json` says whose masks they are.

    Args:
      method: From `load_model`.
      variables: Its weights.
      sequences: From `read_dataset`.
      out: Folder of the masks.
      split: Of the data set.
      root: The data set's folder. It may move: what its files hold counts.
      weights_id: Names the weights.
      inputs: What else the method takes, for all sequences: what `InputKind.open` of
        its `inputs` takes. None for a method that takes nothing.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
      spread: Over devices, and how many videos at once on each.
      shard: Do only this share; others do theirs, at the same time or not.
      only_merge: Segment nothing, but refuse what is not there.
      title: Method and weights in words, for a first line on stderr, which one for each
        sequence follows; None is silent.
      tell: Called with each sequence that was not there yet, as soon as it is.
      remedy: What a user can do when memory runs out; by default, what options there
        are for it.

    Returns:
      One for each sequence of the share, in its order.

    Raises:
      InputError: `out` holds masks of other settings, frames or annotations, or masks
        that no run has noted there; the input is unusable or missing; or a `spread`
        that keeps going could not do all.
    """
    reader = open_inputs(method.inputs, inputs)
    settings = {
        "dataset": sequences[0].dataset,
        "split": split,
        "resolution": _resolution(sequences[0]),
        "root": None if root is None else str(root.resolve()),
        "method": config_text(method.config),
        "weights": weights_id,
        "size": size,
        "flip": flip,
    }
    if reader is not None:
        settings["inputs"] = reader.identity
    own = sequences if shard is None else shard.of(sequences)
    work = _Work(
        method=method,
        variables=variables,
        weights_id=weights_id,
        out=out,
        reader=reader,
        size=size,
        flip=flip,
        # One capacity for all: sequences of one frame size share their programs.
        reserve=max(len(sequence.frames) for sequence in sequences),
        title=None if title is None else "",
        remedy=remedy or segmenting_remedy(method),
    )
    with nullcontext() if shard is None else shard.alone(out):
        with _claim(out, settings, sequences):
            finished = {x.name for x in own if work.is_done(x, spread.keep_going)}
            left = [sequence for sequence in own if sequence.name not in finished]
            if only_merge:
                _check_all_there(out, left)
        if reader is not None and not spread.keep_going:
            check_sequences(reader, left)
        if title is not None:
            what = " ".join(filter(None, (sequences[0].dataset, split)))
            facts = what, _share_told(shard, own)
            announce_run("segment", (*model_facts(title, method), *facts))
        done: dict[str, Progressed] = {}

        def note(outcome: Outcome) -> None:
            if outcome.report is not None:
                report = outcome.report
                found = outcome.name, report.frames, report.frames_per_second
                done[outcome.name] = Progressed(*found)
                if tell is not None:
                    tell(done[outcome.name])

        numbered = enumerate(own, 1)
        videos = [
            work.video(sequence, f"{sequence.name} ({number}/{len(own)})")
            for number, sequence in numbered
            if sequence.name not in finished
        ]
        about = method, variables, videos, spread
        raise_failures(segment_each(*about, size=size, flip=flip, tell=note))
    nothing = 0, float("nan")
    return [done.get(x.name, Progressed(x.name, *nothing)) for x in own]


def _check_all_there(out: Path, left: list[Sequence]) -> None:
    if left:
        more = "" if len(left) == 1 else f" and {len(left) - 1} more"
        raise InputError(
            f"{out}: masks of {left[0].name}{more} are not there, or not all of them;"
            " run the shard that they belong to again"
        )


def _share_told(shard: Shard | None, own: Collection[Sequence]) -> str:
    told = plural(len(own), "sequence")
    return told if shard is None else f"{told}, shard {shard}"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is the same for all sequences of a run."""

    method: Method
    variables: Mapping[str, Any]
    weights_id: str
    out: Path
    reader: InputReader | None
    size: int | None
    flip: bool
    reserve: int
    title: str | None
    remedy: str
    opened: dict[str, _Opened] = field(default_factory=dict)

    def is_done(self, sequence: Sequence, keep_going: bool) -> bool:
        """Whether there is nothing left to do.

        Refuses what the folder of a sequence holds if it cannot be gone on with; a run
        that keeps going is told of it when the sequence's turn comes.
        """
        try:
            return (self.out / sequence.name).exists() and self._is_whole(sequence)
        except InputError:
            if keep_going:
                return False
            raise

    def _is_whole(self, sequence: Sequence) -> bool:
        folder = self.out / sequence.name
        found = _open(sequence)
        identity = None if self.reader is None else self.reader.identity
        run = describe_run(
            *(self.method, self.weights_id, *found),
            size=self.size,
            flip=self.flip,
            inputs=identity,
        )
        is_whole = RunFolder(
            *(folder, run),
            go_on=True,
            wanted=frozenset(sequence.outputs),
            start_over=_START_OVER,
        ).is_done
        if not is_whole:
            self.opened[sequence.name] = found
        return is_whole

    def video(self, sequence: Sequence, label: str) -> Video:
        """The sequence as one of many videos."""

        def look() -> Facts:
            source, given = open_sequence(sequence)
            frames = len(source) - min(given)
            return facts_of(source.size, given, frames, reserve=self.reserve)

        def run(beside: Beside | None) -> Report:
            with memory_told(sequence.name, self.remedy):
                about = self.method, self.variables, self.weights_id
                return self._run(sequence, label)(*about, beside)

        return Video(sequence.name, look, run)

    def _run(self, sequence: Sequence, label: str) -> FileRun:
        found = self.opened.pop(sequence.name, None) or _open(sequence)
        return FileRun(
            **found._asdict(),
            masks=self.out / sequence.name,
            inputs=self.reader,
            sequence=sequence.name,
            size=self.size,
            flip=self.flip,
            resume=True,
            start_over=_START_OVER,
            wanted=frozenset(sequence.outputs),
            reserve=self.reserve,
            label=label,
            title=self.title,
        )


def _resolution(sequence: Sequence) -> str | None:
    """The folder that DAVIS' frames of one resolution are in."""
    if sequence.dataset == "youtube-vos":
        return None
    return sequence.frames[0].parent.parent.name


def _open(sequence: Sequence) -> _Opened:
    source, given = open_sequence(sequence)
    folder = sequence.frames[0].parent
    return _Opened(source, fingerprint_frames(folder, source.names), given)


def open_sequence(
    sequence: Sequence,
) -> tuple[FrameSource, dict[int, np.ndarray]]:
    """All frames of a sequence, and its given label maps by frame index."""
    source = open_frames(sequence.frames[0].parent)
    index_of = {name: index for index, name in enumerate(source.names)}
    return source, {index_of[stem]: x for stem, x in given_labels(sequence).items()}


def check_sequences(reader: InputReader, sequences: Iterable[Sequence]) -> None:
    """Checks that all frames have inputs before the first one is segmented.

    Raises:
      InputError: One lacks them.
    """
    sequences = list(sequences)
    with Progress("check inputs", len(sequences), "sequence") as progress:
        for sequence in sequences:
            source = open_frames(sequence.frames[0].parent)
            first = min(map(source.names.index, given_labels(sequence)))
            reader.video(sequence.name, source.names[first:], source.size)
            progress.update()


@contextmanager
def _claim(
    out: Path, settings: Mapping[str, Any], sequences: tuple[Sequence, ...]
) -> Iterator[None]:
    """Keeps masks of different settings out of one folder.

    It is noted as that of `settings` after what the body finds there is fine, too.
    Other shards wait for the notes alone, not for the body.
    """
    with lock_folder(out, _PATIENCE_S):
        found = _read_settings(out)
        if found is not None:
            _check_same(out, found, settings)
            _check_others(out, found, settings, sequences)
    yield
    with lock_folder(out, _PATIENCE_S):
        found = _read_settings(out)
        if found is not None:
            _check_same(out, found, settings)
        if found != settings:
            with atomic_path(out / DATASET_FILE) as temporary:
                temporary.write_text(json.dumps(settings, indent=1))


def _read_settings(out: Path) -> dict[str, Any] | None:
    """Whose masks a folder holds."""
    path = out / DATASET_FILE
    if (out / RUN_FILE).exists():
        raise InputError(f"{out}: holds masks of one video; use another --out")
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: damaged; use another --out") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged; use another --out")
    return found


def _check_same(
    out: Path, found: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    if "dataset" not in found:
        raise InputError(
            f"{out}: holds masks of an earlier version of this program, which did not"
            " note their data set; use another --out"
        )
    names = [k for k in settings if k != "root" and found.get(k) != settings[k]]
    if names:
        raise InputError(
            f"{out}: holds masks made with another {', '.join(names)}; use another"
            " --out"
        )


def _check_others(
    out: Path,
    found: Mapping[str, Any],
    settings: Mapping[str, Any],
    sequences: tuple[Sequence, ...],
) -> None:
    """Checks or tells what there is of sequences that are not asked for."""
    there = {path.parent.name for path in out.glob(f"*/{RUN_FILE}")}
    others = sorted(there - {sequence.name for sequence in sequences})
    if not others:
        return
    if found.get("root") != settings["root"]:
        raise InputError(
            f"{out}: holds masks made with another root, {found.get('root')}, of which"
            f" {others[0]} is not in this one; use another --out"
        )
    if settings["split"] is not None:
        warn(
            f"{out}: also holds masks of {', '.join(others)}, which the split does not"
            " list; they are neither scored nor packed"
        )
