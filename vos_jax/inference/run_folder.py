"""Whose masks a folder holds, so that those of two runs never end up in one unseen.

Beside the masks lies `.run.json`: the settings of the run that writes there, and a
fingerprint of each of its frames. Only files that it accounts for are ever removed.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vos_jax.errors import InputError, warn
from vos_jax.inference import resume
from vos_jax.inference.announce import plural
from vos_jax.inference.resume import Saved
from vos_jax.inference.run_identity import (
    OVERLAY,
    RUN_FILE,
    SCORES,
    Run,
    check_frames,
    check_settings,
    differences,
    read_run,
    write_run,
)
from vos_jax.media.atomic import TEMPORARY
from vos_jax.media.listing import IMAGE_SUFFIXES, list_names

DATASET_FILE = "run.json"
"""What `vos-jax evaluate` notes in the folder of all its sequences."""

_STATE_FILE = ".resume.npz"
_ARRAYS = frozenset({".npy", ".npz"})
_NOTHING = Run({}, {})


class RunFolder:
    """The folder of a run's masks.

    Nothing in it changes before `claim`, which the first result asks for: a run whose
    input turns out to be unusable leaves an earlier one's masks as they are.

    Attributes:
      masks: The folder.
      saved: What there is to go on with; None to begin at the first frame.
      is_done: Whether there is nothing left to do.
    """

    def __init__(
        self,
        masks: Path,
        run: Run,
        *,
        go_on: bool,
        wanted: Collection[str] | None = None,
        start_over: str = "",
    ) -> None:
        """Compares a run with what is there.

        Args:
          masks: The folder; need not be there.
          run: Wants to write into it.
          go_on: With what is there, which then must be the same run's. Otherwise
            another run's files make way, and a warning says so.
          wanted: Names of the frames whose masks it writes; None for all.
          start_over: What a user does who does not want to go on.

        Raises:
          InputError: The folder holds files that no run accounts for, or those of
            another run than the one to go on with; what is noted there is damaged.
        """
        self.masks, self.is_done = masks, False
        self.saved: Saved | None = None
        self._run, self._claimed = run, False
        self._wanted = frozenset(run.frames if wanted is None else wanted)
        self._state_file = masks / _STATE_FILE
        self._stale: list[Path] = []
        self._found = read_run(masks)
        _check_accounted_for(masks, self._found, run)
        if self._found is not None and go_on:
            self._go_on(self._found, start_over)
        elif self._found is not None:
            self._make_way(self._found)

    def _go_on(self, found: Run, start_over: str) -> None:
        check_settings(self.masks, found, self._run, start_over)
        saved = None
        if self._state_file.exists():
            saved = resume.load(self._state_file, self._run.settings, start_over)
        done = None if saved is None else saved.position
        check_frames(self.masks, found, self._run, done, start_over)
        self._run = self._run._replace(overlay=self._run.overlay or found.overlay)
        self._stale = _surplus(found, self._run, self.masks)
        # What is in the masks is not looked at: who corrected one wants to keep it.
        kept = self._wanted.intersection(islice(self._run.frames, done))
        if all((self.masks / f"{name}.png").exists() for name in kept):
            self.saved, self.is_done = saved, saved is None

    def _make_way(self, found: Run) -> None:
        other = differences(found.settings, self._run.settings)
        if list(found.frames.items()) != list(self._run.frames.items()):
            other.append("frames")
        if found.allow_damaged != self._run.allow_damaged:
            other.append("allow_damaged")
        self._stale = _surplus(found, _NOTHING if other else self._run, self.masks)
        if count := sum(path.exists() for path in self._stale):
            files = plural(count, "file")
            reason = f" (other {', '.join(sorted(other))})" if other else ""
            warn(
                f"{self.masks}: what an earlier run{reason} has written, {files},"
                " is removed as soon as this one has its first mask; to keep both use"
                " another --out"
            )

    def claim(self) -> None:
        """Removes what makes way and notes that the folder is this run's now.

        Raises:
          InputError: It cannot be written.
        """
        if self._claimed:
            return
        if self.saved is None:
            _remove(self._state_file)
        for path in (*self._stale, *_unfinished(self.masks)):
            _remove(path)
        if any(path.parent.name == SCORES for path in self._stale):
            with suppress(OSError):
                (self.masks.parent / SCORES).rmdir()
        if self._run != self._found:
            write_run(self.masks, self._run)
        self._claimed = True

    def save(self, position: int, views: tuple[Any, ...]) -> None:
        """Saves the state after `position` frames, for a run that goes on."""
        self.claim()
        resume.save(self._state_file, position, views, self._run.settings)

    def finish(self) -> None:
        """Notes that there is nothing to go on with."""
        self.claim()
        _remove(self._state_file)


def _unfinished(masks: Path) -> Iterator[Path]:
    """What a process that was killed had begun to write for this run."""
    yield from masks.glob(TEMPORARY)
    yield from (masks.parent / SCORES).glob(TEMPORARY)
    yield from masks.parent.glob(TEMPORARY.replace("*", f"{OVERLAY}*", 1))


def _surplus(found: Run, run: Run, masks: Path) -> list[Path]:
    """What `found` may have written and `run` will not."""
    kept = set(run.files(masks))
    return [path for path in found.files(masks) if path not in kept]


def _check_accounted_for(masks: Path, found: Run | None, run: Run) -> None:
    """Checks that nobody else's files are where a run's will be.

    Raises:
      InputError: Some are.
    """
    if (masks / DATASET_FILE).exists():
        raise InputError(f"{masks}: holds masks of a data set; use another --out")
    noted = set((found or _NOTHING).files(masks))
    for path in _in_the_way(masks, run):
        if path not in noted:
            raise InputError(
                f"{path}: was there before, and nothing says that a run has made it;"
                " use another --out, or move it away"
            )


def _in_the_way(masks: Path, run: Run) -> Iterator[Path]:
    """Files that would be taken for a run's, or overwritten by it."""
    kinds = {masks: IMAGE_SUFFIXES | _ARRAYS}
    if run.settings.get("scores"):
        kinds[masks.parent / SCORES] = _ARRAYS
    for folder, suffixes in kinds.items():
        if folder.is_dir():
            yield from (folder / name for name in list_names(folder, suffixes))
    overlay = masks.parent / OVERLAY
    if run.overlay and overlay.exists():
        yield overlay


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be removed ({error.strerror}); use another --out"
        ) from error


def discard(masks: Path) -> None:
    """Removes the masks of a folder that is the caller's own, and what is noted there.

    Raises:
      InputError: A file cannot be removed.
    """
    for path in (*masks.glob("*.png"), masks / _STATE_FILE, masks / RUN_FILE):
        _remove(path)
