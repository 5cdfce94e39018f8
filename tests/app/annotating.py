"""A project on a small clip, and its session, opened as often as a test likes."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import vos_jax
from vos_jax.app.open_project import AnnotateJob, opened
from vos_jax.app.session import Session
from vos_jax.app.tracker import Task, Tracker
from vos_jax.inference.files import SegmentJob, segment_files
from vos_jax.methods.base import Method

Network = tuple[Method, Mapping[str, Any]]


class Annotator:
    """What a page does with a session, waiting for the end of everything."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.told: list[str] = []
        self._ended = threading.Event()
        session.listen(self._listen)

    @property
    def state(self) -> dict[str, Any]:
        return self.session.describe()

    def labels(self, index: int) -> np.ndarray:
        from vos_jax.app import runs

        return runs.decode(self.session.labels(index)[0], self.session.frame_size)

    def all_labels(self) -> np.ndarray:
        return np.stack([self.labels(i) for i in range(self.state["frames"])])

    def draw(self, index: int, labels: np.ndarray, what: str = "brush") -> None:
        from vos_jax.app import runs

        while set(np.unique(labels)) - {0, *(x["id"] for x in self.state["objects"])}:
            self.session.add_object()
        version = self.session.labels(index)[1]
        self.session.draw(index, runs.encode(labels), version, what)

    def track(self, frame: int, direction: str = "forward", last: Any = None) -> str:
        self._ended.clear()
        self.session.track(direction, frame, last)
        return self._wait()

    def export(self, **options: bool) -> str:
        self._ended.clear()
        self.session.export(**options)
        return self._wait()

    def _wait(self) -> str:
        assert self._ended.wait(120)
        return self.told[-1]

    def _listen(self, message: dict[str, Any]) -> None:
        ended = message["type"] in ("track", "export") and message["told"] is not None
        if ended:
            self.told.append(message["told"])
            self._ended.set()


@contextmanager
def annotating(network: Network, video: Path, out: Path, **job: Any) -> Iterator[Any]:
    """Opens a project and closes it again."""
    with opened(*network, AnnotateJob(video=video, out=out, **job)) as session:
        yield Annotator(session)


def segmented(network: Network, video: Path, mask: Path, out: Path, **job: Any) -> Path:
    """The masks of `vos-jax segment`."""
    segment_files(*network, SegmentJob(input=video, mask=mask, out=out, **job))
    return out / "masks"


def stop_after(
    monkeypatch: Any, session: Callable[[], Session], frame: int
) -> list[Task]:
    """Has the tracker asked to stop as soon as it has stored the mask of a frame."""
    tasks: list[Task] = []
    run = Tracker.run

    def stopping(self: Tracker, task: Task, stop: Any, told: Any) -> int:
        tasks.append(task)

        def also(index: int, rate: float | None) -> None:
            told(index, rate)
            if index == frame:
                stop.set()

        return run(self, task, stop, also)

    monkeypatch.setattr(Tracker, "run", stopping)
    return tasks


def exact(method: Method, variables: Any, frames: Any, given: Any, **options: Any):
    """What the library gives for the same masks."""
    return vos_jax.segment_video(method, variables, frames, given, **options)
