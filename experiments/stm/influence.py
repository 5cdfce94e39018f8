r"""STM: which remembered frame, and which place in it, matters for a pixel.

    python experiments/stm/influence.py --generated 3 --frame 12 --out influence.png
    python experiments/stm/influence.py my.mp4 --mask first.png --method stm \
        --weights stm.safetensors --frame 30 --object 2 --at 240 410 --out influence.png

The video is segmented up to a frame, and the log-odds of an object in one pixel of it
are differentiated: the pixel in the middle of the object, or the one `--at` a place.
Columns are the frames of the memory. The first row is what the pixel's cell reads; the
others are gradients: of what each memory cell tells (its value) and of what it is found
by (its key), both times what is there, and of the pixels of the remembered frame.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vos_jax
from vos_jax.cli import options
from vos_jax.cli.picture_options import add_picture_options, add_pixel_options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.methods.base import Method
from vos_jax.methods.stm import STM
from vos_jax.methods.weights import load_model
from vos_jax.ops.memory_bank import Moment
from vos_jax.reports.picture import (
    cell_at,
    first_frames,
    memory_to_read,
    middle_of,
    pixels_of,
    select_ids,
    write_figure,
)
from vos_jax.runtime.plotting import pyplot

_ROWS = ("read by its cell", "told: value", "found: key", "seen: pixels")


class Influence(NamedTuple):
    """What matters for a pixel, memory frame by memory frame.

    Attributes:
      times: The memory frames T.
      read: Weights `[T, h, w]` of the read of the pixel's cell; their sum is 1.
      values: Gradient of the log-odds in the values, times these, `[T, h, w]`.
      keys: The same of the keys.
      pixels: Length of the gradient in the colours of each pixel, `[T, H, W]`.
      odds: Log-odds of the object against the background in the pixel.
      pixel: Row and column.
      mask: What was found in the frame for the object, float `[H, W]`.
    """

    times: tuple[int, ...]
    read: np.ndarray
    values: np.ndarray
    keys: np.ndarray
    pixels: np.ndarray
    odds: float
    pixel: tuple[int, int]
    mask: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "stm-tiny")
    add_pixel_options(parser)
    args = parser.parse_args(argv)
    return run_script("influence", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, differentiates, draws."""
    options.positive(args, "frame", "object")
    method, variables = load_model(
        args.method, args.weights, **options.merge_changes({}, args.changes)
    )
    if not isinstance(method, STM) or type(method).read is not STM.read:
        raise InputError(f"--method {args.method}: use one that reads as STM does")
    method, variables = vos_jax.inference_form(method, variables)
    frames, labels = first_frames(args.video, args.mask, args.generated, args.frame)
    print(f"segmenting {args.frame} frames", file=sys.stderr, flush=True)
    found = influence(method, variables, frames, labels, args.object, args.at)
    print(text(found))
    draw(found, frames, args.out)
    print(args.out)


def influence(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    wanted: int,
    at: Sequence[int] | None,
) -> Influence:
    """What matters for a pixel of the last frame.

    Args:
      method: That reads as STM.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object.
      at: The pixel; None for the middle of the object.

    Raises:
      InputError: There is no such object or pixel.
    """
    height, width = labels.shape
    select_ids(labels, [wanted])
    if at is not None:
        cell_at(at, height, width)
    state = vos_jax.start(method, variables, frames[0], labels, frames=len(frames))
    states = [state]
    for frame in frames[1:-1]:
        state, _ = vos_jax.step(method, variables, state, frame)
        # Of the older ones the frame and its masks are enough.
        states[-1] = states[-1]._replace(memory=None)
        states.append(state)
    which = np.asarray(state.ids).tolist().index(wanted)
    _, out = vos_jax.step(method, variables, state, frames[-1])
    mask = np.asarray(out.probs[1 + which])
    pixel = middle_of(mask > 0.5) if at is None else (at[0], at[1])
    cell = cell_at(pixel, height, width)
    look = jax.jit(partial(_look, method, which=which, cell=cell, pixel=pixel))
    frame = jnp.asarray(frames[-1], jnp.float32) / 255
    seen, gradient = look(variables, state, frame)
    time = np.asarray(seen.time)
    order = [slot for slot in np.argsort(time) if time[slot] >= 0]
    back = jax.jit(partial(_to_pixels, method))
    pixels = [
        back(
            variables,
            states[time[slot]],
            jax.tree.map(lambda x, s=slot: x[s], gradient),
        )
        for slot in order
    ]
    read, values, keys = (np.asarray(x)[order] for x in seen[1:4])
    return Influence(
        tuple(int(time[slot]) for slot in order),
        *(read, values, keys, np.stack(jax.device_get(pixels))),
        *(float(seen.odds), pixel, mask),
    )


class _Seen(NamedTuple):
    """By slot: frames, and the rows of `Influence` that are of cells."""

    time: jax.Array
    read: jax.Array
    values: jax.Array
    keys: jax.Array
    odds: jax.Array


def _look(
    method: Method,
    variables: Any,
    state: State,
    frame: jax.Array,
    *,
    which: int,
    cell: tuple[int, int],
    pixel: tuple[int, int],
) -> tuple[_Seen, Any]:
    """The gradients in the bank's entries, and these themselves, `[N, O, h, w, C]`."""
    network = method.bind(variables)
    memory = memory_to_read(network, state)
    query, _ = network.encode(frame)
    entries = memory.bank.entries

    def with_entries(entries: Any) -> Any:
        return memory._replace(bank=memory.bank._replace(entries=entries))

    def odds(entries: Any) -> jax.Array:
        found = network.segment(with_entries(entries), query, frame, state.active)
        return found.logits[1 + which, *pixel] - found.logits[0, *pixel]

    def reads(values: jax.Array) -> jax.Array:
        entries = memory.bank.entries._replace(value=values)
        return network.read(with_entries(entries), query, state.active)[which, *cell, 0]

    found, gradient = jax.value_and_grad(odds)(entries)
    # A read is linear in the values, so its gradient in them is the weights.
    weights = jax.grad(reads)(entries.value)[:, which, ..., 0]
    told, found_by = (
        (slope * there)[:, which].sum(-1)
        for slope, there in (
            (gradient.value, entries.value),
            (gradient.key, entries.key),
        )
    )
    time = memory.bank.time[:, which]
    return _Seen(time, weights, told, found_by, found), gradient


def _to_pixels(
    method: Method, variables: Any, state: State, gradient: Any
) -> jax.Array:
    """A gradient in what a frame left in the memory, as one in the frame, `[H, W]`.

    Args:
      method: That reads as STM.
      variables: Its weights.
      state: Of that frame.
      gradient: Of the frame's entry, leaves `[O, h, w, C]`.
    """
    network = method.bind(variables)
    moment = Moment(state.time, state.active, state.first, state.corrected)
    height, width, _ = state.frame.shape
    empty = method.init_memory(height, width, len(state.ids), method.slots(1))

    def entry_of(frame: jax.Array) -> Any:
        memory = network.memorize(empty, frame, state.keep, state.probs, moment)
        # Each object is in one slot, and the others hold zeros.
        return jax.tree.map(lambda x: x.sum(0), memory.bank.entries)

    (slope,) = jax.vjp(entry_of, state.frame)[1](gradient)
    return jnp.linalg.norm(slope, axis=-1)


def text(found: Influence) -> str:
    """The share of each memory frame in each row, and how alike rows are."""
    row, column = found.pixel
    lines = [f"log-odds {found.odds:.2f} at {row} {column}"]
    maps = dict(zip(_ROWS, shown(found), strict=True))
    for name, each in maps.items():
        shares = np.abs(each).sum((1, 2)) / np.abs(each).sum()
        told = ", ".join(
            f"frame {time} {share:.0%}"
            for time, share in zip(found.times, shares, strict=True)
        )
        lines.append(f"{name}: {told}")
    alike = np.corrcoef(found.read.ravel(), np.abs(found.values).ravel())[0, 1]
    best = [np.argsort(-np.abs(x), axis=None)[:10] for x in (found.read, found.values)]
    both = len(np.intersect1d(*best))
    lines.append(
        f"read and told: correlation {alike:.2f}, {both} of the best 10 cells in both"
    )
    return "\n".join(lines)


def shown(found: Influence) -> tuple[np.ndarray, ...]:
    """The rows, in their order."""
    return found.read, found.values, found.keys, found.pixels


def draw(found: Influence, frames: np.ndarray, path: Path) -> None:
    """Draws four rows of the memory's frames and the frame itself."""
    plt = pyplot()
    columns = len(found.times) + 1
    height, width = frames.shape[1:3]
    size = 2.4 * columns, 2.4 * height / width * len(_ROWS) + 0.5
    figure, axes = plt.subplots(
        len(_ROWS), columns, figsize=size, layout="constrained", squeeze=False
    )
    for row, title, each in zip(axes, _ROWS, shown(found), strict=True):
        most, total = max(np.abs(each).max(), 1e-12), np.abs(each).sum()
        for axis, time, own in zip(row, found.times, each, strict=False):
            # Grey, for the colours say which way an influence goes.
            axis.imshow(frames[time].mean(-1) / 2, cmap="gray", vmin=0, vmax=255)
            # The root shows small influences, too; its strength is its opacity.
            strength = np.sign(own) * np.sqrt(np.abs(own) / most)
            if strength.shape != (height, width):
                strength = pixels_of(strength, height, width)
            alpha = np.minimum(np.abs(strength), 1)
            axis.imshow(strength, alpha=alpha, cmap="coolwarm", vmin=-1, vmax=1)
            share = np.abs(own).sum() / total
            axis.set_title(f"frame {time}: {share:.0%}", fontsize=8)
        row[0].set_ylabel(title, fontsize=9)
        row[-1].imshow(frames[-1])
        row[-1].contour(found.mask, levels=[0.5], colors="white", linewidths=1)
        row[-1].plot(found.pixel[1], found.pixel[0], "r+", markersize=9)
        row[-1].set_title(f"frame {len(frames) - 1}: the pixel", fontsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
