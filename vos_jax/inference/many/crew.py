"""Many videos: on all devices of this machine, and several at once on each.

Every device works through videos of one working size after the other, so that it has
few programs to compile; where a size has videos left and no device is free for others,
devices share it. Threads read frames and write masks while the devices compute.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vos_jax.errors import InputError, warn
from vos_jax.inference.announce import plural
from vos_jax.inference.file_run import Beside
from vos_jax.inference.form import inference_form
from vos_jax.inference.many.deal import Deal, Group, by_size
from vos_jax.inference.many.videos import (
    ONE_BY_ONE,
    Known,
    Outcome,
    Spread,
    Video,
    count_frames,
)
from vos_jax.media.atomic import DiskFull
from vos_jax.methods.base import Method
from vos_jax.runtime.programs import drop_programs_if_many
from vos_jax.runtime.progress import Progress


def segment_each(
    method: Method,
    variables: Mapping[str, Any],
    videos: Sequence[Video],
    spread: Spread,
    *,
    size: int | None = None,
    flip: bool = False,
    tell: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Segments videos, the long ones of a size first.

    Where no devices are named and one video is done at a time, each shows its own
    progress, in the order given; else there is one progress of all.

    Args:
      method: From `load_model`.
      variables: Its weights.
      videos: What to do.
      spread: Over which devices, and how.
      size: Shorter side to compute at; None for the videos' own.
      flip: Average with the mirrored video.
      tell: Called with each outcome, by one thread at a time.

    Returns:
      One outcome for each video, in the order given.

    Raises:
      InputError: A video cannot be done and `spread` does not keep going, the disk is
        full, or memory does not suffice for so many videos at once. All that was begun
        can be gone on with.
    """
    crew = _Crew(spread.keep_going, tell)
    if spread == ONE_BY_ONE._replace(keep_going=spread.keep_going):
        for video in videos:
            crew.do(video, None)
            crew.raise_failure()
    else:
        known = crew.look(videos)
        groups = [
            Group(method, each, spread, size, flip) for each in by_size(known, size)
        ]
        groups = [group for group in groups if crew.has_memory(group, variables)]
        if groups:
            crew.work(Deal(groups), inference_form(method, variables), spread.devices)
    return [crew.outcomes[video.name] for video in videos]


class _Stopped(BaseException):
    """All videos stop, with their states saved."""


class _Crew:
    """Threads that work through videos, and what came of these."""

    def __init__(
        self, keep_going: bool, tell: Callable[[Outcome], None] | None
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._keep_going, self._tell = keep_going, tell
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._done = 0

    def look(self, videos: Sequence[Video]) -> list[Known]:
        """Those that can be opened, with their facts.

        Raises:
          InputError: One cannot be, and the run does not keep going.
        """
        known = []
        with Progress("look at videos", len(videos), "video") as progress:
            for video in videos:
                try:
                    known.append(Known(video, video.look()))
                except InputError as error:
                    self._refuse(video, error)
                    self.raise_failure()
                progress.update()
        return known

    def has_memory(self, group: Group, variables: Mapping[str, Any]) -> bool:
        """Whether a batch may have room; its videos are refused if it has not.

        Raises:
          InputError: It has not, and the run does not keep going.
        """
        try:
            group.check_memory(variables)
        except InputError as error:
            for known in group.left:
                self._refuse(known.video, error)
                self.raise_failure()
            return False
        return True

    def do(self, video: Video, beside: Beside | None) -> None:
        """Segments a video and notes what came of it."""
        drop_programs_if_many()
        try:
            self._note(Outcome(video.name, video.run(beside), None))
        except InputError as error:
            self._refuse(video, error)

    def _refuse(self, video: Video, error: InputError) -> None:
        if not self._keep_going or isinstance(error, DiskFull):
            self.fail(error)
        else:
            warn(f"{video.name}: {error}")
            # Another one of the same words: the traceback holds all that the video had.
            self._note(Outcome(video.name, None, InputError(str(error))))

    def _note(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[outcome.name] = outcome
            self._done += 1
            if self._tell is not None:
                self._tell(outcome)

    def fail(self, error: BaseException) -> None:
        """Stops all; the first error is the one to raise."""
        with self._lock:
            self._failure = self._failure or error
        self._stop.set()

    def raise_failure(self) -> None:
        """Raises what `fail` was given."""
        if self._failure is not None:
            raise self._failure

    def work(
        self,
        deal: Deal,
        network: tuple[Method, Mapping[str, Any]],
        devices: Sequence[jax.Device],
    ) -> None:
        """Works through all videos; a signal waits for the states to be saved."""
        videos, self._done = deal.left(), 0
        with Progress("segment", count_frames(videos)) as progress:
            beside = Beside(network, progress, self._act(progress, len(videos)))
            loops = [
                self._start(self._loop, deal, device, beside)
                for device in devices or jax.local_devices()[:1]
            ]
            try:
                _wait(loops)
            except BaseException as error:
                self.fail(error)
                _wait(loops)
        self.raise_failure()

    def _act(self, progress: Progress, count: int) -> Callable[[], None]:
        def act() -> None:
            progress.note = f"{self._done}/{plural(count, 'video')}"
            if self._stop.is_set():
                raise _Stopped

        return act

    def _loop(self, deal: Deal, device: jax.Device, beside: Beside) -> None:
        """What one device does."""
        method, variables = beside.network
        with jax.default_device(device):
            # By way of the host: what is put onto a device by its name makes programs
            # of its own beside those of arrays that just are there.
            variables = jax.tree.map(jnp.asarray, jax.device_get(variables))
            beside = beside._replace(network=(method, variables))
            while not self._stop.is_set() and (found := deal.next_group()):
                group, first = found
                batch = group.batch(method, variables)
                place = None if batch is None else batch.place
                beside = beside._replace(place=place)
                rows = [
                    self._start(self._row, deal, group, video, device, beside)
                    for video in first
                ]
                _wait(rows)

    def _row(
        self,
        deal: Deal,
        group: Group,
        first: Video,
        device: jax.Device,
        beside: Beside,
    ) -> None:
        """Videos one after the other, each in a place of the batch if there is one."""
        video: Video | None = first
        with jax.default_device(device):
            while video is not None and not self._stop.is_set():
                self.do(video, beside)
                video = deal.next_video(group)

    def _start(self, function: Callable[..., None], *args: Any) -> threading.Event:
        """Runs a function in a thread; the event says that it has ended."""
        ended = threading.Event()

        def run() -> None:
            try:
                function(*args)
            except _Stopped:
                pass
            except BaseException as error:
                self.fail(error)
            finally:
                ended.set()

        threading.Thread(target=run, name="videos", daemon=True).start()
        return ended


def _wait(events: Sequence[threading.Event]) -> None:
    # `Thread.join` would take a thread for dead when a signal interrupts it.
    for event in events:
        # A wait without an end would not let the main thread hear a signal.
        while not event.wait(0.1):
            pass
