"""Times what LCM's modules add to STM: each alone, and both, with the same weights.

LCM with global retrieval alone (GRM) is STM; position guidance (PGM) and object
relations (ORM) come on top. All are drawn once, as LCM, and what a network does without
is left out. First it is checked that GRM finds what STM finds and each module something
else; then whole frames are timed, one call of each network in turn.

    python benchmarks/lcm_vs_stm.py
    python benchmarks/lcm_vs_stm.py --size 240 --objects 1 --frames 5 --repeats 21

The ratio to STM is the median of those of the turns, in which all ran one after the
other: what else the machine does is in both times. With one frame in the memory it is a
video's second frame, whose step also gathers each object's cells for ORM; later ones
never do. The paper, on a GPU, has 0.118 s for LCM and 0.112 s for STM (table 3).

Needs PyTorch, which the scripts beside import: `pip install 'vos_jax[convert]'`.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from against_torch import (
    Clip,
    copied,
    frame_size,
    in_turn,
    random_variables,
    textured,
)
from hmmn_vs_torch import filled_state

import vos_jax
from vos_jax.bench.measure import Program, compile_program
from vos_jax.convert.tree import flatten, unflatten
from vos_jax.inference.step import start, step_traced
from vos_jax.methods.base import Method
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.runtime.machine import machine
from vos_jax.runtime.text_table import describe, text_table, write_table

NAME = "lcm_vs_stm"

_STM = "STM"
_WITHOUT = {"use_pgm": False, "use_orm": False}
_VARIANTS: dict[str, dict[str, bool]] = {
    "GRM": _WITHOUT,
    "GRM + PGM": {**_WITHOUT, "use_pgm": True},
    "GRM + ORM": {**_WITHOUT, "use_orm": True},
    "GRM + PGM + ORM": {},
}

# GRM computes what STM does: the same products of the same numbers.
_SAME = 1e-5


class Model(NamedTuple):
    """A network in its inference form, and its weights."""

    method: Method
    variables: Any


class Row(NamedTuple):
    """One network.

    Attributes:
      objects: Number of objects.
      memory_frames: That a frame is segmented with.
      network: STM, or the parts of LCM.
      time_ms: Of a frame, median.
      ratio: To STM's time, median of the ratios of each turn.
      added_percent: The same as what is added, in per cent of STM's time.
      added_from: Its lower quartile over the turns.
      added_to: Its upper quartile.
      repeats: Turns.
      state_mb: State between two frames.
      state_ratio: To STM's.
      temp_mb: Peak memory of a step beside state, frame and weights.
    """

    objects: int
    memory_frames: int
    network: str
    time_ms: float
    ratio: float
    added_percent: float
    added_from: float
    added_to: float
    repeats: int
    state_mb: float
    state_ratio: float
    temp_mb: float | None


def build(width: int, seed: int) -> dict[str, Model]:
    """All networks by name, STM first; what they share is the same in all.

    Args:
      width: Of the ResNets.
      seed: Of the weights.
    """
    backbone = ResNetConfig(width=width)
    methods = {_STM: vos_jax.create("stm", backbone=backbone)}
    for name, changes in _VARIANTS.items():
        methods[name] = vos_jax.create("lcm", backbone=backbone, **changes)
    *_, whole = methods.values()
    drawn = flatten(random_variables(whole, seed))
    models = {}
    for name, method in methods.items():
        own = unflatten(
            {path: drawn[path] for path in flatten(variable_shapes(method))}
        )
        models[name] = Model(*vos_jax.inference_form(method, own))
    return models


def check(models: Mapping[str, Model], clip: Clip) -> None:
    """All networks on a clip; ends the process when one is not what it should be."""
    found = {name: _probabilities(model, clip) for name, model in models.items()}
    stm, objects = found.pop(_STM), len(clip.masks)
    apart = {name: float(np.abs(probs - stm).max()) for name, probs in found.items()}
    words = ", ".join(f"{name} by {x:.1e}" for name, x in apart.items())
    print(f"{objects} objects, probabilities differ from STM's at most: {words}")
    alone, others = apart.pop("GRM"), list(apart.values())
    # What is not a number fails, too.
    if not alone <= _SAME < np.min(others):
        raise SystemExit(
            f"GRM alone must be STM to {_SAME:g}, and every module change something"
        )


def _probabilities(model: Model, clip: Clip) -> np.ndarray:
    """Of the frames after the first, `[T, O+1, H, W]`."""
    step = jax.jit(partial(step_traced, model.method))
    state = start(*model, clip.frames[0], clip.masks)
    probs = []
    for frame in clip.frames[1:]:
        state, out = step(model.variables, state, jnp.asarray(frame))
        probs.append(np.asarray(out.probs))
    return np.stack(probs)


class Prepared(NamedTuple):
    """A network with its memory filled.

    Attributes:
      call: Segments a frame; always the same one, of the same time.
      state_bytes: Of the state.
      temp_bytes: Of the step, as `Program` has it.
    """

    call: Callable[[], Any]
    state_bytes: int
    temp_bytes: int | None


def prepare(model: Model, clip: Clip, count: int) -> Prepared:
    """A step with `count` frames in the memory, filled as a video fills it."""
    state = filled_state(*model, clip, count)
    frame, held = jnp.asarray(clip.frames[1]), [copied(state)]
    moment = state.time, state.first
    program: Program = compile_program(
        partial(step_traced, model.method), model.variables, state, frame, donate=(1,)
    )

    def call() -> Any:
        after, out = program.call(model.variables, held[0], frame)
        # Time stands still: every call replaces the same previous frame.
        again, first = copied(moment)
        held[0] = after._replace(time=again, first=first)
        return out

    size, frames = clip.frames.shape[1:3], int(state.time) + 1
    held_bytes = vos_jax.state_bytes(model.method, size, len(clip.masks), frames)
    return Prepared(call, held_bytes, program.temp_bytes)


def compare(
    models: Mapping[str, Model], clip: Clip, count: int, repeats: int
) -> list[Row]:
    """A row for each network, with `count` frames in the memory."""
    prepared = {name: prepare(model, clip, count) for name, model in models.items()}
    times = in_turn({name: x.call for name, x in prepared.items()}, repeats)
    rows = []
    for name, (_, held, temp) in prepared.items():
        pairs = zip(times[name], times[_STM], strict=True)
        ratios = [own / stm for own, stm in pairs]
        lower, ratio, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        rows.append(
            Row(
                objects=len(clip.masks),
                memory_frames=count,
                network=name,
                time_ms=statistics.median(times[name]),
                ratio=ratio,
                added_percent=100 * (ratio - 1),
                added_from=100 * (lower - 1),
                added_to=100 * (upper - 1),
                repeats=repeats,
                state_mb=held / 1e6,
                state_ratio=held / prepared[_STM].state_bytes,
                temp_mb=None if temp is None else temp / 1e6,
            )
        )
    return rows


def parsed() -> argparse.Namespace:
    """Checked arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=480, help="height; 16:9 width")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[1, 5], help="frames in the memory"
    )
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--width", type=int, default=64, help="of the ResNets")
    parser.add_argument("--seed", type=int, default=1, help="of clip and weights")
    parser.add_argument("--out", type=Path, help="folder for CSV and JSON")
    args = parser.parse_args()
    for name, least in (("objects", 1), ("frames", 1), ("repeats", 2)):
        if np.min(getattr(args, name)) < least:
            parser.error(f"--{name}: use at least {least}")
    return args


def main() -> None:
    """Checks, times, prints, writes."""
    args = parsed()
    print(describe(machine()))
    models = build(args.width, args.seed)
    check(models, textured(args, max(args.objects), 3))
    rows = []
    for objects in args.objects:
        clip = textured(args, objects, 2)
        for count in args.frames:
            rows += compare(models, clip, count, args.repeats)
    height, width = frame_size(args)
    print(f"\n{width}x{height}, float32\n")
    print(text_table(rows))
    if args.out:
        notes = {"size": (height, width), "width": args.width, "seed": args.seed}
        write_table(args.out, NAME, rows, notes)


if __name__ == "__main__":
    main()
