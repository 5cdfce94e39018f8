"""What happened since the last row of the log, measured without slowing the device."""

import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from vos_jax.types import ClipBatch


class NotFinite(Exception):
    """The loss or the gradients of a step were not finite.

    Attributes:
      step: Which one, from 0.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Window:
    """The steps since the last row of the log.

    The figures of a step are read when the next one is already under way, so that the
    device never waits for the host.
    """

    def __init__(self, clips: int) -> None:
        """Begins to measure time.

        Args:
          clips: In the batch of all processes.
        """
        self._clips = clips
        self._rows: list[dict[str, float]] = []
        self._newest: tuple[int, Mapping[str, jax.Array]] | None = None
        self.restart()

    def restart(self) -> None:
        """Begins to measure time anew."""
        self._started, self._waited, self._steps = time.monotonic(), 0.0, 0

    def wait(self, batches: Iterator[ClipBatch]) -> ClipBatch:
        """Takes a batch and notes how long that took."""
        before = time.monotonic()
        batch = next(batches)
        self._waited += time.monotonic() - before
        return batch

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Notes a step, from 0, and its metrics; looks at the one before.

        Raises:
          NotFinite: That one was not.
        """
        self.settle()
        self._newest = step, metrics
        self._steps += 1

    def settle(self) -> None:
        """Waits for the newest step.

        Raises:
          NotFinite: It was not.
        """
        if self._newest is None:
            return
        step, metrics = self._newest
        row = {name: float(x) for name, x in metrics.items()}
        self._newest = None
        if not row.pop("finite"):
            raise NotFinite(step)
        self._rows.append(row)

    def take(self) -> dict[str, float]:
        """The means of all steps since the last call, clips/s and the data's share.

        Raises:
          NotFinite: The newest step was not.
        """
        self.settle()
        row = {
            name: float(np.mean([each[name] for each in self._rows]))
            for name in self._rows[0]
        }
        seconds = max(time.monotonic() - self._started, 1e-9)
        row["clips_per_second"] = self._clips * self._steps / seconds
        row["data_wait"] = self._waited / seconds
        self._rows = []
        self.restart()
        return row
