"""A training run from its first step to its last, over any number of interruptions.

Everything random is a function of the seed and the step, so a run that was stopped, at
whatever moment and however, ends with the bits of one that never was.

The working folder holds `experiment.json` (what the run is), `checkpoints/`, the log
(`log.jsonl`, `tensorboard/`, `curves.png`), `batch.png` (the first clips),
`validation/` and, at the end, `weights.safetensors` and `best.safetensors`.

Of several processes each does every step, validates, and has its part in every
checkpoint; process 0 writes everything else.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from PIL import Image

from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import Clips
from vos_jax.data.pipeline import train_batches
from vos_jax.data.show import write_batch
from vos_jax.data.source import Source
from vos_jax.errors import InputError
from vos_jax.inference.announce import announce_run, model_facts, plural
from vos_jax.media.atomic import atomic_path
from vos_jax.methods.base import Method
from vos_jax.runtime.interrupt import AgreedInterrupt, agreed_signals
from vos_jax.runtime.mesh import check_batch, make_mesh, shard_batch
from vos_jax.runtime.out_of_memory import memory_told, shortage
from vos_jax.runtime.progress import Progress
from vos_jax.training.checkpoints import Checkpoints
from vos_jax.training.experiment import Experiment, describe
from vos_jax.training.export import on_host, write_weights
from vos_jax.training.inputs import check_all_frames, open_clip_inputs
from vos_jax.training.log import TrainLog, draw_curves, read_log
from vos_jax.training.start import (
    check_inputs_claim,
    claim,
    open_data,
    start_or_resume,
    write_claim,
)
from vos_jax.training.step import TrainState, TrainStep, make_train_step
from vos_jax.training.validate import check_validation, validate
from vos_jax.training.window import NotFinite, Window
from vos_jax.types import ClipBatch

_SMALLER_VIDEOS = (
    "validate on smaller videos, or on none with --set validation=(); complete"
    " checkpoints stay"
)


class RunResult(NamedTuple):
    """What a run came to.

    Attributes:
      weights: The file with the last weights, averaged if the experiment says so.
      steps: Steps done by this call.
      scores: Of the last validation; empty without one.
      best: The file with the weights that scored best; None without scores.
    """

    weights: Path
    steps: int
    scores: Mapping[str, float]
    best: Path | None


def train(
    experiment: Experiment,
    workdir: Path,
    data: Path | None = None,
    *,
    mesh: Mesh | None = None,
    skip_bad: bool = False,
) -> RunResult:
    """Trains, from the newest checkpoint in `workdir` if there is one.

    Args:
      experiment: What to do.
      workdir: Belongs to this experiment alone; all processes see the same one.
      data: Folder that the data sets' own folders are in.
      mesh: Devices; by default all there are.
      skip_bad: Warn of files that cannot be read instead of stopping.

    Raises:
      InputError: Data are missing or damaged, `workdir` belongs to another experiment,
        the disk is full, a step was not finite, or another process is gone. Complete
        checkpoints stay.
      OutOfMemory: An `InputError` that is a `MemoryError`, too.
    """
    mesh = make_mesh() if mesh is None else mesh
    check_batch(mesh, experiment.batch, experiment.step.accumulation)
    source = open_data(experiment.data, data)
    watched = open_data(experiment.validation, data) if experiment.validation else None
    if watched is not None:
        check_validation(watched)
    begun = claim(workdir, experiment)
    with ExitStack() as stack:
        stack.enter_context(memory_told(str(workdir), _less_memory(experiment)))
        checkpoints = stack.enter_context(
            Checkpoints(workdir / "checkpoints", experiment.keep)
        )
        method, optimizer, state = start_or_resume(
            experiment, source, mesh, checkpoints, begun, skip_bad=skip_bad
        )
        first = int(state.step)
        kind = method.inputs
        inputs = open_clip_inputs(kind, experiment.data, source, data)
        identity = None if inputs is None else inputs.identity
        check_inputs_claim(workdir, begun, identity)
        if inputs is not None:
            check_all_frames(source, inputs)
        watched_inputs = None
        if watched is not None:
            watched_inputs = open_clip_inputs(
                kind, experiment.validation, watched, data
            )
            if watched_inputs is not None:
                check_validation(watched, watched_inputs)
        log = None
        if jax.process_index() == 0:
            announce_run("train", _facts(experiment, method, mesh, first))
            write_claim(workdir, experiment, method, identity)
            log = stack.enter_context(TrainLog(workdir, first))
        run = _Run(
            experiment=experiment,
            workdir=workdir,
            mesh=mesh,
            method=method,
            step=make_train_step(
                method,
                optimizer,
                mesh,
                experiment.step,
                experiment.objective,
            ),
            source=source,
            inputs=inputs,
            watched=watched,
            watched_inputs=watched_inputs,
            checkpoints=checkpoints,
            log=log,
            skip_bad=skip_bad,
        )
        state, scores = run(state, first)
        checkpoints.wait()
        weights, best = run.write_results(state)
    return RunResult(weights, experiment.steps - first, scores, best)


def _facts(
    experiment: Experiment, method: Method, mesh: Mesh, first: int
) -> tuple[str, ...]:
    """What a run is, in words."""
    begins = experiment.weights or experiment.grown_from
    title = f"{experiment.method}, weights " + (
        f"of step {first}" if first else begins or "drawn at random"
    )
    others = list(filter(None, (*experiment.backbones, experiment.shared_from)))
    if others and not first and begins is None:
        title += f" but for {', '.join(others)}"
    height, width = experiment.recipe.size
    return (
        *model_facts(title, method),
        plural(mesh.size, "device"),
        f"{width}x{height}",
        plural(experiment.recipe.objects, "object"),
        f"{plural(experiment.batch, 'clip')} in a step",
        f"{plural(experiment.steps - first, 'step')} to do",
    )


class _Run(NamedTuple):
    """What stays the same from step to step."""

    experiment: Experiment
    workdir: Path
    mesh: Mesh
    method: Method
    step: TrainStep
    source: Source
    inputs: ClipInputs | None
    watched: Source | None
    watched_inputs: ClipInputs | None
    checkpoints: Checkpoints
    log: TrainLog | None
    skip_bad: bool

    def __call__(
        self, state: TrainState, first: int
    ) -> tuple[TrainState, Mapping[str, float]]:
        """Steps from `first` to the end; saves when it is interrupted."""
        experiment = self.experiment
        scores: Mapping[str, float] = {}
        key = jax.random.key(experiment.seed)
        if first == 0 and jax.process_index() == 0:
            write_batch(self.workdir / "batch.png", self._clips(self.inputs), 0)
        batches = self._batches(first)
        window = Window(experiment.batch)
        done = first
        try:
            with (
                agreed_signals() as act,
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
                        self._write_row(done, row)
                        progress.note = _note(row)
                    scores = self._keep(state, done, last, window) or scores
                    progress.update()
                    act(done)
        except NotFinite as error:
            raise self._explain(error.step) from error
        except BaseException as error:
            self._rescue(state, first, done, window, error)
            raise
        return state, scores

    def _clips(self, inputs: ClipInputs | None = None) -> Clips:
        """All clips, to look at, with what comes with their frames if that is given."""
        return Clips(
            self.source,
            self.experiment.recipe,
            seed=self.experiment.seed,
            batch=self.experiment.batch,
            skip_bad=self.skip_bad,
            inputs=inputs,
        )

    def _batches(self, first: int) -> Iterator[ClipBatch]:
        """This process's part of every batch."""
        return train_batches(
            self.source,
            self.experiment.recipe,
            seed=self.experiment.seed,
            batch=self.experiment.batch,
            first_step=first,
            host=jax.process_index(),
            hosts=jax.process_count(),
            skip_bad=self.skip_bad,
            inputs=self.inputs,
        )

    def _write_row(self, done: int, figures: Mapping[str, float]) -> None:
        if self.log is not None:
            self.log.write(done, figures)

    def _keep(
        self, state: TrainState, done: int, last: bool, window: Window
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
        """Scores; every process finds them by itself instead of waiting for them."""
        with memory_told("validation", _SMALLER_VIDEOS):
            variables = jax.tree.map(jnp.asarray, on_host(state.variables))
            scores, sheet = validate(
                self.method, variables, source, self.watched_inputs
            )
        self._write_row(done, {f"validation {name}": x for name, x in scores.items()})
        if jax.process_index() == 0:
            folder = self.workdir / "validation"
            folder.mkdir(exist_ok=True)
            with atomic_path(folder / f"step_{done}.png") as temporary:
                Image.fromarray(sheet).save(temporary, format="png")
        return scores

    def _rescue(
        self,
        state: TrainState,
        first: int,
        done: int,
        window: Window,
        error: BaseException,
    ) -> None:
        """Saves what there is since the step `first`, where that is possible.

        Raises:
          InputError: The error is that another process is gone.
        """
        if jax.process_count() == 1 or isinstance(error, AgreedInterrupt):
            if done == first:
                # The folder of a new run stays free for other settings.
                return
            # What stopped the run may stop this too, and is the error to tell.
            with suppress(Exception):
                window.settle()
                self.checkpoints.save(done, state)
                self.checkpoints.wait()
        elif isinstance(error, jax.errors.JaxRuntimeError) and not shortage(error):
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"step {done + 1}: this process ({jax.process_index()} of"
                f" {jax.process_count()}) lost another one, whose own message says why"
                f" ({reason}); give all of them the same command again to go on from"
                f" step {self.checkpoints.latest or 0}"
            ) from error

    def _explain(self, step: int) -> InputError:
        """Which clips a step that was not finite has seen."""
        clips = self._clips()
        examples = [clips.example(step, index) for index in range(clips.batch)]
        seen = ", ".join(f"{each.name} {list(each.times)}" for each in examples)
        newest = self.checkpoints.latest
        return InputError(
            f"step {step + 1}: loss or gradients are not finite, on the clips {seen};"
            f" the newest checkpoint is that of step {newest or 0}: lower"
            " optimizer.learning_rate, or look at these clips"
        )

    def write_results(self, state: TrainState) -> tuple[Path, Path | None]:
        """Writes the last weights, the best ones where there are scores, and curves."""
        weights = self.workdir / "weights.safetensors"
        kept = {weights: state}
        best, step = None, self.checkpoints.best
        if step is not None:
            best = self.workdir / "best.safetensors"
            is_last = step == int(state.step)
            kept[best] = state if is_last else self.checkpoints.restore(state, step)
        if jax.process_index() == 0:
            description = describe(self.experiment)
            for path, each in kept.items():
                write_weights(
                    path, description, self.method, each.variables, int(each.step)
                )
            draw_curves(read_log(self.workdir), self.workdir / "curves.png")
        return weights, best


def _less_memory(experiment: Experiment) -> str:
    """The fields with which a step needs less memory."""
    step = experiment.step
    options = [
        f"lower batch={experiment.batch} or recipe.size={experiment.recipe.size}",
        f"raise step.accumulation={step.accumulation}",
    ]
    if not step.remat:
        options.append("set step.remat=True")
    return f"{' or '.join(options)} (with --set); complete checkpoints stay"


def _note(row: Mapping[str, float]) -> str:
    return (
        f"loss {row['loss']:.4f}, IoU {row['iou']:.3f},"
        f" {row['clips_per_second']:.1f} clips/s, data wait {row['data_wait']:.0%}"
    )
