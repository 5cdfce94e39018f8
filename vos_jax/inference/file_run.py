"""One pass over the frames of a video, every mask a file."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.clip_inputs import InputReader, VideoInputs
from vos_jax.inference.announce import (
    announce,
    announce_run,
    model_facts,
    video_facts,
)
from vos_jax.inference.capacity import segmenting_remedy
from vos_jax.inference.checks import objects_in
from vos_jax.inference.form import inference_form
from vos_jax.inference.frame_inputs import with_inputs
from vos_jax.inference.result_files import ResultFiles
from vos_jax.inference.room import check_room
from vos_jax.inference.run_folder import RunFolder
from vos_jax.inference.run_identity import Run, describe_run, frame_order
from vos_jax.inference.segmenter import (
    Pending,
    VideoSegmenter,
)
from vos_jax.media import FrameSource, prefetch
from vos_jax.media.lock import lock_folder
from vos_jax.methods.base import Method
from vos_jax.runtime.interrupt import delayed_signals
from vos_jax.runtime.progress import Progress

_SAVE_EVERY_S = 60.0
_AHEAD = 4


class Beside(NamedTuple):
    """What a run shares with those that run beside it, in other threads.

    Attributes:
      network: What `inference_form` gives, on the device that is to do the work.
      progress: Counts the frames of all.
      act: Called after each frame; raises when all are to stop.
      place: Gives what segments the video; by default that is a segmenter of its own.
        Takes whether probabilities are wanted, and the number of objects.
    """

    network: tuple[Method, Mapping[str, Any]]
    progress: Progress
    act: Callable[[], None]
    place: Callable[[bool, int], AbstractContextManager[VideoSegmenter]] | None = None


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


@dataclass(frozen=True, kw_only=True)
class FileRun:
    """One pass over the frames of a source, every mask a file.

    Attributes:
      source: The frames.
      fingerprints: Of the frames, by their names.
      given: Label maps by frame index.
      masks: Folder of the mask files.
      inputs: Where what else the method takes is read; None for one that takes nothing.
      sequence: Name of the video in a data set, by which that is found.
      folder: What holds a video by itself is called so, see `InputReader.video`.
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
    inputs: InputReader | None = None
    sequence: str | None = None
    folder: str | None = None
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
        self,
        method: Method,
        variables: Mapping[str, Any],
        weights_id: str,
        beside: Beside | None = None,
    ) -> Report:
        """Segments and writes what is not done yet.

        Args:
          method: From `load_model`.
          variables: Its weights.
          weights_id: Names the weights.
          beside: What it shares with other runs; None for a run alone.

        Raises:
          InputError: As `vos_jax.inference.files.segment_files`.
        """
        inputs = self._find_inputs()
        objects = count_objects(self.given)
        prepare = self._preparing(method, variables, objects, beside)
        skipped = len(self.source) - len(self.order)
        with lock_folder(self.masks):
            folder = RunFolder(
                self.masks,
                self._run(method, weights_id),
                go_on=self.resume,
                wanted=self.wanted,
                start_over=self.start_over,
            )
            if folder.is_done:
                folder.finish()
                if beside is not None:
                    beside.progress.leave_out(len(self.order))
                return Report(0, skipped, 0, float("nan"))
            with (
                prepare() as segmenter,
                ResultFiles(folder, self.scores) as writer,
            ):
                self._announce(method, objects)
                if folder.saved is not None:
                    corrections = self._given_before(folder.saved.position)
                    segmenter.restore(folder.saved, corrections)
                checkpoint = partial(self._checkpoint, segmenter, writer, folder)
                report = self._segment(segmenter, writer, checkpoint, inputs, beside)
                writer.flush()
            folder.finish()
        return report._replace(skipped=skipped)

    def _given_before(self, position: int) -> int:
        """How many frames after the first bring masks, of so many in the order."""
        order = self.order
        given = (index for index, labels in self.given.items() if objects_in(labels))
        places = map(order.index, given)
        return sum(0 < place < position for place in places)

    def _find_inputs(self) -> VideoInputs | None:
        """What comes with the frames, by their places in the order.

        Raises:
          InputError: A frame lacks it.
        """
        if self.inputs is None:
            return None
        names = [self.source.names[index] for index in self.order]
        return self.inputs.video(
            self.sequence, names, self.source.size, folder=self.folder
        )

    def _preparing(
        self,
        method: Method,
        variables: Mapping[str, Any],
        objects: int,
        beside: Beside | None,
    ) -> Callable[[], AbstractContextManager[VideoSegmenter]]:
        """What gives the segmenter when it is needed."""
        if beside is not None and beside.place is not None:
            return partial(beside.place, self.scores is not None, objects)
        own = None if beside is None else beside.network
        alone = cache(partial(self._segmenter, method, variables, own, objects))
        if not self.masks.exists():
            # Without room no folder is made; a run that is done needs no room.
            alone()
        return lambda: nullcontext(alone())

    def _segmenter(
        self,
        method: Method,
        variables: Mapping[str, Any],
        network: tuple[Method, Mapping[str, Any]] | None,
        objects: int,
    ) -> VideoSegmenter:
        network = network or inference_form(method, variables)
        check_room(
            *(*network, self.source.size),
            size=self.size,
            objects=objects,
            frames=self._length,
            flip=self.flip,
            remedy=segmenting_remedy(network[0]),
        )
        return VideoSegmenter(
            *network,
            size=self.size,
            flip=self.flip,
            with_probs=self.scores is not None,
            length=self._length,
            objects=objects,
        )

    def _announce(self, method: Method, objects: int) -> None:
        if self.title is None:
            return
        model = model_facts(self.title, method) if self.title else ()
        size = self.source.size
        video = video_facts(size, self.size, objects, len(self.order))
        # A title is given to the run; its other videos are announced without one.
        (announce_run if self.title else announce)(self.label, (*model, *video))

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
            inputs=None if self.inputs is None else self.inputs.identity,
        )

    def _segment(
        self,
        segmenter: VideoSegmenter,
        writer: ResultFiles,
        checkpoint: Callable[[Pending | None], None],
        inputs: VideoInputs | None,
        beside: Beside | None,
    ) -> Report:
        indices = self.order[segmenter.index :]
        started = saved = time.monotonic()
        times: list[float] = []
        waiting: Pending | None = None
        try:
            with self._watched(len(indices), beside) as (progress, act):
                pairs = self._read(indices, segmenter.index, inputs)
                for index, (frame, own) in zip(indices, pairs, strict=True):
                    pending = segmenter(frame, self.given.get(index), inputs=own)
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

    @contextmanager
    def _watched(
        self, frames: int, beside: Beside | None
    ) -> Iterator[tuple[Progress, Callable[[], None]]]:
        """Who is told of each frame, and what may stop the run after it."""
        if beside is not None:
            beside.progress.leave_out(len(self.order) - frames)
            yield beside.progress, beside.act
            return
        with delayed_signals() as act, Progress(self.label, frames) as progress:
            yield progress, act

    def _read(
        self, indices: range, begin: int, inputs: VideoInputs | None
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """The frames at `indices` and what comes with them, read ahead by a thread.

        `begin` is the place of the first of them in the order.
        """
        if not indices:
            return iter(())
        read = self.source.reversed if self.reverse else self.source.frames
        frames = read(indices[0])
        return prefetch(with_inputs(frames, inputs, self.size, begin=begin), _AHEAD)

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
        views = segmenter.views
        if views and int(views[0].time) + 1 == segmenter.index:
            folder.save(segmenter.index, views)


def count_objects(given: Mapping[int, np.ndarray]) -> int:
    """How many objects the given label maps of a video show."""
    return len({x for labels in given.values() for x in objects_in(labels)})


def _report(times: Sequence[float], started: float) -> Report:
    rate, skip = float("nan"), len(times) // 3
    if len(times) > 4:
        rate = (len(times) - 1 - skip) / (times[-1] - times[skip])
    return Report(len(times), 0, time.monotonic() - started, rate)
