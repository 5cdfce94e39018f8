"""A project that is worked on: commands of the pages, and what goes on behind them.

Commands come one after the other. The tracker and the export have a thread each; what
is drawn stops the tracker first, since its masks would not follow from it.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.app import runs
from vos_jax.app.drawn import printable
from vos_jax.app.export import Snapshot, export
from vos_jax.app.frame_reader import FrameReader, as_jpeg
from vos_jax.app.passes import BACKWARD, FORWARD
from vos_jax.app.project import Project
from vos_jax.app.tracker import Model, Task, Tracker
from vos_jax.errors import InputError
from vos_jax.media import FrameSource

WIDTHS = (320, 640, 960, 1280)
"""To which frames are scaled down if a page asks for it."""

_WHAT = ("brush", "eraser", "polygon", "fill", "clear", "paste")

Message = dict[str, Any]
"""What the page is sent, as JSON."""


class Busy(InputError):
    """Something else has to end first."""


class _Running(NamedTuple):
    thread: threading.Thread
    stop: threading.Event


class _Ended(Exception):
    """The session ends, and what is written with it."""


class Session:
    """A project, its video, its tracker, and the pages that look at it."""

    def __init__(
        self,
        project: Project,
        source: FrameSource,
        video: Path,
        model: Model,
        *,
        state_bytes: int,
    ) -> None:
        """Begins; nothing is computed.

        Args:
          project: The project.
          source: Its video.
          video: The path of that.
          model: What tracks.
          state_bytes: Bytes of states to keep for corrections.
        """
        self._project, self._source, self._video = project, source, video
        self._model = model
        self._reader = FrameReader(source)
        # The project is asked and told by one thread at a time; commands come one
        # after the other, which includes waiting for the tracker.
        self._lock, self._order = threading.RLock(), threading.Lock()
        self._tracker = Tracker(project, self._lock, source, video, model, state_bytes)
        self._running: _Running | None = None
        self._progress: Message | None = None
        self._exporting: Message | None = None
        self._export_thread: threading.Thread | None = None
        self._has_ended = False
        self._listeners: list[Callable[[Message], None]] = []

    def listen(self, listener: Callable[[Message], None]) -> Callable[[], None]:
        """Has a function called with every message, from any thread; what ends it."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock, suppress(ValueError):
                self._listeners.remove(listener)

        return end

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self._source.size

    def describe(self, *, names: bool = True) -> Message:
        """All that a page needs to know of the project."""
        with self._lock:
            project, drawing = self._project, self._project.drawing
            height, width = project.size
            state: Message = {
                "video": printable(self._video.name),
                "out": printable(str(project.folder)),
                "width": width,
                "height": height,
                "frames": len(project.names),
                "fps": self._source.fps,
                "model": printable(self._model.title),
                "objects": [
                    each._asdict() for each in sorted(drawing.objects.values())
                ],
                "status": project.shown.statuses(),
                "drawn": sorted(drawing.frames),
                "ended": sorted(drawing.ended),
                "undo": project.journal.next_undo,
                "redo": project.journal.next_redo,
                "track": self._progress,
                "export": self._exporting,
                "revision": project.journal.revision,
            }
            if names:
                state["names"] = list(map(printable, project.names))
            return state

    def frame(self, index: int, width: int | None = None) -> bytes:
        """A frame as JPEG."""
        self._project.check_frame(index)
        return as_jpeg(self._reader.read(index), width)

    def labels(self, index: int) -> tuple[bytes, str]:
        """The mask of a frame as runs, and its version."""
        with self._lock:
            self._project.check_frame(index)
            recipe, version = (
                self._project.shown.recipe(index),
                self._project.shown.version(index),
            )
        return runs.encode(self._project.compose(index, recipe)), version

    def draw(self, index: int, data: bytes, version: str, what: str) -> str:
        """Takes over a drawn label map; the frame's new version.

        Raises:
          Conflict: The frame has another version.
          InputError: The map is none.
        """
        if what not in _WHAT:
            raise InputError(f"what={what[:20]!r}: one of {', '.join(_WHAT)}")
        labels = runs.decode(data, self._source.size)

        def change() -> str:
            self._project.draw(index, labels, version, what)
            return self._project.shown.version(index)

        return str(
            self._edit(change, lambda: self._project.check_version(index, version))
        )

    def add_object(self, name: str | None = None, colour: str | None = None) -> Message:
        """A new object."""
        return {"id": self._edit(lambda: self._project.add_object(name, colour), None)}

    def change_object(
        self, id: int, name: str | None = None, colour: str | None = None
    ) -> Message:
        """Another name or colour."""
        self._edit(lambda: self._project.change_object(id, name, colour), None)
        return {}

    def delete_object(self, id: int) -> Message:
        """Takes an object out of all that was drawn."""
        self._edit(
            lambda: self._project.delete_object(id),
            lambda: self._project.check_objects([id]),
        )
        return {}

    def end_object(self, id: int, frame: int, undo_end: bool = False) -> Message:
        """An object is gone from a frame on; or not, after all."""
        is_end = not undo_end
        self._edit(
            lambda: self._project.end_object(id, frame, is_end=is_end),
            lambda: self._project.check_end(id, frame, is_end=is_end),
        )
        return {}

    def forget(self, frame: int) -> Message:
        """Takes back what was drawn in a frame."""
        self._edit(
            lambda: self._project.forget(frame),
            lambda: self._project.check_frame(frame),
        )
        return {}

    def undo(self) -> Message:
        """Takes the latest change back."""
        if self._project.journal.next_undo is None:
            return {"frame": None}
        return {"frame": self._edit(self._project.undo)}

    def redo(self) -> Message:
        """Brings it again."""
        if self._project.journal.next_redo is None:
            return {"frame": None}
        return {"frame": self._edit(self._project.redo)}

    def track(self, direction: str, frame: int, last: int | None = None) -> Message:
        """Begins to track on through a frame.

        Raises:
          Busy: That goes on already.
          InputError: There is nothing to begin with.
        """
        if direction not in (FORWARD, BACKWARD):
            raise InputError(f"direction={direction[:20]!r}: forward or backward")
        with self._order, self._lock:
            self._check_has_not_ended()
            if self._running is not None:
                raise Busy("tracking goes on already; stop it first")
            task, stop = self._tracker.task(frame, direction, last), threading.Event()
            thread = threading.Thread(
                target=self._track, args=(task, stop), name="tracker", daemon=True
            )
            # It waits for the lock before it says anything.
            thread.start()
            self._running = _Running(thread, stop)
            way = task.way
            self._progress = {
                "direction": direction,
                "frame": way.frame(task.first),
                "first": way.frame(task.first),
                "last": way.frame(task.last),
                "rate": None,
                "phase": "compiling",
            }
            self._tell_track(None)
        return {}

    def stop(self) -> Message:
        """Stops the tracker after its frame."""
        with self._order:
            self._stop()
        return {}

    def export(self, overlay: bool = True, coco: bool = True) -> Message:
        """Begins to write the results.

        Raises:
          Busy: That goes on already.
        """
        with self._order, self._lock:
            self._check_has_not_ended()
            if self._exporting is not None:
                raise Busy("the export goes on already; wait for its end")
            snapshot = Snapshot.of(self._project)
            if not snapshot.recipes:
                raise InputError("there is no mask yet; draw one first")
            thread = threading.Thread(
                target=self._export,
                args=(snapshot, overlay, coco),
                name="export",
                daemon=True,
            )
            thread.start()
            self._export_thread = thread
            self._exporting = {"done": 0, "of": len(snapshot.recipes) * (1 + overlay)}
            self._publish({"type": "export", "export": self._exporting, "told": None})
        return {}

    def close(self) -> None:
        """Ends what goes on; what is drawn and tracked is on disk."""
        with self._order:
            self._has_ended = True
            self._stop()
        if self._export_thread is not None:
            self._export_thread.join()

    def _check_has_not_ended(self) -> None:
        if self._has_ended:
            raise Busy("the server is ending; start it again")

    def _edit(
        self,
        change: Callable[[], Any],
        check: Callable[[], None] | None = lambda: None,
    ) -> Any:
        """Makes a change and tells all pages.

        Args:
          change: Changes the project; what it gives is given back.
          check: Raises what `change` would, before the tracker is stopped. None for a
            change of which the tracker knows nothing.
        """
        with self._order:
            self._check_has_not_ended()
            if check is not None:
                with self._lock:
                    check()
                self._stop()
            with self._lock:
                result = change()
                self._publish({"type": "project", **self.describe(names=False)})
        return result

    def _stop(self) -> None:
        running = self._running
        if running is not None:
            running.stop.set()
            running.thread.join()

    def _track(self, task: Task, stop: threading.Event) -> None:
        def work() -> str:
            last = self._tracker.run(task, stop, self._tracked)
            done = "tracked to" if last == task.way.frame(task.last) else "stopped at"
            return f"{done} frame {self._project.names[last]}"

        told = self._told("tracking", work)
        with self._lock:
            self._running = self._progress = None
            self._tell_track(told)

    def _tracked(self, frame: int, rate: float | None) -> None:
        """A mask was stored."""
        with self._lock:
            assert self._progress is not None
            self._progress = {
                **self._progress,
                "frame": frame,
                "rate": rate,
                "phase": "running",
            }
            self._publish(
                {
                    "type": "frame",
                    "index": frame,
                    "version": self._project.shown.version(frame),
                    "status": self._project.shown.status(frame),
                }
            )
            self._tell_track(None)

    def _tell_track(self, told: str | None) -> None:
        self._publish({"type": "track", "track": self._progress, "told": told})

    def _export(self, snapshot: Snapshot, overlay: bool, coco: bool) -> None:
        def work() -> str:
            written = export(
                *(self._project, snapshot, self._source, self._video),
                overlay=overlay,
                coco=coco,
                told=self._exported,
            )
            told = f"wrote {', '.join(written)} to {self._project.folder}"
            if snapshot.stale:
                told += (
                    f"; {snapshot.stale} masks are older than a correction before"
                    " them: track on from it"
                )
            return told

        told = self._told("export", work)
        with self._lock:
            self._exporting = None
            self._publish({"type": "export", "export": None, "told": told})

    def _exported(self, done: int, of: int) -> None:
        if self._has_ended:
            raise _Ended
        with self._lock:
            self._exporting = {"done": done, "of": of}
            self._publish({"type": "export", "export": self._exporting, "told": None})

    def _told(self, what: str, work: Callable[[], str]) -> str:
        """Does the work of a thread; what there is to say when it has ended."""
        with self._lock:
            pass  # Until the command has said that this begins.
        try:
            told = work()
        except _Ended:
            told = f"{what} was stopped; what is written is whole"
        except InputError as error:
            told = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            told = f"{what} failed: {type(error).__name__}: {error}"
        return printable(told)

    def _publish(self, message: Message) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(message)
            except Exception:
                # A page that is gone is nothing to stop for.
                self._listeners.remove(listener)
