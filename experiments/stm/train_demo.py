"""Trains the demo weights: `stm-tiny` on generated clips, from scratch, on one device.

    python experiments/stm/train_demo.py --minutes 60 --out stm_tiny.safetensors

STM's scheme (ICCV 2019, sec. 3.5) in small: a clip's first mask is given, every later
frame is segmented from the network's own soft masks, cross entropy on the aggregated
logits. Nothing is downloaded, no real picture is seen; `vos-jax demo` draws its clips
from seeds that training never sees.

The weights that ship come from runs in a row, each going on from the one before with
`--resume`, on two shared cores: 3 frames of 128x128 for 18 minutes with `--hardest 1.5`
and for 42 with `--hardest 0.8` (both were stopped early), then

    --minutes 36 --frames 4 --hardest 0.8 --rate 6e-4 --sizes 128x208 160x160 160x256
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
from vos_jax.methods.base import Method

_TRAIN = 0
_AHEAD = 6


class Batch(NamedTuple):
    """Clips: frames uint8 `[B, T, H, W, 3]`, labels uint8 `[B, T, H, W]`."""

    frames: Any
    labels: Any


class Clips(NamedTuple):
    """What training clips are like; a seed settles the rest."""

    frames: int
    sizes: tuple[tuple[int, int], ...]
    objects: int
    hardest: float

    def make(self, number: int, seed: int) -> Batch:
        """Clip `seed` of batch `number`, whose clips all have one size."""
        rng = np.random.default_rng((_TRAIN, seed))
        clip = generate_clip(
            (_TRAIN, seed),
            self.frames,
            self.sizes[number % len(self.sizes)],
            self.objects,
            difficulty=float(rng.uniform(0.2, self.hardest)),
            stride=int(rng.integers(1, 4)),
        )
        return Batch(clip.frames, clip.labels)


def batches(clips: Clips, batch: int, workers: int, first: int) -> Iterator[Batch]:
    """Endless training batches, generated in other processes; always the same ones."""
    with get_context("spawn").Pool(workers) as pool:
        ahead: deque[Any] = deque()
        for number in count():
            seeds = range(first + number * batch, first + (number + 1) * batch)
            ahead.append(pool.starmap_async(clips.make, [(number, s) for s in seeds]))
            if len(ahead) > _AHEAD:
                yield Batch(*map(np.stack, zip(*ahead.popleft().get(), strict=True)))


def clip_loss(
    method: Method, variables: Any, clip: Batch, objects: int
) -> tuple[jax.Array, jax.Array]:
    """Mean cross entropy and mean IoU of the frames after the first."""
    ids = jnp.arange(1, objects + 1)
    given = (clip.labels[0] == ids[:, None, None]).astype(jnp.float32)
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


def make_train_step(method: Method, optimizer: Any, objects: int) -> Any:
    """`(variables, opt_state, average, batch) -> the same, and metrics`."""

    def loss_fn(params: Any, stats: Any, batch: Batch) -> Any:
        variables = {"params": params, "batch_stats": stats}
        loss, iou = jax.vmap(partial(clip_loss, method, variables, objects=objects))(
            batch
        )
        return loss.mean(), iou.mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(
        params: Any, opt_state: Any, average: Any, stats: Any, batch: Batch
    ) -> Any:
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, iou), grads = grad_fn(params, stats, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        average = optax.incremental_update(params, average, 0.005)
        return params, opt_state, average, {"loss": loss, "iou": iou}

    return train_step


def main() -> None:
    """Trains for a number of minutes and writes the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--sizes", nargs="+", default=["128x128"], metavar="HxW")
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--hardest", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="weights to go on from")
    parser.add_argument("--first-clip", type=int, default=0)
    args = parser.parse_args()

    method = vos_jax.create("stm-tiny", read="reference")
    variables = method.init(
        jax.random.key(0), jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
    )
    if args.resume:
        variables = load_weights(args.resume)
    params, stats = variables["params"], variables["batch_stats"]
    # The schedule follows the clock, since what is fixed is the time.
    optimizer = optax.inject_hyperparams(
        lambda rate: optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-4)
        )
    )(rate=0.0)
    opt_state = optimizer.init(params)
    average = jax.tree.map(jnp.copy, params)
    train_step = make_train_step(method, optimizer, args.objects)
    started, window, log = time.monotonic(), [], []
    sizes = tuple(tuple(map(int, size.split("x"))) for size in args.sizes)
    clips = Clips(args.frames, sizes, args.objects, args.hardest)
    source = batches(clips, args.batch, args.workers, args.first_clip)
    for step, batch in enumerate(source, 1):
        done = (time.monotonic() - started) / (60 * args.minutes)
        if done >= 1:
            break
        warm = min(1.0, step / 200)
        rate = args.rate * warm * 0.5 * (1 + np.cos(np.pi * done))
        opt_state.hyperparams["rate"] = jnp.float32(rate)
        params, opt_state, average, metrics = train_step(
            params, opt_state, average, stats, batch
        )
        window.append(metrics)
        if step % 50 == 0:
            row = {k: float(np.mean([m[k] for m in window])) for k in metrics}
            row |= {"step": step, "rate": float(rate)}
            row["minutes"] = (time.monotonic() - started) / 60
            log.append(row)
            window = []
            print(json.dumps(row), flush=True)
        if step % 500 == 0:
            save(args.out, average, stats, method, log)
    save(args.out, average, stats, method, log)


def save(out: Path, params: Any, stats: Any, method: Method, log: list[Any]) -> None:
    """Writes weights, and the log beside them."""
    variables = {"params": params, "batch_stats": stats}
    notes = {"trained_by": "experiments/stm/train_demo.py, generated clips alone"}
    save_weights(out, "stm-tiny", method, variables, notes)
    out.with_suffix(".log.json").write_text(json.dumps(log, indent=0))


if __name__ == "__main__":
    main()
