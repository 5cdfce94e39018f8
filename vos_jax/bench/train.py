"""Benchmark of training: input pipeline, train step, both as the loop runs them.

All figures of a run are measured one after the other in one process, so that their
ratios belong to one machine. Weights do not change them.

- Pipeline: batches that nobody computes with, taken as fast as they come. The first
  ones are not counted, and the clock starts when one arrives: nothing that was made
  ahead is in the figure.
- Step: one batch that is on the devices already, again and again, with the state that
  the step before left.
- Together: each batch is waited for, placed and stepped on; a step's figures are read
  when the next one is under way, as in training.
- FLOP: XLA's count for the step as it is traced: every operation of the forward and
  backward passes and of the optimizer, a multiply-add as two, without transcendental
  functions. Loops over frames and parts count as often as they run; what `remat`
  computes a second time does not count. A loop inside of a method, such as a chunked
  read's, counts once.
- MFU, model FLOP utilisation (Chowdhery et al., PaLM, JMLR 2023, app. B): FLOP/s by
  those of the fastest large matrix product of the same type, measured in the same run,
  times the devices. The virtual devices of a CPU share one CPU.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from vos_jax.bench.measure import (
    Ceilings,
    Program,
    compile_program,
    measure_ceilings,
    time_program,
)
from vos_jax.bench.train_rows import (
    Job,
    Pace,
    StepRow,
    TrainResult,
    input_row,
    mean_row,
)
from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import batch_at
from vos_jax.data.pipeline import train_batches
from vos_jax.data.source import Source
from vos_jax.errors import InputError
from vos_jax.runtime.machine import machine
from vos_jax.runtime.mesh import check_batch, make_mesh, replicated, shard_batch
from vos_jax.runtime.progress import Progress
from vos_jax.training.experiment import Experiment
from vos_jax.training.inputs import open_clip_inputs
from vos_jax.training.start import begin, open_data
from vos_jax.training.step import TrainStep, create_train_state, make_train_step
from vos_jax.types import ClipBatch

# More than the pipeline keeps ready; and steps until it is in time with them.
_FIRST_BATCHES, _FIRST_STEPS = 5, 2
# Workers end at about the same time: this many of their rounds even it out.
_ROUNDS = 4

Size = tuple[int, int]
"""Height and width of a frame in pixels."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What to time.

    Attributes:
      workers: Numbers of examples made at a time; empty for the number of cores, as in
        training.
      repeats: Timed steps of each size; timed batches of the pipeline at least.
      seconds: Stop each measurement after this long.
      small: Estimate the ceiling on small sizes, for trying things out.
    """

    workers: tuple[int, ...] = ()
    repeats: int = 20
    seconds: float = 60.0
    small: bool = False

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"repeats={self.repeats}: use at least 1")
        for count in self.workers:
            if count < 1:
                raise InputError(f"workers={count}: use at least 1")


def bench_train(
    experiment: Experiment,
    data: Path | None = None,
    options: TrainOptions | None = None,
    *,
    mesh: Mesh | None = None,
) -> TrainResult:
    """Times an experiment's training in this process; progress goes to stderr.

    Args:
      experiment: What to train; nothing of it is saved.
      data: Folder that the data sets' own folders are in.
      options: What to time.
      mesh: Devices; by default all there are.

    Raises:
      InputError: Data or weights are missing or damaged, TensorFlow is not installed,
        or the batch does not divide by the devices.
    """
    options = options or TrainOptions()
    mesh = make_mesh() if mesh is None else mesh
    check_batch(mesh, experiment.batch, experiment.step.accumulation)
    source = open_data(experiment.data, data)
    workers = options.workers or (machine().cores,)
    turns = [(height, width) for height, width in experiment.recipe.sizes]
    total = 2 * len(workers) + len(set(turns))
    with Progress("bench_train", total, unit="part") as progress:
        steps = _Steps(experiment, source, data, mesh)
        # First, because it is the quickest to fail where data are damaged.
        inputs = _Inputs(experiment, source, options, steps.clip_inputs)
        alone = []
        for count in workers:
            alone.append(inputs.time_alone(count))
            progress.update()
        ceilings = steps.ceilings(options.small)
        rows: dict[Size, StepRow] = {}
        for number, size in enumerate(turns):
            if size not in rows:
                rows[size] = steps.row(size, number, options, ceilings)
                progress.update()
        together = []
        for count in workers:
            together.append(inputs.time_with(steps.advance, count))
            jax.block_until_ready(steps.state)
            progress.update()
    shown = list(rows.values())
    if len(rows) > 1:
        shown.append(mean_row([rows[size] for size in turns], experiment.batch))
    table = [
        input_row(*each, 1e-3 * shown[-1].time_ms, experiment.batch)
        for each in zip(workers, alone, together, strict=True)
    ]
    return TrainResult(steps.job(), shown, table, ceilings)


def bench_step(
    experiment: Experiment,
    data: Path | None = None,
    options: TrainOptions | None = None,
    *,
    mesh: Mesh | None = None,
) -> TrainResult:
    """Times the step alone, which needs no TensorFlow; else as `bench_train`."""
    options = options or TrainOptions()
    mesh = make_mesh() if mesh is None else mesh
    check_batch(mesh, experiment.batch, experiment.step.accumulation)
    steps = _Steps(experiment, open_data(experiment.data, data), data, mesh)
    ceilings = steps.ceilings(options.small)
    turns = {size: number for number, size in enumerate(experiment.recipe.sizes)}
    rows = [steps.row(*turn, options, ceilings) for turn in turns.items()]
    return TrainResult(steps.job(), rows, [], ceilings)


class _Inputs:
    """The pipeline; every measurement goes on with the clips of later steps."""

    def __init__(
        self,
        experiment: Experiment,
        source: Source,
        options: TrainOptions,
        clip_inputs: ClipInputs | None = None,
    ) -> None:
        self._experiment, self._source = experiment, source
        self._clip_inputs = clip_inputs
        self._options = options
        self._turn = len(experiment.recipe.sizes)
        self._next_step = 0

    def time_alone(self, workers: int) -> Pace:
        """Takes batches and does nothing with them."""
        first = _FIRST_BATCHES + self._round(workers)
        least = max(self._options.repeats, _ROUNDS * self._round(workers))
        return self._time(lambda batch: None, workers, first, least)

    def time_with(self, advance: Callable[[ClipBatch], None], workers: int) -> Pace:
        """Takes batches and steps on them."""
        first = _FIRST_STEPS + self._round(workers)
        return self._time(advance, workers, first, self._options.repeats)

    def _round(self, workers: int) -> int:
        """Batches that all workers make at a time, rounded up."""
        return -(-workers // self._experiment.batch)

    def _time(
        self,
        use: Callable[[ClipBatch], None],
        workers: int,
        first: int,
        least: int,
    ) -> Pace:
        """Leaves out the `first` batches, then times `least` in whole turns of sizes.

        The threads of the pipeline end with this function, which alone holds it.
        """
        batches = self._batches(workers)
        for _ in range(first):
            use(next(batches))
        waited, count = 0.0, 0
        started = time.perf_counter()
        while count < least and (
            not count or _seconds_since(started) < self._options.seconds
        ):
            for _ in range(self._turn):
                before = time.perf_counter()
                batch = next(batches)
                waited += _seconds_since(before)
                use(batch)
            count += self._turn
        seconds = _seconds_since(started)
        self._next_step += first + count
        return Pace(seconds / count, count, waited / seconds)

    def _batches(self, workers: int) -> Iterator[ClipBatch]:
        return train_batches(
            self._source,
            self._experiment.recipe,
            seed=self._experiment.seed,
            batch=self._experiment.batch,
            first_step=self._next_step,
            workers=workers,
            inputs=self._clip_inputs,
        )


def _seconds_since(started: float) -> float:
    return time.perf_counter() - started


class _Steps:
    """The train step, compiled for each size; its state goes from call to call.

    Attributes:
      state: That the newest step leaves, the only one there is: steps use theirs up.
      clip_inputs: What else the method takes with the frames.
    """

    def __init__(
        self, experiment: Experiment, source: Source, data: Path | None, mesh: Mesh
    ) -> None:
        # Twins are weights, which no figure depends on.
        self._experiment = replace(experiment, twins=False)
        self._source, self._mesh = source, mesh
        self._method, variables = begin(self._experiment, source)
        self.clip_inputs = open_clip_inputs(
            self._method.inputs, experiment.data, source, data
        )
        params = variables["params"]
        self._parameters = sum(x.size for x in jax.tree.leaves(params))
        self._optimizer = experiment.optimizer.build(experiment.steps, params)
        self.state = create_train_state(
            variables, self._optimizer, mesh, experiment.step
        )
        self._key = jax.device_put(jax.random.key(experiment.seed), replicated(mesh))
        self._programs: dict[Size, Program] = {}
        self._unread: Any = ()

    def ceilings(self, small: bool) -> Ceilings:
        """Of products as the method computes them."""
        config = self._method.config
        precision = getattr(config, "precision", "highest")
        return measure_ceilings((config.dtype,), precision, small)

    def job(self) -> Job:
        """What is timed here."""
        experiment = self._experiment
        return Job(
            method=experiment.method,
            dtype=self._method.config.dtype,
            parameters=self._parameters,
            batch=experiment.batch,
            frames=experiment.recipe.frames,
            objects=experiment.recipe.objects,
            sizes=" ".join(map(_size_text, experiment.recipe.sizes)),
            sources=" ".join(dict.fromkeys(each.source for each in experiment.data)),
            devices=self._mesh.size,
        )

    def row(
        self, size: Size, step: int, options: TrainOptions, ceilings: Ceilings
    ) -> StepRow:
        """Compiles the step for clips of a size, which the batch of `step` has."""
        batch = self._place(self._batch(step))
        config = self._experiment.step
        # A jit around the step's own: the same program, one that tells of itself.
        program = compile_program(
            self._train_step(), self.state, batch, self._key, donate=(0,)
        )
        self._programs[size] = program

        def call() -> Any:
            self.state, metrics = program.call(self.state, batch, self._key)
            return self.state, metrics

        timing = time_program(
            call, lambda: (), repeats=options.repeats, seconds=options.seconds
        )
        seconds, memory = timing.median_s, program.total_bytes
        plain = replace(config, unroll=True, remat=False)
        flop = _flop(self._train_step(plain), self.state, batch, self._key)
        # Counted in the part that one device does.
        flop = None if flop is None else flop * self._mesh.size
        peak = ceilings.flops[self._method.config.dtype] * self._chips
        return StepRow(
            size=_size_text(size),
            time_ms=1e3 * seconds,
            clips_per_s=self._experiment.batch / seconds,
            repeats=timing.repeats,
            compile_s=program.compile_s,
            gflop=None if flop is None else flop / 1e9,
            gflop_per_s=None if flop is None else flop / 1e9 / seconds,
            mfu=None if flop is None else flop / seconds / peak,
            memory_mb=None if memory is None else memory / 1e6,
        )

    def advance(self, batch: ClipBatch) -> None:
        """A step of the loop: starts one and reads the figures of the one before."""
        placed = self._place(batch)
        height, width = placed.frames.shape[2:4]
        program = self._programs[height, width]
        self.state, metrics = program.call(self.state, placed, self._key)
        jax.device_get(self._unread)
        self._unread = metrics

    @property
    def _chips(self) -> int:
        """Devices with a ceiling of their own."""
        devices = self._mesh.devices.flat
        return 1 if devices[0].platform == "cpu" else self._mesh.size

    def _train_step(self, config: Any = None) -> TrainStep:
        config = self._experiment.step if config is None else config
        return make_train_step(
            self._method,
            self._optimizer,
            self._mesh,
            config,
            self._experiment.objective,
        )

    def _batch(self, step: int) -> ClipBatch:
        experiment = self._experiment
        return batch_at(
            *(self._source, experiment.recipe, experiment.seed, step),
            experiment.batch,
            inputs=self.clip_inputs,
        )

    def _place(self, batch: ClipBatch) -> ClipBatch:
        return shard_batch(self._mesh, batch, self._experiment.step.accumulation)


def _flop(step: TrainStep, *arguments: Any) -> float | None:
    """FLOP of a step before XLA changes it; None where the backend does not count."""
    costs = jax.jit(step).lower(*arguments).cost_analysis()
    return (costs or {}).get("flops")


def _size_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
