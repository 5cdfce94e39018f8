"""Files written by threads while the device works on the next frame."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from vos_jax.media.atomic import write_error
from vos_jax.media.masks import write_labels

# Writes that may wait for each worker before `submit` waits too.
_BACKLOG = 4


class MaskWriter:
    """Writes `<folder>/<name>.png` label maps, and other files, on a few threads.

    The first error of a write is raised by the next call or by `close`; writes that
    still wait then are dropped, so that the files on disk end near the failure. Leaving
    the `with` block closes; an exception that leaves it is not replaced.
    """

    def __init__(self, folder: str | Path, workers: int = 2) -> None:
        """Makes the folder and the threads.

        Raises:
          InputError: The folder cannot be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="writer")
        self._places = workers * (1 + _BACKLOG)
        self._room = threading.BoundedSemaphore(self._places)
        self._error: BaseException | None = None

    def write(self, name: str, labels: np.ndarray) -> None:
        """Queues one label map `[H, W]`; the array must not be changed afterwards.

        Raises:
          InputError: An earlier write failed.
        """
        self.submit(write_labels, self.folder / f"{name}.png", labels)

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Queues `function(*args)`; waits while too many are queued.

        Raises:
          Exception: What an earlier write raised.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        try:
            self._pool.submit(self._run, function, args)
        except RuntimeError:
            self._room.release()
            raise

    def flush(self) -> None:
        """Waits until everything queued so far is on disk.

        Raises:
          Exception: What a write raised first.
        """
        for _ in range(self._places):
            self._room.acquire()
        self._room.release(self._places)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits for all writes.

        Raises:
          Exception: What a write raised first.
        """
        self._pool.shutdown()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._pool.shutdown()

    def _run(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            if self._error is None:
                function(*args)
        except BaseException as error:
            if self._error is None:
                self._error = error
        finally:
            self._room.release()
