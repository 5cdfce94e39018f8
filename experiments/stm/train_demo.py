r"""Trains the demo weights: `stm-tiny` on generated clips, from scratch, on one device.

    python experiments/stm/train_demo.py --out stm_tiny.safetensors

STM's scheme (ICCV 2019, sec. 3.5) in small: a clip's first mask is given, every later
frame is segmented from the network's own soft masks, cross entropy on the aggregated
logits. Nothing is downloaded, no real picture is seen; `vos-jax demo` draws its clips
from seeds that training never sees.

Published STM starts from ImageNet weights, which bring two things that a random start
lacks. Its two encoders agree, so keys of the same appearance match from the first step:
here the memory encoder starts as a copy of the query encoder (`twins`). And its norms
are calibrated: here they follow the batch until the last phase freezes them.

The weights that ship took 70 minutes of two cores, busy with other work as well: the
command above, stopped in its second phase after 2000 of 2400 steps, and from there

    python experiments/stm/train_demo.py --out stm_tiny.safetensors \
        --resume stm_tiny.safetensors --from-phase 2 --scale 0.6 --first-clip 21600
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vos_jax
from vos_jax.data.synthetic import generate_clip
from vos_jax.engine.inference import label_map, start, step_traced
from vos_jax.engine.model import load_weights, save_weights
from vos_jax.engine.twins import twins
from vos_jax.methods.base import Method
from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.ops.image import to_unit_range
from vos_jax.types import ClipBatch

_TRAIN = 0
_AHEAD = 6


class Shape(NamedTuple):
    """Of a batch's clips."""

    height: int
    width: int
    objects: int


class Phase(NamedTuple):
    """A stretch of training.

    Attributes:
      steps: Number of optimizer steps.
      batch: Clips in a batch.
      frames: Frames of a clip.
      shapes: Of the batches, in turn. One size alone would teach positions.
      rates: Learning rate at its beginning and its end, half a cosine between.
      frozen: Norms keep their statistics, as they do at inference.
      hardest: Of the clips' difficulties, which begin at 0.2.
    """

    steps: int
    batch: int
    frames: int
    shapes: tuple[Shape, ...]
    rates: tuple[float, float]
    frozen: bool = False
    hardest: float = 0.6


_MIXED = (
    Shape(128, 208, 2),
    Shape(160, 160, 1),
    Shape(112, 160, 3),
    Shape(160, 256, 1),
)
PHASES = (
    Phase(1500, 8, 3, (Shape(128, 128, 1),), (1e-3, 1e-3)),
    Phase(2400, 4, 4, _MIXED, (1e-3, 2e-4)),
    Phase(900, 3, 7, _MIXED, (4e-4, 0.0), frozen=True),
)


class Batch(NamedTuple):
    """Clips: frames uint8 `[B, T, H, W, 3]`, labels uint8 `[B, T, H, W]`."""

    frames: Any
    labels: Any


def make_clip(phase: Phase, number: int, seed: int) -> Batch:
    """Clip `seed` of batch `number`."""
    height, width, objects = phase.shapes[number % len(phase.shapes)]
    rng = np.random.default_rng((_TRAIN, seed))
    clip = generate_clip(
        (_TRAIN, seed),
        phase.frames,
        (height, width),
        objects,
        difficulty=float(rng.uniform(0.2, phase.hardest)),
        stride=int(rng.integers(1, 5)),
    )
    return Batch(clip.frames, clip.labels)


def batches(phase: Phase, workers: int, first: int) -> Iterator[Batch]:
    """Endless batches, generated in other processes; always the same ones."""
    with get_context("spawn").Pool(workers) as pool:
        ahead: deque[Any] = deque()
        for number in count():
            seeds = range(
                first + number * phase.batch, first + (number + 1) * phase.batch
            )
            jobs = [(phase, number, seed) for seed in seeds]
            ahead.append(pool.starmap_async(make_clip, jobs))
            if len(ahead) > _AHEAD:
                yield Batch(*map(np.stack, zip(*ahead.popleft().get(), strict=True)))


def given_masks(labels: jax.Array, objects: int) -> jax.Array:
    """One mask for each object, `[..., O, H, W]`, from labels `[..., H, W]`."""
    ids = jnp.arange(1, objects + 1)
    return (labels[..., None, :, :] == ids[:, None, None]).astype(jnp.float32)


def clip_loss(
    method: Method, variables: Any, clip: Batch, objects: int
) -> tuple[jax.Array, jax.Array]:
    """Mean cross entropy and mean IoU of the frames after the first."""
    ids = jnp.arange(1, objects + 1)
    given = given_masks(clip.labels[0], objects)
    state = start(method, variables, clip.frames[0], given, frames=len(clip.frames))

    def body(state: Any, frame: Batch) -> Any:
        state, out = step_traced(method, variables, state, frame.frames)
        loss = optax.softmax_cross_entropy_with_integer_labels(
            out.logits.transpose(1, 2, 0), frame.labels.astype(jnp.int32)
        ).mean()
        found = label_map(out.probs, out.ids) == ids[:, None, None]
        truth = frame.labels == ids[:, None, None]
        union = (found | truth).sum((1, 2))
        overlap = (found & truth).sum((1, 2))
        iou = jnp.where(union > 0, overlap / jnp.maximum(union, 1), 1).mean()
        return state, (loss, iou)

    # Unrolled: XLA's CPU backend runs the gradients of convolutions in a loop some
    # 25 times slower.
    later = jax.tree.map(lambda x: x[1:], clip)
    _, (losses, ious) = jax.lax.scan(body, state, later, unroll=True)
    return losses.mean(), ious.mean()


class Progress(NamedTuple):
    """What a step changes; `average` is of the parameters, for the result."""

    params: Any
    stats: Any
    average: Any
    opt_state: Any


def make_train_step(method: Method, optimizer: Any, frozen: bool) -> Any:
    """`(progress, batch, rate, objects) -> (progress, metrics)`."""

    def loss_fn(params: Any, stats: Any, batch: Batch, objects: int) -> Any:
        variables = {"params": params, "batch_stats": stats}
        if not frozen:
            frames = to_unit_range(batch.frames[:, 0])
            masks = given_masks(batch.labels[:, 0], objects)
            stats = batch_statistics(method, variables, frames, masks)
            variables = {"params": params, "batch_stats": stats}
        one = partial(clip_loss, method, variables, objects=objects)
        loss, iou = jax.vmap(one)(batch)
        return loss.mean(), ({"loss": loss.mean(), "iou": iou.mean()}, stats)

    @partial(jax.jit, donate_argnums=0, static_argnames="objects")
    def train_step(
        progress: Progress, batch: Batch, rate: jax.Array, objects: int
    ) -> tuple[Progress, dict[str, jax.Array]]:
        params, stats, average, opt_state = progress
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (metrics, seen) = grad_fn(params, stats, batch, objects)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda x: -rate * x, updates))
        average = optax.incremental_update(params, average, 0.005)
        stats = optax.incremental_update(seen, stats, 0.02)
        return Progress(params, stats, average, opt_state), metrics

    return train_step


def train(phases: tuple[Phase, ...], variables: Any, args: Any) -> None:
    """Runs the phases and writes the averaged weights."""
    method = vos_jax.create("stm-tiny", read="reference")
    # Without a rate of its own: the step multiplies by the phase's.
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(1e-4),
    )
    params, stats = variables["params"], variables["batch_stats"]
    average = jax.tree.map(jnp.copy, params)
    progress = Progress(params, stats, average, optimizer.init(params))
    started, first, log = time.monotonic(), args.first_clip, []
    for number, phase in enumerate(phases):
        train_step = make_train_step(method, optimizer, phase.frozen)
        source = batches(phase, args.workers, first)
        first += phase.steps * phase.batch
        window: list[Any] = []
        for step, batch in zip(range(1, phase.steps + 1), source, strict=False):
            high, low = phase.rates
            rate = low + (high - low) * 0.5 * (1 + np.cos(np.pi * step / phase.steps))
            rate *= min(1.0, step / 100)
            objects = phase.shapes[(step - 1) % len(phase.shapes)].objects
            progress, metrics = train_step(progress, batch, np.float32(rate), objects)
            window.append(metrics)
            if step % 50 == 0:
                row = {k: float(np.mean([m[k] for m in window])) for k in metrics}
                row |= {"phase": number, "step": step, "rate": float(rate)}
                row["minutes"] = (time.monotonic() - started) / 60
                log.append(row)
                window = []
                print(json.dumps(row), flush=True)
            if step % 500 == 0:
                save(args.out, progress, method, log)
    save(args.out, progress, method, log)


def save(out: Path, progress: Progress, method: Method, log: list[Any]) -> None:
    """Writes weights, and the log beside them."""
    variables = {"params": progress.average, "batch_stats": progress.stats}
    notes = {"trained_by": "experiments/stm/train_demo.py, generated clips alone"}
    save_weights(out, "stm-tiny", method, variables, notes)
    out.with_suffix(".log.json").write_text(json.dumps(log, indent=0))


def main() -> None:
    """Trains all phases, or the last ones from the weights of those before."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="of all steps")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="weights to go on from")
    parser.add_argument("--from-phase", type=int, default=0)
    parser.add_argument("--first-clip", type=int, default=0)
    args = parser.parse_args()

    phases = PHASES[args.from_phase :]
    phases = tuple(p._replace(steps=round(args.scale * p.steps)) for p in phases)
    method = vos_jax.create("stm-tiny", read="reference")
    if args.resume:
        variables: Any = load_weights(args.resume)
    else:
        frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
        variables = method.init(jax.random.key(0), frame, masks)
        example = next(batches(phases[0]._replace(batch=16), 1, 10**9))
        variables = twins(method, variables, ClipBatch(*example, valid=None))
    train(phases, variables, args)


if __name__ == "__main__":
    main()
