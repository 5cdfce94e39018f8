"""The files that a run writes: masks, and probabilities if wanted."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vos_jax.inference.run_folder import RunFolder
from vos_jax.inference.segmenter import FrameResult
from vos_jax.media import MaskWriter, atomic_path


class ResultFiles:
    """Writes results into the folder of a run, which the first one claims.

    Threads write, as those of `MaskWriter`, whose errors come out here.
    """

    def __init__(self, folder: RunFolder, scores: Path | None) -> None:
        """Makes the folder.

        Args:
          folder: For the masks.
          scores: Folder of the probabilities, if wanted.

        Raises:
          InputError: The folder cannot be made.
        """
        self._folder, self._scores = folder, scores
        self._writer = MaskWriter(folder.masks)

    def write(self, name: str, result: FrameResult) -> None:
        """Queues the files of the frame of that name.

        Raises:
          InputError: An earlier write failed, or the folder cannot be claimed.
        """
        self._folder.claim()
        self._writer.write(name, result.labels)
        if self._scores is not None:
            path = self._scores / f"{name}.npz"
            self._writer.submit(_write_scores, path, result)

    def flush(self) -> None:
        """Waits until all files are on disk.

        Raises:
          InputError: One could not be written.
        """
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)


def _write_scores(path: Path, result: FrameResult) -> None:
    probs = np.asarray(result.probs, np.float16)
    with atomic_path(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez_compressed(file, probs=probs, ids=result.ids)
