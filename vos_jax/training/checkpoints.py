"""Training checkpoints: whole or not there, written while training goes on.

Orbax gives a checkpoint its name only when all of it is on disk, so whatever moment a
run dies at, the newest one that can be seen is complete. Arrays are stored without
their placement: a run goes on with another number of devices.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vos_jax.convert.reason import one_line
from vos_jax.errors import InputError
from vos_jax.runtime.out_of_memory import shortage
from vos_jax.training.checksums import changed_file, write_checksums
from vos_jax.training.quiet_readers import quiet_readers

SCORE = "J&F"
"""The metric of validation by which the best checkpoint is kept."""

# Orbax's name for what was saved without one.
_ITEM = "default"
_LAYER = re.compile(r"[A-Z_]+$|Error (opening|reading|decoding) ")


class Checkpoints:
    """The checkpoints of one run: the newest ones, and the best by validation."""

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        keep_best: int = 1,
        *,
        read_only: bool = False,
    ) -> None:
        """Opens a folder, which is made if needed.

        Args:
          folder: Holds nothing but checkpoints.
          keep: How many of the newest stay; at least 1.
          keep_best: How many of the best by `SCORE` stay beside them.
          read_only: Change nothing: another process may be writing there.

        Raises:
          InputError: The folder cannot be made, or is missing if it is only read.
        """
        if keep < 1:
            raise InputError(f"keep={keep} would keep no checkpoint; use at least 1")
        # Its warnings are about Orbax's own choices, nothing that a user can act on.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._folder = Path(folder).resolve()
        self._newest = 0
        kept = [
            checkpoint_managers.LatestN(keep),
            checkpoint_managers.BestN(
                get_metric_fn=_score,
                n=keep_best,
                keep_checkpoints_without_metrics=False,
            ),
        ]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(kept),
            # Without it Orbax drops the scores.
            best_fn=_score,
            step_prefix="step",
            # What a killed run left half-written.
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        if read_only and not self._folder.exists():
            raise InputError(f"{self._folder}: no such folder; no checkpoint was saved")
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"{self._folder}: is a file; use another --workdir")
        try:
            with quiet_readers():
                self._manager = ocp.CheckpointManager(self._folder, options=options)
        except OSError as error:
            raise InputError(
                f"{self._folder}: cannot be made: {error.strerror or error};"
                " use another --workdir"
            ) from error

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of all complete checkpoints, in order."""
        return tuple(sorted(self._manager.all_steps()))

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest score; None without scores."""
        scored = {step: self._manager.metrics(step) for step in self.steps}
        scored = {step: m[SCORE] for step, m in scored.items() if m and SCORE in m}
        return max(scored, key=lambda step: scored[step]) if scored else None

    def save(
        self, step: int, state: Any, scores: Mapping[str, float] | None = None
    ) -> None:
        """Copies `state` off the devices and writes it in the background.

        The caller may donate `state` right after. A step that is there already is left
        alone.

        Raises:
          InputError: This or the checkpoint before could not be written; those that
            were complete stay.
        """
        if step in self._manager.all_steps():
            return
        scores = dict(scores) if scores and SCORE in scores else None
        try:
            # The one before has to be sealed by its own number.
            self._manager.wait_until_finished()
            self._newest = step
            self._manager.save(step, args=ocp.args.StandardSave(state), metrics=scores)
        # The second is how TensorStore tells of the one before.
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def wait(self) -> None:
        """Returns once everything is on disk.

        Raises:
          InputError: Something could not be written.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def restore(self, like: Any, step: int | None = None) -> Any:
        """Reads a checkpoint.

        Args:
          like: A state of the same structure; gives shapes, types and placement.
          step: Which one; by default the newest.

        Raises:
          InputError: There is none, it is damaged, or its arrays are of other shapes.
        """
        step = self.latest if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise InputError(f"{self._folder}: holds no checkpoint of step {step}")
        abstract = jax.tree.map(_abstract, like)
        with self._damage_told(step), quiet_readers():
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def read_variables(self, step: int) -> dict[str, Any]:
        """Reads what to evaluate of a `TrainState`: no optimizer, no devices.

        Returns:
          `params`, the averaged ones where there are, and `batch_stats`, as NumPy
          arrays.

        Raises:
          InputError: The checkpoint is damaged.
        """
        path = self._folder / f"step_{step}" / _ITEM
        with self._damage_told(step), quiet_readers():
            restored = _read_variables(path)
        params = restored.get("average", restored["params"])
        return {"params": params, "batch_stats": restored["batch_stats"]}

    @contextmanager
    def _damage_told(self, step: int) -> Iterator[None]:
        """One line for whatever reading a damaged checkpoint raises."""
        folder = self._folder / f"step_{step}"
        try:
            if not (folder / _ITEM).is_dir():
                raise FileNotFoundError(f"its folder {_ITEM!r} is missing")
            if (name := changed_file(folder / _ITEM)) is not None:
                raise ValueError(f"{_ITEM}/{name} is not what was written")
            yield
        # Which exception that is depends on where the damage is.
        except Exception as error:
            if shortage(error) is not None:
                raise
            raise InputError(
                f"{folder}: cannot be restored ({_reason(error, folder)}); remove that"
                f" folder to go on from {self._before(step)}"
            ) from error

    def _seal(self) -> None:
        """Notes what the files of the newest checkpoint are, once they are written."""
        if jax.process_index() != 0:
            return
        # Orbax is about to give it its name.
        for folder in self._folder.glob(f"step_{self._newest}.*tmp*/{_ITEM}"):
            write_checksums(folder)

    def _before(self, step: int) -> str:
        earlier = [other for other in self.steps if other < step]
        return f"step {earlier[-1]}" if earlier else "the beginning"

    def _unwritable(self, error: Exception) -> InputError:
        reason = str(error).strip().split("\n")[0]
        there = f"step {self.latest} is whole" if self.steps else "none is there yet"
        return InputError(
            f"{self._folder}: a checkpoint could not be written ({reason}); {there};"
            " free some space and give the same command again"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An error of the body is the one to tell.
        if error is None:
            self.wait()
        # Orbax would wait here for all processes. Only an interrupt is something that
        # they have agreed on; what else stops one may have stopped no other.
        agreed = error is None or isinstance(error, KeyboardInterrupt)
        if agreed or jax.process_count() == 1:
            with suppress(Exception) if error is not None else nullcontext():
                self._manager.close()


def _read_variables(path: Path) -> Any:
    reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    metadata = reader.metadata(path).item_metadata
    if metadata is None:
        raise FileNotFoundError("its metadata are missing or damaged")
    stored = metadata.tree
    wanted = {name: stored[name] for name in ("params", "batch_stats")}
    if stored["average"] is not None:
        wanted["average"] = stored["average"]
    like = jax.tree.map(_no_memory, wanted)
    numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    arguments = ocp.args.PyTreeRestore(
        item=like, restore_args=numpy, partial_restore=True
    )
    return reader.restore(path, args=arguments)


def _reason(error: BaseException, folder: Path) -> str:
    """What went wrong at the bottom of it, as one clause."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = str(error).strip().partition("\n")[0]
    # TensorStore tells layer by layer, the innermost last, and then all its settings.
    text = first.partition(" [tensorstore_spec")[0].replace(f"{folder}/", "")
    layers = text.split(": ")
    while len(layers) > 1 and _LAYER.match(layers[0]):
        layers.pop(0)
    return one_line(": ".join(layers).partition(";")[0]) or type(error).__name__


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[SCORE]


def _abstract(x: Any) -> Any:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _no_memory(x: Any) -> np.ndarray:
    """An array of the same shape and type, for what reads only these."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)
