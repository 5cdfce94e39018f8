"""A training run from its first step to its last, over any number of interruptions.

Everything random is a function of the seed and the step, so a run that was stopped, at
whatever moment and however, ends with the bits of one that never was.

The working folder holds `experiment.json` (what the run is), `checkpoints/`, the log
(`log.jsonl`, `tensorboard/`, `curves.png`), `batch.png` (the first clips),
`validation/` and, at the end, `weights.safetensors`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from vos_jax.data.pipeline import Clips, batch_at, train_batches
from vos_jax.data.show import write_batch
from vos_jax.data.source import Source
from vos_jax.data.sources import ConcatSource, open_source
from vos_jax.engine.checkpoint import Checkpoints
from vos_jax.engine.devices import check_batch, make_mesh, shard_batch
from vos_jax.engine.experiment import DataConfig, Experiment, describe, differences
from vos_jax.engine.interrupt import delayed_signals
from vos_jax.engine.model import load_model, save_weights
from vos_jax.engine.progress import Progress
from vos_jax.engine.train_log import TrainLog, draw_curves, read_log
from vos_jax.engine.train_step import (
    TrainState,
    TrainStep,
    create_train_state,
    make_train_step,
)
from vos_jax.engine.twins import twins
from vos_jax.engine.validate import validate
from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path
from vos_jax.methods import create
from vos_jax.methods.base import Method
from vos_jax.types import ClipBatch

_EXPERIMENT = "experiment.json"
_TWIN_CLIPS = 16


class Trained(NamedTuple):
    """What a run came to.

    Attributes:
      weights: The file with the last weights, averaged if the experiment says so.
      steps: Steps done by this call.
      scores: Of the last validation; empty without one.
    """

    weights: Path
    steps: int
    scores: Mapping[str, float]


def train(
    experiment: Experiment,
    workdir: Path,
    data: Path | None = None,
    *,
    mesh: Mesh | None = None,
    skip_bad: bool = False,
) -> Trained:
    """Trains, from the newest checkpoint in `workdir` if there is one.

    Args:
      experiment: What to do.
      workdir: Belongs to this experiment alone.
      data: Folder that the data sets' own folders are in.
      mesh: Devices; by default all there are.
      skip_bad: Warn of files that cannot be read instead of stopping.

    Raises:
      InputError: Data are missing or damaged, `workdir` belongs to another experiment,
        the disk is full, or a step was not finite. Complete checkpoints stay.
    """
    mesh = make_mesh() if mesh is None else mesh
    check_batch(mesh, experiment.batch, experiment.step.accumulation)
    source = open_data(experiment.data, data)
    watched = open_data(experiment.validation, data) if experiment.validation else None
    claim(workdir, experiment)
    method, variables = begin(experiment, source)
    optimizer = experiment.optimizer.build(experiment.steps, variables["params"])
    state = create_train_state(variables, optimizer, mesh, experiment.step)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", experiment.keep)
        )
        if checkpoints.latest is not None:
            state = checkpoints.restore(state)
        first = int(state.step)
        run = _Run(
            experiment=experiment,
            workdir=workdir,
            mesh=mesh,
            method=method,
            step=make_train_step(method, optimizer, mesh, experiment.step),
            clips=Clips(
                source,
                experiment.recipe,
                seed=experiment.seed,
                batch=experiment.batch,
                skip_bad=skip_bad,
            ),
            watched=watched,
            checkpoints=checkpoints,
            log=stack.enter_context(TrainLog(workdir, first)),
        )
        if first == 0 and jax.process_index() == 0:
            write_batch(workdir / "batch.png", run.clips, 0)
        batches = train_batches(
            source,
            experiment.recipe,
            seed=experiment.seed,
            batch=experiment.batch,
            first_step=first,
            host=jax.process_index(),
            hosts=jax.process_count(),
            skip_bad=skip_bad,
        )
        state, scores = run(state, first, batches)
        checkpoints.wait()
    weights = workdir / "weights.safetensors"
    save(weights, experiment, method, state)
    draw_curves(read_log(workdir), workdir / "curves.png")
    return Trained(weights, experiment.steps - first, scores)


class _Run(NamedTuple):
    """What stays the same from step to step."""

    experiment: Experiment
    workdir: Path
    mesh: Mesh
    method: Method
    step: TrainStep
    clips: Clips
    watched: Source | None
    checkpoints: Checkpoints
    log: TrainLog

    def __call__(
        self, state: TrainState, first: int, batches: Iterator[ClipBatch]
    ) -> tuple[TrainState, Mapping[str, float]]:
        """Steps from `first` to the end; saves when it is interrupted."""
        experiment = self.experiment
        scores: Mapping[str, float] = {}
        key = jax.random.key(experiment.seed)
        window = _Window(experiment.batch)
        done = first
        try:
            with (
                delayed_signals() as act,
                Progress("train", experiment.steps - first, "step") as progress,
            ):
                for number in range(first, experiment.steps):
                    batch = window.wait(batches)
                    placed = shard_batch(self.mesh, batch, experiment.step.accumulation)
                    state, metrics = self.step(state, placed, key)
                    window.add(number, metrics)
                    done = number + 1
                    last = done == experiment.steps
                    if last or done % experiment.log_every == 0:
                        row = window.take()
                        self.log.write(done, row)
                        progress.note = _note(row)
                    scores = self._keep(state, done, last, window) or scores
                    progress.update()
                    act()
        except _NotFinite as error:
            raise self._explained(error.step) from error
        except BaseException:
            # What stopped the run may stop this too, and is the error to tell.
            with suppress(Exception):
                window.settle()
                self.checkpoints.save(done, state)
                self.checkpoints.wait()
            raise
        return state, scores

    def _keep(
        self, state: TrainState, done: int, last: bool, window: "_Window"
    ) -> Mapping[str, float]:
        """Validates and saves where it is time to."""
        experiment = self.experiment
        scores: Mapping[str, float] = {}
        if self.watched and (last or done % experiment.validate_every == 0):
            window.settle()
            scores = self._validate(state, done, self.watched)
            window.restart()
        if scores or last or done % experiment.checkpoint_every == 0:
            window.settle()
            self.checkpoints.save(done, state, scores)
        return scores

    def _validate(
        self, state: TrainState, done: int, source: Source
    ) -> Mapping[str, float]:
        if jax.process_index():
            return {}
        variables = jax.tree.map(jnp.asarray, _on_host(state.variables))
        scores, sheet = validate(self.method, variables, source)
        self.log.write(done, {f"validation {name}": x for name, x in scores.items()})
        folder = self.workdir / "validation"
        folder.mkdir(exist_ok=True)
        with atomic_path(folder / f"step_{done}.png") as temporary:
            Image.fromarray(sheet).save(temporary, format="png")
        return scores

    def _explained(self, step: int) -> InputError:
        """Which clips a step that was not finite has seen."""
        count = self.experiment.batch
        clips = [self.clips.example(step, index) for index in range(count)]
        seen = ", ".join(f"{clip.name} {list(clip.times)}" for clip in clips)
        newest = self.checkpoints.latest
        return InputError(
            f"step {step + 1}: loss or gradients are not finite, on the clips {seen};"
            f" the newest checkpoint is that of step {newest or 0}: lower"
            " optimizer.learning_rate, or look at these clips"
        )


class _NotFinite(Exception):
    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class _Window:
    """The steps since the last row of the log.

    The figures of a step are read when the next one is already under way, so that the
    device never waits for the host.
    """

    def __init__(self, clips: int) -> None:
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
        """Notes a step; looks at the one before."""
        self.settle()
        self._newest = step, metrics
        self._steps += 1

    def settle(self) -> None:
        """Waits for the newest step.

        Raises:
          _NotFinite: It was not.
        """
        if self._newest is None:
            return
        step, metrics = self._newest
        row = {name: float(x) for name, x in metrics.items()}
        self._newest = None
        if not row.pop("finite"):
            raise _NotFinite(step)
        self._rows.append(row)

    def take(self) -> dict[str, float]:
        """The means of all steps since the last call, clips/s and the data's share."""
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


def _note(row: Mapping[str, float]) -> str:
    return (
        f"loss {row['loss']:.4f}, IoU {row['iou']:.3f},"
        f" {row['clips_per_second']:.1f} clips/s, data wait {row['data_wait']:.0%}"
    )


def open_data(configs: tuple[DataConfig, ...], data: Path | None) -> Source:
    """Opens the data sets of an experiment as one source.

    Raises:
      InputError: One of them is missing or damaged.
    """
    sources: dict[str, Source] = {}
    for config in configs:
        root = None
        if config.folder is not None:
            if data is None:
                raise InputError(
                    f"data set {config.source!r} is a folder; say with --data where"
                    f" {config.folder!r} is"
                )
            root = data / config.folder
        source = open_source(config.source, root, **config.options)
        for copy in range(config.repeat):
            name = f"{config.source}{len(sources)}" if sources else config.source
            sources[name if not copy else f"{name}-{copy}"] = source
    return ConcatSource(sources) if len(sources) > 1 else next(iter(sources.values()))


def claim(workdir: Path, experiment: Experiment) -> None:
    """Makes the working folder, or checks that it is this experiment's.

    One without a checkpoint belongs to nobody: nothing is lost with it.

    Raises:
      InputError: It is another one's, or cannot be made.
    """
    path, ours = workdir / _EXPERIMENT, describe(experiment)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        begun = path.exists() and any(workdir.glob("checkpoints/step_*"))
        theirs = json.loads(path.read_text()) if begun else ours
    except OSError as error:
        raise InputError(f"{workdir}: cannot be made: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged; use another --workdir") from error
    changed = differences(ours, theirs)
    if changed:
        raise InputError(
            f"{workdir}: belongs to an experiment with {', '.join(changed)}; use"
            " another --workdir, or the same settings"
        )
    if jax.process_index() == 0:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(ours, indent=1) + "\n")


def begin(experiment: Experiment, source: Source) -> tuple[Method, dict[str, Any]]:
    """The method and the variables that training begins with.

    Raises:
      InputError: The weights file is not one of the method.
    """
    options = {"read": "reference", **experiment.method_options}
    if experiment.weights is not None:
        return load_model(experiment.method, experiment.weights, **options)
    method = create(experiment.method, **options)
    frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    key = jax.random.key(experiment.seed)
    variables: Any = method.init(key, frame, masks)
    if experiment.twins:
        recipe, seed = experiment.recipe, experiment.seed
        clips = batch_at(source, recipe, seed, 0, _TWIN_CLIPS)
        variables = twins(method, variables, clips)
    return method, variables


def save(path: Path, experiment: Experiment, method: Method, state: TrainState) -> None:
    """Writes a state's weights.

    Raises:
      InputError: The file cannot be written.
    """
    if jax.process_index() == 0:
        notes = {"experiment": json.dumps(describe(experiment))}
        variables = _on_host(state.variables)
        save_weights(path, experiment.method, method, variables, notes)


def _on_host(tree: Any) -> Any:
    """Copies of arrays that every device, also of other processes, has whole."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)
