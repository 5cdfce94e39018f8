"""One step of training: clips in, a better state and some figures out.

The loss of a batch is the mean over all of its frames, the first ones apart, that have
a pixel that counts; a frame's is the mean over its pixels that count (or the hardest of
them). Sums and counts are kept apart until the end, so the same holds on any number of
devices and for any number of accumulated parts; norms that follow the batch are those
of all devices, but of one part.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from vos_jax.methods.base import Method
from vos_jax.methods.objective import ClipSums, Objective, StepConfig
from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.ops.image import to_unit_range
from vos_jax.runtime.mesh import DATA, by_clip, check_batch, replicate, replicated
from vos_jax.runtime.platform import platform_name
from vos_jax.training.clip_loss import clip_loss
from vos_jax.types import ClipBatch


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


Metrics = dict[str, Array]
"""Scalars by name, of one step."""

TrainStep = Callable[[TrainState, ClipBatch, Array], tuple[TrainState, Metrics]]
"""State, batch and random key to the next state and metrics."""


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


def make_train_step(
    method: Method,
    optimizer: Any,
    mesh: Mesh,
    config: StepConfig,
    objective: Objective | None = None,
) -> TrainStep:
    """Builds the compiled `(state, batch, key) -> (state, metrics)`.

    Args:
      method: From `create`.
      optimizer: An `Optimizer` or an optax transformation.
      mesh: From `make_mesh`.
      config: Of the step.
      objective: Of one clip; None for `clip_loss`.

    Returns:
      A function that takes a state from `create_train_state`, whose memory it uses up;
      a batch from `shard_batch`; and the run's key, the same at every step. It is
      compiled once for each shape of the batch. A step that is not finite changes
      nothing, not even the number of steps. The metrics are scalars, the same on all
      devices:
        loss: Mean over the frames.
        terms of the loss: Each by its own name, where the loss has some.
        iou: Mean soft IoU over all frames and the objects that show in them.
        grad_norm: Before it was clipped; without what the optimizer freezes.
        learning_rate: Of this step, where the optimizer knows it.
        finite: Whether the loss, the gradients and the new state are.
    """
    method = method.built_for(platform_name(mesh.devices.flat[0]))
    unroll = config.unrolled(method.platform)
    frozen = getattr(optimizer, "frozen", None)
    part_loss = partial(_part_loss, method, objective, config, frozen)
    own, everywhere = PartitionSpec(DATA), PartitionSpec()
    # By hand, not by the compiler: inside of the loops over frames and parts it would
    # add up the gradients of all devices in every turn, and here they meet once.
    # Unchecked, a parameter is each device's own and so is its gradient; checked, JAX
    # would add up as the compiler does.
    add_up = jax.shard_map(
        partial(_add_up, part_loss, config, unroll),
        mesh=mesh,
        in_specs=(everywhere, everywhere, everywhere, own, own),
        out_specs=everywhere,
        check_vma=False,
    )

    def train_step(
        state: TrainState, batch: ClipBatch, key: Array
    ) -> tuple[TrainState, Metrics]:
        clips = batch.valid.shape[0]
        check_batch(mesh, clips, config.accumulation)
        keys = jax.random.split(jax.random.fold_in(key, state.step), clips)
        grads, seen = add_up(state.params, state.batch_stats, state.step, batch, keys)
        return _update(state, grads, seen, optimizer, config)

    return jax.jit(
        train_step,
        in_shardings=(replicated(mesh), by_clip(mesh), replicated(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )


class _PartResult(NamedTuple):
    """What a part of a batch gives beside its gradients; parts add up."""

    sums: ClipSums
    batch_stats: Any


def _part_loss(
    method: Method,
    objective: Objective | None,
    config: StepConfig,
    frozen: Any,
    params: Any,
    batch_stats: Any,
    step: Int[Array, ""],
    batch: ClipBatch,
    keys: Array,
) -> tuple[Array, _PartResult]:
    """Sum of the losses of some clips of one device."""
    if frozen is not None:
        params = jax.tree.map(
            lambda stop, x: lax.stop_gradient(x) if stop else x, frozen, params
        )
    variables = {"params": params, "batch_stats": batch_stats}
    if config.norms == "batch":
        variables["batch_stats"] = _statistics(method, variables, batch)

    def of_clip(clip: ClipBatch, key: Array) -> ClipSums:
        if objective is None:
            return clip_loss(method, variables, clip, key, config, step)
        return objective(method, variables, clip, key, config, step, clip_loss)

    sums = jax.tree.map(lambda x: x.sum(0), jax.vmap(of_clip)(batch, keys))
    return sums.loss, _PartResult(sums, variables["batch_stats"])


def _statistics(method: Method, variables: Mapping[str, Any], batch: ClipBatch) -> Any:
    """Of the first frames with their given masks, over all devices."""
    ids = jnp.arange(1, batch.valid.shape[1] + 1)
    masks = batch.labels[:, 0, None] == ids[None, :, None, None]
    masks &= batch.valid[:, :, None, None]
    frames = to_unit_range(batch.frames[:, 0])
    masks = masks.astype(jnp.float32)
    return batch_statistics(method, variables, frames, masks, DATA)


def _add_up(
    part_loss: Callable[..., tuple[Array, _PartResult]],
    config: StepConfig,
    unroll: bool,
    params: Any,
    batch_stats: Any,
    step: Int[Array, ""],
    batch: ClipBatch,
    keys: Array,
) -> tuple[Any, _PartResult]:
    """What all clips of all devices give; `batch` and `keys` are one device's."""
    differentiate = jax.grad(part_loss, has_aux=True)

    def of_part(batch: ClipBatch, keys: Array) -> tuple[Any, _PartResult]:
        return differentiate(params, batch_stats, step, batch, keys)

    def split(x: Array) -> Array:
        # Every n-th clip, so that a part is the same on any number of devices.
        return x.reshape(-1, config.accumulation, *x.shape[1:]).swapaxes(0, 1)

    def add(total: Any, part: tuple[ClipBatch, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_part(*part)), None

    if config.accumulation == 1:
        grads, seen = of_part(batch, keys)
    else:
        start, stats = jax.tree.map(jnp.zeros_like, (params, batch_stats))
        parts = jax.tree.map(split, (batch, keys))
        # Which terms there are is for the loss to say, without its gradient.
        first = jax.tree.map(lambda x: x[0], parts)
        loss = partial(part_loss, params, batch_stats, step)
        _, shapes = jax.eval_shape(loss, *first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.sums)
        nothing = start, _PartResult(zeros, stats)
        (grads, seen), _ = lax.scan(add, nothing, parts, unroll=unroll or 1)
    # The statistics are those of all devices already.
    stats = jax.tree.map(lambda x: x / config.accumulation, seen.batch_stats)
    grads, sums = lax.psum((grads, seen.sums), DATA)
    return grads, _PartResult(sums, stats)


def _update(
    state: TrainState, grads: Any, seen: _PartResult, optimizer: Any, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """The next state, or the same one if anything is not finite.

    Args:
      state: Before the step.
      grads: Of the sum over all frames that count.
      seen: Beside them.
      optimizer: As given to `make_train_step`.
      config: Of the step.
    """
    sums = seen.sums
    counted = jnp.maximum(sums.frames, 1)
    metrics = {
        "loss": sums.loss / counted,
        **{name: x / counted for name, x in sums.terms.items()},
        "iou": sums.iou / jnp.maximum(sums.objects, 1),
        "grad_norm": jnp.sqrt(jnp.square(_in_one(grads)).sum()) / counted,
    }
    learning_rate = getattr(optimizer, "learning_rate", None)
    if learning_rate is not None:
        metrics["learning_rate"] = learning_rate(state.step)
    factor = 1 / counted
    if config.clip_norm is not None:
        norm = jnp.maximum(metrics["grad_norm"], config.clip_norm)
        factor = factor * (config.clip_norm / norm)
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
    # The square of every gradient is in the norm, so what is left to go wrong is an
    # update that is too large.
    finite = _all_finite((metrics, params, stats))
    new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
    return new, metrics | {"finite": finite}


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.isfinite(_in_one(tree)).all()


def _in_one(tree: Any) -> Float[Array, " n"]:
    """All numbers in a row: few kernels reduce them, and not two for each array."""
    leaves = [jnp.asarray(x, jnp.float32).reshape(-1) for x in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves)
