"""Files in, files out: a video and its first mask become mask files.

Nothing that was written is lost when a run ends early: every file is whole or not
there, and a resumed run goes on from the state that the interrupted one saved.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.engine.announce import announce, model_facts, video_facts
from vos_jax.engine.inference import state_bytes
from vos_jax.engine.interrupt import delayed_signals
from vos_jax.engine.out_of_memory import (
    check_memory,
    memory_told,
    segmenting_remedy,
)
from vos_jax.engine.progress import Progress
from vos_jax.engine.result_files import ResultFiles
from vos_jax.engine.run_folder import RunFolder
from vos_jax.engine.run_identity import (
    OVERLAY,
    SCORES,
    Run,
    describe_run,
    frame_order,
)
from vos_jax.engine.video import (
    Pending,
    VideoSegmenter,
    inference_form,
    working_size,
)
from vos_jax.errors import InputError
from vos_jax.media import (
    FrameSource,
    VideoWriter,
    blend,
    open_frames,
    prefetch,
    read_first_mask,
    read_labels,
)
from vos_jax.media.fingerprint import fingerprint_frames
from vos_jax.media.lock import locked
from vos_jax.methods.base import Method

_SAVE_EVERY_S = 60.0
_AHEAD = 4
_MASK_SUFFIXES = (".png", ".npy", ".npz")


@dataclass(frozen=True, kw_only=True)
class SegmentJob:
    """What to segment and what to write.

    Attributes:
      input: Video file or folder of frames.
      mask: Label file of the first frame, or a folder of label files named like the
        frames they belong to; later ones add objects or correct.
      out: Folder; masks go to `out/masks`, where `.run.json` notes whose they are.
      size: Shorter side to compute at; None for the input's own.
      flip: Average with the mirrored video.
      reverse: Go backwards from the last frame, or from the last of several masks.
      save_scores: Write probabilities to `out/scores/<name>.npz`.
      overlay: Write `out/overlay.mp4`.
      resume: Go on where an interrupted run of the same job stopped. Without it, what
        another run wrote to `out` makes way as soon as this one has its first mask.
      allow_damaged: Go on past damaged frames of a video, with a warning.
      title: Method and weights in words, for the first line on stderr; None is silent.
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
    allow_damaged: bool = False
    title: str | None = None


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
      InputError: Something in the input is unusable, `out` holds files that no run has
        noted there, or the disk is full. What was written before stays.
      OutOfMemory: An `InputError` that is a `MemoryError`, too.
    """
    with memory_told(str(job.input), segmenting_remedy(method)):
        return _segment_files(method, variables, job, weights_id)


def _segment_files(
    method: Method, variables: Mapping[str, Any], job: SegmentJob, weights_id: str
) -> Report:
    _check_apart(job)
    source = open_frames(job.input, allow_damaged=job.allow_damaged)
    run = FileRun(
        source=source,
        given=read_masks(job.mask, source, last=job.reverse),
        fingerprints=fingerprint_frames(job.input, source.names),
        masks=job.out / "masks",
        scores=job.out / SCORES if job.save_scores else None,
        overlay=job.overlay,
        allow_damaged=job.allow_damaged,
        reverse=job.reverse,
        size=job.size,
        flip=job.flip,
        resume=job.resume,
        title=job.title,
    )
    report = run(method, variables, weights_id)
    if job.overlay:
        write_overlay(job.out / OVERLAY, run.masks, source, sorted(run.order))
    return report


def _check_apart(job: SegmentJob) -> None:
    """Checks that what is read is not where the run writes and makes way for itself."""
    for given in (job.input, job.mask):
        at = given.resolve()
        for name in ("masks", SCORES, OVERLAY):
            target = (job.out / name).resolve()
            if at.is_relative_to(target):
                raise InputError(
                    f"{given}: this run writes to {job.out / name} itself; copy what is"
                    " to be read to another place, or use another --out"
                )


@dataclass(frozen=True, kw_only=True)
class FileRun:
    """One pass over the frames of a source, every mask a file.

    Attributes:
      source: The frames.
      fingerprints: Of the frames, by their names.
      given: Label maps by frame index.
      masks: Folder of the mask files.
      scores: Folder of the probabilities beside it, if wanted.
      overlay: An overlay will be drawn beside it.
      allow_damaged: `source` goes past damaged frames.
      reverse: Go backwards.
      size: Shorter side to compute at.
      flip: Average with the mirrored video.
      resume: Go on from the state that an interrupted run left in `masks`; without,
        files of another run make way once there is a first result.
      start_over: What a user does who does not want to go on.
      wanted: Names of the frames to write; None for all.
      reserve: Frames to reserve memory for; by default as many as there are.
      label: For the progress bar.
      title: Method and weights in words, for a first line on stderr; without them the
        line has the video alone, and None is silent.
    """

    source: FrameSource
    fingerprints: Mapping[str, str]
    given: Mapping[int, np.ndarray]
    masks: Path
    scores: Path | None = None
    overlay: bool = False
    allow_damaged: bool = False
    reverse: bool = False
    size: int | None = None
    flip: bool = False
    resume: bool = False
    start_over: str = "run without --resume"
    wanted: Collection[str] | None = None
    reserve: int | None = None
    label: str = "segment"
    title: str | None = None

    @property
    def order(self) -> range:
        """Indices of the frames to segment, the first given one first."""
        return frame_order(len(self.source), self.given, reverse=self.reverse)

    @property
    def _length(self) -> int:
        return self.reserve or len(self.order)

    def __call__(
        self, method: Method, variables: Mapping[str, Any], weights_id: str
    ) -> Report:
        """Segments and writes what is not done yet."""
        ids = {int(x) for labels in self.given.values() for x in np.unique(labels)}
        objects = len(ids - {0, 255})
        self._announce(method, objects)
        network = inference_form(method, variables)
        self._check_memory(*network, objects)
        segmenter = VideoSegmenter(
            *network,
            size=self.size,
            flip=self.flip,
            with_probs=self.scores is not None,
            length=self._length,
            objects=objects,
        )
        skipped = len(self.source) - len(self.order)
        with locked(self.masks):
            folder = RunFolder(
                self.masks,
                self._run(method, weights_id),
                go_on=self.resume,
                wanted=self.wanted,
                start_over=self.start_over,
            )
            if folder.is_done:
                folder.finish()
                return Report(0, skipped, 0, float("nan"))
            if folder.saved is not None:
                segmenter.restore(folder.saved)
            with ResultFiles(folder, self.scores) as writer:
                checkpoint = partial(self._checkpoint, segmenter, writer, folder)
                report = self._segment(segmenter, writer, checkpoint)
                writer.flush()
            folder.finish()
        return report._replace(skipped=skipped)

    def _announce(self, method: Method, objects: int) -> None:
        if self.title is None:
            return
        model = model_facts(self.title, method) if self.title else ()
        size = self.source.size
        video = video_facts(size, self.size, objects, len(self.order))
        announce(self.label, (*model, *video))

    def _run(self, method: Method, weights_id: str) -> Run:
        """What must be the same for a run to go on with another one's state."""
        return describe_run(
            *(method, weights_id, self.source, self.fingerprints, self.given),
            size=self.size,
            flip=self.flip,
            reverse=self.reverse,
            scores=self.scores is not None,
            overlay=self.overlay,
            allow_damaged=self.allow_damaged,
        )

    def _check_memory(
        self, method: Method, variables: Mapping[str, Any], objects: int
    ) -> None:
        """Refuses what the state of this run certainly has no room for."""
        height, width = working_size(*self.source.size, self.size)
        needed = state_bytes(
            method, (height, width), objects, self._length, variables=variables
        )
        state = (
            f"the state of {self._length} frames of {width}x{height} with {objects}"
            f" object{'s' * (objects > 1)}"
        )
        check_memory(state, needed * (1 + self.flip), segmenting_remedy(method))

    def _segment(
        self,
        segmenter: VideoSegmenter,
        writer: ResultFiles,
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

    def _write(self, writer: ResultFiles, pending: Pending | None) -> None:
        if pending is None:
            return
        result = pending.result()
        name = self.source.names[self.order[result.time]]
        if self.wanted is None or name in self.wanted:
            writer.write(name, result)

    def _checkpoint(
        self,
        segmenter: VideoSegmenter,
        writer: ResultFiles,
        folder: RunFolder,
        waiting: Pending | None,
    ) -> None:
        """Saves the state once the masks of everything before it are on disk."""
        self._write(writer, waiting)
        self._write(writer, segmenter.latest)
        writer.flush()
        # A step that failed half-way leaves a state that belongs to no position.
        if segmenter.views and int(segmenter.views[0].time) + 1 == segmenter.index:
            folder.save(segmenter.index, segmenter.views)


def _report(times: Sequence[float], started: float) -> Report:
    rate, skip = float("nan"), len(times) // 3
    if len(times) > 4:
        rate = (len(times) - 1 - skip) / (times[-1] - times[skip])
    return Report(len(times), 0, time.monotonic() - started, rate)


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

    Args:
      path: A file is the first frame's; in a folder each is called like its frame.
      source: The frames.
      last: A single file is the last frame's.

    Raises:
      InputError: A file is damaged, of another size, empty, or belongs to no frame.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check --mask")
    if not path.is_dir():
        index = len(source) - 1 if last else 0
        return {index: read_first_mask(path, source.size)}
    index_of = {name: index for index, name in enumerate(source.names)}
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in _MASK_SUFFIXES)
    if not files:
        raise InputError(f"{path}: no mask files (.png) in it; check --mask")
    strays = [p for p in files if p.stem not in index_of]
    if strays:
        raise InputError(
            f"{strays[0]}: no frame is called {strays[0].stem!r}; frames are called"
            f" {source.names[0]!r} to {source.names[-1]!r}, name the masks like them"
        )
    return {index_of[p.stem]: read_first_mask(p, source.size) for p in files}
