"""Files written by threads while the device works on the next frame."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from vos_jax.media.atomic import make_folder
from vos_jax.media.masks import write_labels

# Writes that may wait for each worker before `submit` waits too.
_BACKLOG = 4


class MaskWriter:
    """Writes `<folder>/<name>.png` label maps, and other files, on a few threads.

    When writes fail, the error of the one that was queued first is raised by the next
    call or by `close`; later ones that still wait are dropped, so that the files on
    disk end near the failure. Leaving the `with` block closes; an exception that leaves
    it is not replaced.
    """

    def __init__(self, folder: str | Path, workers: int = 2) -> None:
        """Makes the folder and the threads.

        Raises:
          InputError: The folder cannot be made.
        """
        self.folder = make_folder(folder)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="writer")
        self._places = workers * (1 + _BACKLOG)
        self._room = threading.BoundedSemaphore(self._places)
        self._queued = 0
        self._lock = threading.Lock()
        # The earliest write that failed, and why.
        self._failed: tuple[int, BaseException] | None = None

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
        if self._failed is not None:
            self._room.release()
            # An earlier one may be about to fail as well.
            self.flush()
        try:
            self._pool.submit(self._run, self._queued, function, args)
        except RuntimeError:
            self._room.release()
            raise
        self._queued += 1

    def flush(self) -> None:
        """Waits until everything queued so far is on disk.

        Raises:
          Exception: What the earliest of them raised.
        """
        for _ in range(self._places):
            self._room.acquire()
        self._room.release(self._places)
        self._raise()

    def close(self) -> None:
        """Waits for all writes.

        Raises:
          Exception: What the earliest of them raised.
        """
        self._pool.shutdown()
        self._raise()

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

    def _raise(self) -> None:
        if self._failed is not None:
            raise self._failed[1]

    def _run(
        self, number: int, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        try:
            if self._failed is None or number < self._failed[0]:
                function(*args)
        except BaseException as error:
            with self._lock:
                if self._failed is None or number < self._failed[0]:
                    self._failed = number, error
        finally:
            self._room.release()
