"""Files in, files out: a video and its first mask become mask files.

Nothing that was written is lost when a run ends early: every file is whole or not
there, and a resumed run goes on from the state that the interrupted one saved.
"""

import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.engine import resume
from vos_jax.engine.interrupt import delayed_signals
from vos_jax.engine.progress import Progress
from vos_jax.engine.resume import Saved
from vos_jax.engine.video import FrameResult, Pending, VideoSegmenter
from vos_jax.errors import InputError
from vos_jax.media import (
    FrameSource,
    MaskWriter,
    VideoWriter,
    atomic_path,
    blend,
    open_frames,
    prefetch,
    read_first_mask,
    read_given_masks,
    read_labels,
)
from vos_jax.media.given_masks import MASK_SUFFIXES
from vos_jax.media.listing import list_files
from vos_jax.methods.base import Method

_SAVE_EVERY_S = 60.0
_AHEAD = 4
_STATE_FILE = ".resume.npz"


@dataclass(frozen=True, kw_only=True)
class SegmentJob:
    """What to segment and what to write.

    Attributes:
      input: Video file or folder of frames.
      mask: Label file of the first frame, or a folder of label files named like the
        frames they belong to; later ones add objects or correct.
      out: Folder; masks go to `out/masks`.
      size: Shorter side to compute at; None for the input's own.
      flip: Average with the mirrored video.
      reverse: Go backwards from the last frame, or from the last of several masks.
      save_scores: Write probabilities to `out/scores/<name>.npz`.
      overlay: Write `out/overlay.mp4`.
      resume: Go on where an interrupted run of the same job stopped.
    """

    input: Path
    mask: Path
    out: Path
    size: int | None = None
    flip: bool = False
    reverse: bool = False
    save_scores: bool = False
    overlay: bool = False
    resume: bool = False


class Report(NamedTuple):
    """What was done.

    Attributes:
      frames: Frames segmented in this run.
      skipped: Frames before the first mask (after it, in reverse), which get none.
      seconds: Wall time, compilation included.
      frames_per_second: Without the first third of the frames, during which programs
        compile; NaN for a run too short to tell.
    """

    frames: int
    skipped: int
    seconds: float
    frames_per_second: float


def segment_files(
    method: Method, variables: Mapping[str, Any], job: SegmentJob, weights_id: str = ""
) -> Report:
    """Runs a job.

    Args:
      method: From `load_model`.
      variables: Its weights.
      job: What to do.
      weights_id: Names the weights, so that a resumed run cannot mix them.

    Raises:
      InputError: Something in the input is unusable, or the disk is full. What was
        written before stays.
    """
    source = open_frames(job.input)
    run = FileRun(
        source=source,
        given=read_masks(job.mask, source, last=job.reverse),
        masks=job.out / "masks",
        scores=job.out / "scores" if job.save_scores else None,
        reverse=job.reverse,
        size=job.size,
        flip=job.flip,
        resume=job.resume,
        leave_note=True,
    )
    report = run(method, variables, weights_id)
    if job.overlay:
        write_overlay(job.out / "overlay.mp4", run.masks, source, sorted(run.order))
    return report


@dataclass(frozen=True, kw_only=True)
class FileRun:
    """One pass over the frames of a source, every mask a file.

    Attributes:
      source: The frames.
      given: Label maps by frame index.
      masks: Folder of the mask files.
      scores: Folder of the probabilities, if wanted.
      reverse: Go backwards.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
      resume: Go on from the state that an interrupted run left in `masks`.
      wanted: Names of the frames to write; None for all.
      reserve: Frames to reserve memory for; by default as many as there are.
      leave_note: Leave a note in `masks` when all is done, so that resuming a finished
        run does nothing.
      label: For the progress bar.
    """

    source: FrameSource
    given: Mapping[int, np.ndarray]
    masks: Path
    scores: Path | None = None
    reverse: bool = False
    size: int | None = None
    flip: bool = False
    resume: bool = False
    wanted: Collection[str] | None = None
    reserve: int | None = None
    leave_note: bool = False
    label: str = "segment"

    @property
    def order(self) -> range:
        """Indices of the frames to segment, the first given one first."""
        if self.reverse:
            return range(max(self.given), -1, -1)
        return range(min(self.given), len(self.source))

    def __call__(
        self, method: Method, variables: Mapping[str, Any], weights_id: str
    ) -> Report:
        """Segments and writes what is not done yet."""
        ids = {int(x) for labels in self.given.values() for x in np.unique(labels)}
        segmenter = VideoSegmenter(
            method,
            variables,
            size=self.size,
            flip=self.flip,
            with_probs=self.scores is not None,
            length=self.reserve or len(self.order),
            objects=len(ids - {0, 255}),
        )
        identity = self._identity(method, weights_id)
        state_file = self.masks / _STATE_FILE
        with MaskWriter(self.masks) as writer:
            saved = self._saved(state_file, identity)
            if saved is not None and saved.position == len(self.order):
                return Report(0, len(self.source) - len(self.order), 0, float("nan"))
            if saved is not None:
                segmenter.restore(saved)
            else:
                state_file.unlink(missing_ok=True)
            checkpoint = partial(
                self._checkpoint, segmenter, writer, state_file, identity
            )
            report = self._segment(segmenter, writer, checkpoint)
            writer.flush()
        if self.leave_note:
            resume.save(state_file, len(self.order), (), identity)
        else:
            state_file.unlink(missing_ok=True)
        return report._replace(skipped=len(self.source) - len(self.order))

    def _saved(self, state_file: Path, identity: Mapping[str, Any]) -> Saved | None:
        """What there is to resume: nothing when masks of a finished run are missing."""
        if not (self.resume and state_file.exists()):
            return None
        saved = resume.load(state_file, identity)
        names = (self.source.names[index] for index in self.order)
        if saved.views or all((self.masks / f"{name}.png").exists() for name in names):
            return saved
        return None

    def _segment(
        self,
        segmenter: VideoSegmenter,
        writer: MaskWriter,
        checkpoint: Callable[[Pending | None], None],
    ) -> Report:
        indices = self.order[segmenter.index :]
        started = saved = time.monotonic()
        times: list[float] = []
        waiting: Pending | None = None
        try:
            with (
                delayed_signals() as act,
                Progress(self.label, len(indices)) as progress,
            ):
                frames = self._frames(indices)
                for index, frame in zip(indices, frames, strict=True):
                    pending = segmenter(frame, self.given.get(index))
                    self._write(writer, waiting)
                    waiting = pending
                    times.append(time.monotonic())
                    progress.update()
                    act()
                    if times[-1] - saved > _SAVE_EVERY_S:
                        checkpoint(waiting)
                        saved = time.monotonic()
            self._write(writer, waiting)
        except BaseException:
            # What stopped the run may stop this too, and is the error to tell.
            with suppress(Exception):
                checkpoint(waiting)
            raise
        return _report(times, started)

    def _frames(self, indices: range) -> Iterator[np.ndarray]:
        """The frames at `indices`, read ahead by a thread."""
        if not indices:
            return iter(())
        read = self.source.reversed if self.reverse else self.source.frames
        return prefetch(read(indices[0]), _AHEAD)

    def _write(self, writer: MaskWriter, pending: Pending | None) -> None:
        if pending is None:
            return
        result = pending.result()
        name = self.source.names[self.order[result.time]]
        if self.wanted is not None and name not in self.wanted:
            return
        writer.write(name, result.labels)
        if self.scores is not None:
            writer.submit(_write_scores, self.scores / f"{name}.npz", result)

    def _checkpoint(
        self,
        segmenter: VideoSegmenter,
        writer: MaskWriter,
        state_file: Path,
        identity: Mapping[str, Any],
        waiting: Pending | None,
    ) -> None:
        """Saves the state once the masks of everything before it are on disk."""
        self._write(writer, waiting)
        self._write(writer, segmenter.latest)
        writer.flush()
        # A step that failed half-way leaves a state that belongs to no position.
        if segmenter.views and int(segmenter.views[0].time) + 1 == segmenter.index:
            resume.save(state_file, segmenter.index, segmenter.views, identity)

    def _identity(self, method: Method, weights_id: str) -> dict[str, Any]:
        """What must be the same for a run to go on with another one's state."""
        return {
            "frames": len(self.source),
            "first frame": self.source.names[0],
            "frame size": list(self.source.size),
            "masks": {str(i): zlib.crc32(x.tobytes()) for i, x in self.given.items()},
            "method": repr(method.config),
            "weights": weights_id,
            "size": self.size,
            "flip": self.flip,
            "reverse": self.reverse,
            "scores": self.scores is not None,
        }


def _report(times: Sequence[float], started: float) -> Report:
    rate, skip = float("nan"), len(times) // 3
    if len(times) > 4:
        rate = (len(times) - 1 - skip) / (times[-1] - times[skip])
    return Report(len(times), 0, time.monotonic() - started, rate)


def _write_scores(path: Path, result: FrameResult) -> None:
    probs = np.asarray(result.probs, np.float16)
    with atomic_path(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez_compressed(file, probs=probs, ids=result.ids)


def write_overlay(
    path: Path, masks: Path, source: FrameSource, indices: Sequence[int]
) -> None:
    """Draws the mask files of consecutive frames over them, as a video."""
    frames = prefetch(islice(source.frames(indices[0]), len(indices)), _AHEAD)
    with (
        VideoWriter(path, source.fps, source.size) as video,
        Progress("overlay", len(indices)) as progress,
    ):
        for index, frame in zip(indices, frames, strict=True):
            labels = read_labels(masks / f"{source.names[index]}.png")
            video.write(blend(frame, labels))
            progress.update()


def read_masks(
    path: Path, source: FrameSource, *, last: bool = False
) -> dict[int, np.ndarray]:
    """Label maps by frame index, from one file or a folder of them.

    A file of a folder without objects says nothing about its frame and is left out.

    Args:
      path: A file is the first frame's; in a folder each is called like its frame.
      source: The frames.
      last: A single file is the last frame's.

    Raises:
      InputError: A file is damaged, of another size, or belongs to no frame; two files
        belong to one frame; or no file shows an object.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check --mask")
    if not path.is_dir():
        index = len(source) - 1 if last else 0
        return {index: read_first_mask(path, source.size)}
    files = list_files(path, MASK_SUFFIXES)
    if not files:
        raise InputError(f"{path}: no mask files (.png) in it; check --mask")
    index_of = {name: index for index, name in enumerate(source.names)}
    file_of: dict[str, Path] = {}
    for file in files:
        if file.stem not in index_of:
            raise InputError(
                f"{file}: no frame is called {file.stem!r}; frames are called"
                f" {source.names[0]!r} to {source.names[-1]!r}, name the masks like"
                " them"
            )
        if file_of.setdefault(file.stem, file) != file:
            raise InputError(
                f"{file}: {file_of[file.stem].name} is a mask of the same frame;"
                " remove one of them"
            )
    read = zip(files, read_given_masks(files, source.size), strict=True)
    given = {index_of[file.stem]: labels for file, labels in read if labels.any()}
    if not given:
        raise InputError(
            f"{path}: all masks in it are empty; give at least one with an object"
        )
    return given
