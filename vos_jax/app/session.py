"""A project that is worked on: commands of the pages, and what goes on behind them.

Commands come one after the other. The tracker and the export have a thread each; what
is drawn stops the tracker first, since its masks would not follow from it.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.app import runs
from vos_jax.app.drawn import as_jpeg
from vos_jax.app.export import Snapshot, export
from vos_jax.app.frame_reader import FrameReader
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
    task: Task
    thread: threading.Thread
    stop: threading.Event


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
        self._listeners: list[Callable[[Message], None]] = []

    def listen(self, listener: Callable[[Message], None]) -> Callable[[], None]:
        """Has a function called with every message, from any thread; what ends it."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
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
                "video": self._video.name,
                "out": str(project.folder),
                "width": width,
                "height": height,
                "frames": len(project.names),
                "fps": self._source.fps,
                "model": self._model.title,
                "can_track": True,
                "objects": [
                    each._asdict() for each in sorted(drawing.objects.values())
                ],
                "status": project.statuses(),
                "drawn": sorted(drawing.frames),
                "ended": sorted(drawing.ended),
                "undo": project.journal.next_undo,
                "redo": project.journal.next_redo,
                "track": self._progress,
                "export": self._exporting,
                "revision": project.journal.revision,
            }
            if names:
                state["names"] = project.names
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
                self._project.recipe(index),
                self._project.version(index),
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
        self._edit(lambda: self._project.draw(index, labels, version, what))
        with self._lock:
            return self._project.version(index)

    def add_object(self, name: str | None = None, colour: str | None = None) -> Message:
        """A new object."""
        return {"id": self._edit(lambda: self._project.add_object(name, colour))}

    def change_object(
        self, id: int, name: str | None = None, colour: str | None = None
    ) -> Message:
        """Another name or colour."""
        self._edit(lambda: self._project.change_object(id, name, colour), stops=False)
        return {}

    def delete_object(self, id: int) -> Message:
        """Takes an object out of all that was drawn."""
        self._edit(lambda: self._project.delete_object(id))
        return {}

    def end_object(self, id: int, frame: int, undo_end: bool = False) -> Message:
        """An object is gone from a frame on; or not, after all."""
        self._edit(lambda: self._project.end_object(id, frame, is_end=not undo_end))
        return {}

    def forget(self, frame: int) -> Message:
        """Takes back what was drawn in a frame."""
        self._edit(lambda: self._project.forget(frame))
        return {}

    def undo(self) -> Message:
        """Takes the latest change back."""
        return {"frame": self._edit(self._project.undo)}

    def redo(self) -> Message:
        """Brings it again."""
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
            if self._running is not None:
                raise Busy("tracking goes on already; stop it first")
            task, stop = self._tracker.task(frame, direction, last), threading.Event()
            way = task.way
            self._progress = {
                "direction": direction,
                "frame": way.frame(task.first),
                "first": way.frame(task.first),
                "last": way.frame(task.last),
                "rate": None,
                "phase": "compiling",
            }
            thread = threading.Thread(
                target=self._track, args=(task, stop), name="tracker", daemon=True
            )
            self._running = _Running(task, thread, stop)
            self._tell_track(None)
            thread.start()
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
            if self._exporting is not None:
                raise Busy("the export goes on already; wait for its end")
            snapshot = Snapshot.of(self._project)
            if not snapshot.recipes:
                raise InputError("there is no mask yet; draw one first")
            self._exporting = {"done": 0, "of": len(snapshot.recipes) * (1 + overlay)}
            self._publish({"type": "export", "export": self._exporting, "told": None})
            self._export_thread = threading.Thread(
                target=self._export,
                args=(snapshot, overlay, coco),
                name="export",
                daemon=True,
            )
            self._export_thread.start()
        return {}

    def close(self) -> None:
        """Ends what goes on; all is on disk."""
        self.stop()
        if self._export_thread is not None:
            self._export_thread.join()
        self._project.close()

    def _edit(self, change: Callable[[], Any], *, stops: bool = True) -> Any:
        with self._order:
            if stops:
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
        told = None
        try:
            last = self._tracker.run(task, stop, self._tracked)
            name = self._project.names[last]
            ended = last == task.way.frame(task.last)
            told = f"tracked to frame {name}" if ended else f"stopped at frame {name}"
        except InputError as error:
            told = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            told = f"tracking failed: {type(error).__name__}: {error}"
        finally:
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
                    "version": self._project.version(frame),
                    "status": self._project.status(frame),
                }
            )
            self._tell_track(None)

    def _tell_track(self, told: str | None) -> None:
        self._publish({"type": "track", "track": self._progress, "told": told})

    def _export(self, snapshot: Snapshot, overlay: bool, coco: bool) -> None:
        told = None
        try:
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
        except InputError as error:
            told = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            told = f"export failed: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._exporting = None
                self._publish({"type": "export", "export": None, "told": told})

    def _exported(self, done: int, of: int) -> None:
        with self._lock:
            self._exporting = {"done": done, "of": of}
            self._publish({"type": "export", "export": self._exporting, "told": None})

    def _publish(self, message: Message) -> None:
        for listener in tuple(self._listeners):
            listener(message)
