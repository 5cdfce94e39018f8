"""One step of training: clips in, a better state and some figures out.

A clip is unrolled as a video is segmented: the first mask is given, and what later
frames read from the memory are the network's own soft masks (STM, ICCV 2019, sec. 3.5).
Gradients go through all of it.

The loss of a batch is the mean over all of its frames, the first ones apart, that have
a pixel that counts; a frame's is the mean over its pixels that count (or the hardest of
them). Sums and counts are kept apart until the end, so the same holds on any number of
devices and for any number of accumulated parts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from vos_jax.engine.devices import DATA, by_clip, check_batch, replicate, replicated
from vos_jax.engine.inference import State, start, step_traced
from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.losses import (
    PixelLosses,
    annealed_fraction,
    cross_entropy,
    hardest_loss,
    known_labels,
    mean_loss,
    soft_iou,
)
from vos_jax.types import ClipBatch

Loss = Literal["cross_entropy", "bootstrapped"]
Norms = Literal["frozen", "batch"]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """How a step is computed; the compute type is the method's own.

    Attributes:
      loss: `cross_entropy` over all pixels, or `bootstrapped`: over the hardest ones.
      bootstrap_start: Last step of the bootstrapped loss with all pixels.
      bootstrap_end: From this step on only the final fraction counts.
      bootstrap_fraction: The final fraction of the pixels.
      accumulation: Parts of the batch that are computed one after the other, to save
        memory. The result is that of the whole batch, unless norms follow the batch:
        they follow a part.
      norms: `frozen` as published; `batch` for training from scratch. Then an object
        slot that is not valid counts in the statistics like an empty mask.
      statistics_rate: Share of a new batch in the stored statistics, with `batch`.
      remat: Compute every frame again in the backward pass instead of storing it.
      ema_decay: Of the averaged parameters; None for no average.
      clip_norm: Highest norm of the gradients, larger ones are scaled; None for any.
      unroll: Unroll the loops over frames and parts. None: on CPUs alone, where XLA
        runs the gradients of convolutions in a loop some 25 times slower.
    """

    loss: Loss = "cross_entropy"
    bootstrap_start: int = 20_000
    bootstrap_end: int = 70_000
    bootstrap_fraction: float = 0.15
    accumulation: int = 1
    norms: Norms = "frozen"
    statistics_rate: float = 0.02
    remat: bool = False
    ema_decay: float | None = None
    clip_norm: float | None = None
    unroll: bool | None = None

    def __post_init__(self) -> None:
        for option, allowed in (("loss", Loss), ("norms", Norms)):
            if (value := getattr(self, option)) not in get_args(allowed):
                known = " or ".join(get_args(allowed))
                raise InputError(f"step {option}={value!r}: use {known}")
        if not 0 <= self.bootstrap_start <= self.bootstrap_end:
            raise InputError(
                f"step bootstrap_start={self.bootstrap_start},"
                f" bootstrap_end={self.bootstrap_end}: use 0 <= start <= end"
            )
        for option in ("bootstrap_fraction", "statistics_rate"):
            if not 0 < getattr(self, option) <= 1:
                raise InputError(
                    f"step {option}={getattr(self, option)}: use more than 0, up to 1"
                )
        if self.accumulation < 1:
            raise InputError(f"step accumulation={self.accumulation}: use 1 or more")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InputError(
                f"step ema_decay={self.ema_decay}: use 0 to below 1, or None"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(
                f"step clip_norm={self.clip_norm}: use more than 0, or None"
            )


class TrainState(NamedTuple):
    """What training changes.

    Attributes:
      step: Steps done; int32.
      params: The method's parameters; float32.
      batch_stats: What its norms have stored.
      opt_state: The optimizer's.
      average: Exponential moving average of the parameters, or None.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What to evaluate and to save: the average, where there is one."""
        params = self.params if self.average is None else self.average
        return {"params": params, "batch_stats": self.batch_stats}


class ClipSums(NamedTuple):
    """Sums over frames and objects, and how many of them count.

    Attributes:
      loss: Sum of the frames' losses.
      frames: Frames that have a pixel that counts.
      iou: Sum over frames and objects.
      objects: Objects that show, summed over the frames.
    """

    loss: Float[Array, ""]
    frames: Float[Array, ""]
    iou: Float[Array, ""]
    objects: Float[Array, ""]


class ClipLoss(Protocol):
    """What a train step minimises; `clip_loss`, or a method's own."""

    def __call__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        clip: ClipBatch,
        key: Array,
        config: StepConfig,
        step: Int[Array, ""] | int,
    ) -> ClipSums:
        """Of one clip."""
        ...


Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, ClipBatch, Array], tuple[TrainState, Metrics]]


def create_train_state(
    variables: Mapping[str, Any], optimizer: Any, mesh: Mesh, config: StepConfig
) -> TrainState:
    """The state before the first step, on every device of the mesh.

    Args:
      variables: `params`, and `batch_stats` where the method has norms; copied.
      optimizer: An `Optimizer` or an optax transformation.
      mesh: From `make_mesh`.
      config: Of the step.
    """

    def create(params: Any, batch_stats: Any) -> TrainState:
        average = None
        if config.ema_decay is not None:
            # A copy: a step uses the buffers of its state up, and each only once.
            average = jax.tree.map(jnp.copy, params)
        opt_state = optimizer.init(params)
        return TrainState(jnp.int32(0), params, batch_stats, opt_state, average)

    placed = replicate(mesh, (variables["params"], variables.get("batch_stats", {})))
    return jax.jit(create, out_shardings=replicated(mesh))(*placed)


def clip_loss(
    method: Method,
    variables: Mapping[str, Any],
    clip: ClipBatch,
    key: Array,
    config: StepConfig,
    step: Int[Array, ""] | int = 0,
) -> ClipSums:
    """Unrolls one clip and compares every frame after the first with its labels.

    Args:
      method: From `create`.
      variables: Its weights.
      clip: Frames `[T, H, W, 3]`, labels `[T, H, W]`, valid `[O]`.
      key: For losses that draw random numbers; this one draws none.
      config: Of the step.
      step: Optimizer step, for the bootstrapped loss.

    Raises:
      InputError: The clip has a single frame.
    """
    length = clip.frames.shape[0]
    if length < 2:
        raise InputError(f"clips of {length} frame: use 2 or more, the first is given")
    labels = known_labels(clip.labels, clip.valid)
    state = _begin(method, variables, clip.frames[0], labels[0], clip.valid, length)
    frame_loss: Callable[[PixelLosses], Array] = mean_loss
    if config.loss == "bootstrapped":
        fraction = annealed_fraction(
            step,
            config.bootstrap_start,
            config.bootstrap_end,
            config.bootstrap_fraction,
        )
        frame_loss = partial(hardest_loss, fraction=fraction)

    def body(state: State, frame: tuple[Array, Array]) -> tuple[State, ClipSums]:
        image, truth = frame
        state, out = step_traced(method, variables, state, image)
        losses = cross_entropy(out.logits, truth)
        overlap = soft_iou(lax.stop_gradient(out.probs), truth)
        return state, ClipSums(
            frame_loss(losses),
            losses.counted.any().astype(jnp.float32),
            overlap.value.sum(),
            overlap.counted.sum().astype(jnp.float32),
        )

    unroll = _unrolled(config, jax.default_backend())
    if config.remat:
        # Outside of a loop XLA would see that both computations are the same one, and
        # keep the first one's results after all.
        body = jax.checkpoint(body, prevent_cse=unroll)
    _, sums = lax.scan(body, state, (clip.frames[1:], labels[1:]), unroll=unroll or 1)
    return jax.tree.map(lambda x: x.sum(0), sums)


# As a program of its own, its arguments have no values to check: whether an object is
# missing is for `valid` to say.
@partial(jax.jit, static_argnums=(0, 5))
def _begin(
    method: Method,
    variables: Mapping[str, Any],
    frame: Array,
    labels: Int[Array, "H W"],
    valid: Bool[Array, " O"],
    frames: int,
) -> State:
    """A video's start whose free slots are those of the objects that are not valid."""
    ids = range(1, valid.shape[0] + 1)
    state = start(method, variables, frame, labels, ids=ids, frames=frames)
    return state._replace(first=state.first & valid, ids=jnp.where(valid, state.ids, 0))


def _unrolled(config: StepConfig, platform: str) -> bool:
    return platform == "cpu" if config.unroll is None else config.unroll


def make_train_step(
    method: Method,
    optimizer: Any,
    mesh: Mesh,
    config: StepConfig,
    loss: ClipLoss = clip_loss,
) -> TrainStep:
    """Builds the compiled `(state, batch, key) -> (state, metrics)`.

    Args:
      method: From `create`.
      optimizer: An `Optimizer` or an optax transformation.
      mesh: From `make_mesh`.
      config: Of the step.
      loss: Of one clip.

    Returns:
      A function that takes a state from `create_train_state`, whose memory it uses up;
      a batch from `shard_batch`; and the run's key, the same at every step. It is
      compiled once for each shape of the batch. A step that is not finite changes
      nothing, not even the number of steps. The metrics are scalars, the same on all
      devices:
        loss: Mean over the frames.
        iou: Mean soft IoU over all frames and the objects that show in them.
        grad_norm: Before it was clipped; without what the optimizer freezes.
        learning_rate: Of this step, where the optimizer knows it.
        finite: Whether the loss, the gradients and the new state are.
    """
    unroll = _unrolled(config, mesh.devices.flat[0].platform)
    config = replace(config, unroll=unroll)
    frozen = getattr(optimizer, "frozen", None)
    part_loss = partial(_part_loss, method, loss, config, frozen)
    differentiate = jax.grad(part_loss, argnums=1, has_aux=True)

    def train_step(
        state: TrainState, batch: ClipBatch, key: Array
    ) -> tuple[TrainState, Metrics]:
        clips = batch.valid.shape[0]
        check_batch(mesh, clips, config.accumulation)
        keys = jax.random.split(jax.random.fold_in(key, state.step), clips)
        if config.accumulation == 1:
            grads, seen = differentiate(state, state.params, batch, keys)
        else:
            grads, seen = _accumulate(differentiate, state, (batch, keys), mesh, config)
        grads = jax.tree.map(lambda x: x / jnp.maximum(seen.sums.frames, 1), grads)
        return _update(state, grads, seen, optimizer, config)

    return jax.jit(
        train_step,
        in_shardings=(replicated(mesh), by_clip(mesh), replicated(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )


class _Seen(NamedTuple):
    """What a part of a batch gives beside its gradients; parts add up."""

    sums: ClipSums
    batch_stats: Any


def _part_loss(
    method: Method,
    loss: ClipLoss,
    config: StepConfig,
    frozen: Any,
    state: TrainState,
    params: Any,
    batch: ClipBatch,
    keys: Array,
) -> tuple[Array, _Seen]:
    """Sum of the losses of some clips with these parameters in place of the state's."""
    if frozen is not None:
        params = jax.tree.map(
            lambda stop, x: lax.stop_gradient(x) if stop else x, frozen, params
        )
    variables = {"params": params, "batch_stats": state.batch_stats}
    if config.norms == "batch":
        variables["batch_stats"] = _statistics(method, variables, batch)

    def of_clip(clip: ClipBatch, key: Array) -> ClipSums:
        return loss(method, variables, clip, key, config, state.step)

    sums = jax.tree.map(lambda x: x.sum(0), jax.vmap(of_clip)(batch, keys))
    return sums.loss, _Seen(sums, variables["batch_stats"])


def _statistics(method: Method, variables: Mapping[str, Any], batch: ClipBatch) -> Any:
    """Of the first frames with their given masks."""
    ids = jnp.arange(1, batch.valid.shape[1] + 1)
    masks = batch.labels[:, 0, None] == ids[None, :, None, None]
    masks &= batch.valid[:, :, None, None]
    frames = to_unit_range(batch.frames[:, 0])
    return batch_statistics(method, variables, frames, masks.astype(jnp.float32))


def _accumulate(
    differentiate: Callable[..., tuple[Any, _Seen]],
    state: TrainState,
    whole: tuple[ClipBatch, Array],
    mesh: Mesh,
    config: StepConfig,
) -> tuple[Any, _Seen]:
    """Adds up what the parts of a batch give, one after the other."""
    sharding = NamedSharding(mesh, PartitionSpec(None, DATA))

    def split(x: Array) -> Array:
        # Every n-th clip: each device takes from its own clips, nothing moves.
        parts = x.reshape(-1, config.accumulation, *x.shape[1:]).swapaxes(0, 1)
        return lax.with_sharding_constraint(parts, sharding)

    def add(total: Any, part: tuple[ClipBatch, Array]) -> tuple[Any, None]:
        found = differentiate(state, state.params, *part)
        return jax.tree.map(jnp.add, total, found), None

    nothing = jax.tree.map(jnp.zeros_like, (state.params, state.batch_stats))
    params, stats = nothing
    start_from = params, _Seen(ClipSums(*[jnp.float32(0)] * 4), stats)
    parts = jax.tree.map(split, whole)
    grads, seen = lax.scan(add, start_from, parts, unroll=config.unroll or 1)[0]
    mean = jax.tree.map(lambda x: x / config.accumulation, seen.batch_stats)
    return grads, seen._replace(batch_stats=mean)


def _update(
    state: TrainState, grads: Any, seen: _Seen, optimizer: Any, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """The next state, or the same one if anything is not finite."""
    sums = seen.sums
    squares = [jnp.square(x).sum() for x in jax.tree.leaves(grads)]
    metrics = {
        "loss": sums.loss / jnp.maximum(sums.frames, 1),
        "iou": sums.iou / jnp.maximum(sums.objects, 1),
        "grad_norm": jnp.sqrt(sum(squares, jnp.float32(0))),
    }
    learning_rate = getattr(optimizer, "learning_rate", None)
    if learning_rate is not None:
        metrics["learning_rate"] = learning_rate(state.step)
    if config.clip_norm is not None:
        factor = config.clip_norm / jnp.maximum(metrics["grad_norm"], config.clip_norm)
        grads = jax.tree.map(lambda x: x * factor, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    stats, average = state.batch_stats, state.average
    if config.norms == "batch":
        rate = config.statistics_rate
        stats = optax.incremental_update(seen.batch_stats, stats, rate)
    if config.ema_decay is not None:
        average = optax.incremental_update(params, average, 1 - config.ema_decay)
    new = TrainState(state.step + 1, params, stats, opt_state, average)
    finite = _all_finite((metrics, new))
    new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
    return new, metrics | {"finite": finite}


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()
