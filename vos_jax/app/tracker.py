"""The tracker: a pass of the segmenter over frames, from the nearest state that holds.

What a frame gives depends on the pass and on what it has met, see `passes`. So a pass
goes on from any state of the same history and gives the bits of one without a break.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import groupby, takewhile
from pathlib import Path
from threading import Event as Flag
from typing import Any, NamedTuple

import jax
import numpy as np

from vos_jax.app.kept_states import KeptStates
from vos_jax.app.passes import FORWARD, Event, Pass, Plan
from vos_jax.app.project import Project
from vos_jax.data.clip_inputs import InputReader
from vos_jax.errors import InputError
from vos_jax.inference.capacity import DEFAULT_FRAMES, segmenting_remedy
from vos_jax.inference.frame_inputs import with_inputs
from vos_jax.inference.resume import Saved
from vos_jax.inference.room import check_room
from vos_jax.inference.segmenter import Pending, VideoSegmenter
from vos_jax.media import FrameSource, prefetch, video_name
from vos_jax.methods.base import Method
from vos_jax.runtime.out_of_memory import memory_told

_AHEAD = 4
# A state is kept after so many frames: at most as many are computed once more.
_KEEP_EVERY = 10
_RATE_OVER = 20


class Model(NamedTuple):
    """What computes masks, and how.

    Attributes:
      method: From `inference_form`.
      variables: Its weights.
      title: In words.
      identity: Changes with everything that masks depend on but the device.
      size: Shorter side to compute at; None for the frames' own.
      flip: Average with the mirrored video.
      inputs: Where what else the method takes is read.
    """

    method: Method
    variables: Mapping[str, Any]
    title: str
    identity: str
    size: int | None = None
    flip: bool = False
    inputs: InputReader | None = None


class Task(NamedTuple):
    """What is to be tracked.

    Attributes:
      way: The pass.
      first: Position of the first frame whose mask is wanted.
      last: And of the last one.
    """

    way: Pass
    first: int
    last: int


class Tracker:
    """Makes masks of a project, one task at a time, in a thread of the caller's."""

    def __init__(
        self,
        project: Project,
        lock: AbstractContextManager[Any],
        source: FrameSource,
        video: Path,
        model: Model,
        limit: int,
    ) -> None:
        """Prepares; nothing is computed.

        Args:
          project: Takes the masks.
          lock: Held while the project is asked or told something.
          source: Its video.
          video: The path of that.
          model: What computes.
          limit: Bytes of states to keep.
        """
        self._project, self._lock = project, lock
        self._source, self._video, self._model = source, video, model
        self.kept = KeptStates(limit)

    def task(self, frame: int, direction: str, last: int | None) -> Task:
        """What is to be done to track on through a frame.

        Masks of the pass that are missing before it are wanted as well.

        Args:
          frame: Index of the frame.
          direction: Forward or backward.
          last: Index of the last frame; None for the video's last, or first, one.

        Raises:
          InputError: The frame shows no mask, or the memory is certainly too small.
        """
        way = self._project.way_from(frame, direction)
        if last is None:
            last = len(self._source) - 1 if direction == FORWARD else 0
        self._project.check_frame(last)
        end, at = way.position(last), way.position(frame)
        plan = self._project.shown.plan(way)
        gaps = (p for p in range(at) if not self._is_made(way, plan, p))
        task = Task(way, next(gaps, at), max(at, end))
        self._check_memory(task)
        return task

    def run(
        self, task: Task, stop: Flag, told: Callable[[int, float | None], None]
    ) -> int:
        """Does a task until it is done or is to stop.

        Args:
          task: From `task`; nothing may have been drawn since.
          stop: Asks to stop after the frame that is being computed.
          told: Called with the frame of each mask when it is stored, and with frames
            per second once these are known.

        Returns:
          The last frame that was looked at.

        Raises:
          InputError: A frame or what comes with it cannot be read, a mask cannot be
            written, or memory is short.
        """
        way = task.way
        with self._lock:
            plan = self._project.shown.plan(way)
            begin = self._show_again(task, plan, told)
            saved = self.kept.nearest(way, plan, begin - 1)
        if begin > task.last:
            return way.frame(task.last)
        with memory_told(str(self._video), segmenting_remedy(self._model.method)):
            segmenter = self._segmenter(task, plan, saved)
            return self._segment(segmenter, task, plan, begin, stop, told)

    def _is_made(self, way: Pass, plan: Plan, position: int) -> bool:
        if _is_drawn(way, position):
            return True
        chain = plan.chain(position)
        return chain is not None and self._project.has_made(way.frame(position), chain)

    def _show_again(
        self, task: Task, plan: Plan, told: Callable[[int, float | None], None]
    ) -> int:
        """Shows masks that were made before; the position of the first other one."""
        way = task.way
        positions = range(task.first, task.last + 1)
        made = list(takewhile(lambda p: self._is_made(way, plan, p), positions))
        stored = (p for p in made if not _is_drawn(way, p))
        for chain, alike in groupby(stored, key=lambda p: _chain(plan, p)):
            frames = [way.frame(p) for p in alike]
            self._project.show_made(way, frames, chain)
            for frame in frames:
                told(frame, None)
        return task.first + len(made)

    def _segmenter(self, task: Task, plan: Plan, saved: Saved | None) -> VideoSegmenter:
        model = self._model
        segmenter = VideoSegmenter(
            model.method,
            model.variables,
            size=model.size,
            flip=model.flip,
            length=min(self._length(task.way), DEFAULT_FRAMES),
        )
        if saved is not None:
            segmenter.restore(saved, plan.corrections(saved.position))
        return segmenter

    def _segment(
        self,
        segmenter: VideoSegmenter,
        task: Task,
        plan: Plan,
        wanted: int,
        stop: Flag,
        told: Callable[[int, float | None], None],
    ) -> int:
        way = task.way
        waiting: Pending | None = None
        times: list[float] = []
        position = segmenter.index - 1
        try:
            for frame, inputs in self._read(way, segmenter.index, task.last):
                position += 1
                pending = self._advance(segmenter, plan, position, frame, inputs, way)
                # The device works on this frame while the mask before it is stored.
                previous, waiting = waiting, pending
                self._store(way, plan, previous, wanted, told, _rate(times))
                times.append(time.monotonic())
                ends = stop.is_set() or position == task.last
                if ends or position % _KEEP_EVERY == _KEEP_EVERY - 1:
                    self._keep(segmenter, way, plan, position)
                if ends:
                    break
        finally:
            # Also where the next frame cannot be read.
            self._store(way, plan, waiting, wanted, told, _rate(times))
        return way.frame(max(position, 0))

    def _advance(
        self,
        segmenter: VideoSegmenter,
        plan: Plan,
        position: int,
        frame: np.ndarray,
        inputs: Any,
        way: Pass,
    ) -> Pending:
        event = plan.event(position)
        if position == 0:
            with self._lock:
                labels = self._project.start_labels(way)
            return segmenter(frame, labels)
        given, ids = None, None
        if event is not None:
            given, ids = self._meet(segmenter, event)
        return segmenter(frame, given, ids, inputs)

    def _meet(
        self, segmenter: VideoSegmenter, event: Event
    ) -> tuple[np.ndarray | None, tuple[int, ...] | None]:
        """Ends objects; what is to be given in the frame."""
        known = set(segmenter.ids)
        for id in sorted(event.gone & known):
            segmenter.remove(id)
        if event.labels is None:
            return None, None
        labels = self._project.map(event.labels)
        # That an object is not in the frame means something if it was there before.
        there = known - event.gone | set(np.unique(labels).tolist())
        ids = tuple(id for id in event.ids if id in there)
        return (labels, ids) if ids else (None, None)

    def _store(
        self,
        way: Pass,
        plan: Plan,
        pending: Pending | None,
        wanted: int,
        told: Callable[[int, float | None], None],
        rate: float | None,
    ) -> None:
        if pending is None or pending.time < wanted or _is_drawn(way, pending.time):
            return
        result = pending.result()
        frame = way.frame(result.time)
        with self._lock:
            chain = _chain(plan, result.time)
            self._project.take_made(way, frame, chain, result.labels)
        told(frame, rate)

    def _keep(
        self, segmenter: VideoSegmenter, way: Pass, plan: Plan, position: int
    ) -> None:
        leaves = jax.tree.leaves(segmenter.views)
        if sum(leaf.nbytes for leaf in leaves) > self.kept.limit:
            return
        # Copies: on a CPU `device_get` may give the very memory that is given away.
        copies = [np.array(leaf) for leaf in jax.device_get(leaves)]
        saved = Saved(segmenter.index, len(segmenter.views), copies)
        self.kept.keep(way, position, _chain(plan, position), saved)

    def _read(self, way: Pass, begin: int, last: int) -> Iterator[tuple[Any, Any]]:
        """Frames and what comes with them, for positions from `begin` to `last`."""
        source, model = self._source, self._model
        inputs = None
        if model.inputs is not None:
            names = [source.names[way.frame(p)] for p in range(self._length(way))]
            folder = video_name(self._video)
            inputs = model.inputs.video(None, names, source.size, folder=folder)
        read = source.frames if way.direction == FORWARD else source.reversed
        pairs = with_inputs(read(way.frame(begin)), inputs, model.size, begin=begin)
        ahead = prefetch(pairs, _AHEAD)
        for position in range(begin, last + 1):
            pair = next(ahead, None)
            if pair is None:
                name = source.names[way.frame(position)]
                raise InputError(f"{self._video}: ends before frame {name}")
            yield pair

    def _length(self, way: Pass) -> int:
        """How many frames a pass has to the end of the video."""
        last = len(self._source) - 1 if way.direction == FORWARD else 0
        return way.position(last) + 1

    def _check_memory(self, task: Task) -> None:
        model = self._model
        check_room(
            *(model.method, model.variables, self._source.size),
            size=model.size,
            objects=len(self._project.drawing.objects),
            frames=task.last + 1,
            flip=model.flip,
            remedy=f"{segmenting_remedy(model.method)}; or track fewer frames",
        )


def _is_drawn(way: Pass, position: int) -> bool:
    """Whether a mask is nothing but what is drawn: it is not stored a second time."""
    return position == 0 and not way.base


def _chain(plan: Plan, position: int) -> str:
    chain = plan.chain(position)
    assert chain is not None, "a pass has a chain from its start on"
    return chain


def _rate(times: list[float]) -> float | None:
    """Frames per second of late; the first are left out, during which XLA compiles."""
    late = times[3:][-_RATE_OVER:]
    return (len(late) - 1) / (late[-1] - late[0]) if len(late) > 1 else None
