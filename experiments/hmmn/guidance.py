r"""HMMN: a picture of where a cell looks, with guidance and without it.

    python experiments/hmmn/guidance.py --generated 3 --frame 12 --out guidance.png
    python experiments/hmmn/guidance.py my.mp4 --mask first.png --method hmmn \
        --weights hmmn.safetensors --frame 30 --object 2 --at 240 410 --out guidance.png

The video is segmented up to a frame, and one cell of it is looked at: the one in the
middle of an object, or the one `--at` a pixel. Columns are the frames of the memory.
The first row shows what each of their cells weighs in the read at stride 16 by looks
alone, the second one the same with kernels about where the cells have gone (sec. 3.1),
the third one the cells whose fine cells are read at stride 8 (sec. 3.2).
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
from vos_jax.methods.weights import load_model
from vos_jax.ops.guidance import kernel_log
from vos_jax.ops.padding import STRIDE, padding
from vos_jax.reports.picture import (
    before_last,
    cell_at,
    first_frames,
    memory_to_read,
    middle_of,
    pixels_of,
    select_ids,
    write_figure,
)
from vos_jax.runtime.plotting import pyplot

_ROWS = ("by looks alone", "guided", "read at stride 8")


class Look(NamedTuple):
    """Where one cell of a frame looks, memory frame by memory frame.

    Attributes:
      times: The memory frames T.
      plain: Weights `[T, h, w]` without kernels; their sum is 1.
      guided: The same with kernels.
      candidates: Cells whose fine cells are read at stride 8, bool `[T, h, w]`.
      cell: Row and column of the cell.
      mask: What was found in the frame for the object, float `[H, W]`.
    """

    times: tuple[int, ...]
    plain: np.ndarray
    guided: np.ndarray
    candidates: np.ndarray
    cell: tuple[int, int]
    mask: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "hmmn-tiny")
    add_pixel_options(parser)
    args = parser.parse_args(argv)
    return run_script("guidance", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, looks, draws."""
    options.positive(args, "frame", "object")
    method, variables = load_model(
        args.method, args.weights, **options.merge_changes({}, args.changes)
    )
    config = method.config
    guided = getattr(config, "kernel_guided", False)
    if not guided or 3 not in getattr(config, "fine_stages", ()):
        raise InputError(
            f"--method {args.method}: use HMMN with its guidance and fine stage 3"
        )
    method, variables = vos_jax.inference_form(method, variables)
    frames, labels = first_frames(args.video, args.mask, args.generated, args.frame)
    print(f"segmenting {args.frame} frames", file=sys.stderr, flush=True)
    found = look(method, variables, frames, labels, args.object, args.at)
    draw(found, frames, args.out)
    print(args.out)


def look(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    wanted: int,
    at: Sequence[int] | None,
) -> Look:
    """Where a cell of the last frame looks, for one object.

    Args:
      method: With guidance.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object.
      at: A pixel of the cell; None for the middle of the object.

    Raises:
      InputError: There is no such object or pixel.
    """
    height, width = labels.shape
    select_ids(labels, [wanted])
    if at is not None:
        cell_at(at, height, width)
    state, which = before_last(method, variables, frames, labels, wanted)
    probs = vos_jax.step(method, variables, state, frames[-1])[1].probs[1 + which]
    pixel = middle_of(np.asarray(probs) > 0.5) if at is None else at
    cell = cell_at(pixel, height, width)
    weigh = jax.jit(partial(_weigh, method, which=which, cell=cell))
    frame = jnp.asarray(frames[-1], jnp.float32) / 255
    seen = jax.device_get(weigh(variables, state, frame))
    order = [slot for slot in np.argsort(seen.time) if seen.time[slot] >= 0]
    times = tuple(int(seen.time[slot]) for slot in order)
    plain, guided = seen.plain[order], seen.guided[order]
    candidates = np.zeros(plain.shape, bool)
    slots, places = np.divmod(seen.index[seen.usable], plain[0].size)
    for slot, place in zip(slots, places, strict=True):
        candidates[times.index(int(seen.fine_time[slot]))].flat[place] = True
    return Look(times, plain, guided, candidates, cell, np.asarray(probs))


class _Weighed(NamedTuple):
    """Of one query cell and one object, by slot.

    Attributes:
      plain: Weights `[N, h, w]`.
      guided: The same with kernels.
      time: Frames `[N]` in the slots, -1 for none.
      index: Candidates, counted through the slots of the fine memory.
      usable: Which of them are some.
      fine_time: Frames in the slots of the fine memory.
    """

    plain: jax.Array
    guided: jax.Array
    time: jax.Array
    index: jax.Array
    usable: jax.Array
    fine_time: jax.Array


def _weigh(
    method: Method,
    variables: Any,
    state: State,
    frame: jax.Array,
    *,
    which: int,
    cell: tuple[int, int],
) -> _Weighed:
    """The read of one cell, taken apart."""
    network = method.bind(variables)
    memory = memory_to_read(network, state)
    query, _ = network.encode(frame)
    _, kernel = network.guide(memory, query)
    key, filled = memory.bank.entries.key[:, which], memory.bank.filled[:, which]
    scores = key @ query.key[cell] * query.key.shape[-1] ** -0.5
    place = cell[0] * scores.shape[2] + cell[1]
    bias = jax.vmap(kernel_log)(kernel.centre[:, which], kernel.sigma[:, which])
    guided = scores + bias[:, place].reshape(scores.shape)
    plain, guided = (
        jax.nn.softmax(jnp.where(filled[:, None, None], x, -jnp.inf), axis=(0, 1, 2))
        for x in (scores, guided)
    )
    cells = network.candidates(memory, query, kernel)[3]
    index, usable = cells.index[which][cell], cells.usable[which][cell]
    time, fine_time = memory.bank.time[:, which], memory.fine.time[:, which]
    return _Weighed(plain, guided, time, index, usable, fine_time)


def _offset(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of padding above and to the left."""
    return padding(height)[0], padding(width)[0]


def draw(found: Look, frames: np.ndarray, path: Path) -> None:
    """Draws the picture: three rows, the memory's frames and the frame itself."""
    plt = pyplot()
    columns = len(found.times) + 1
    height, width = frames.shape[1:3]
    size = 2.4 * columns, 2.4 * height / width * len(_ROWS) + 0.5
    figure, axes = plt.subplots(
        len(_ROWS), columns, figsize=size, layout="constrained", squeeze=False
    )
    top, left = _offset(height, width)
    shown = (found.plain, found.guided, found.candidates.astype(float))
    for row, title, weights in zip(axes, _ROWS, shown, strict=True):
        for axis, time, own in zip(row, found.times, weights, strict=False):
            axis.imshow(frames[time] // 3 * 2)
            # The root shows small weights, too; its strength is its opacity.
            strength = np.sqrt(own / max(weights.max(), 1e-12))
            strength = pixels_of(strength, height, width)
            axis.imshow(strength, alpha=0.85 * strength, cmap="autumn", vmin=0, vmax=1)
            axis.set_title(f"frame {time}: {own.sum():.0%}", fontsize=8)
            if title == _ROWS[-1]:
                axis.set_title(f"frame {time}: {int(own.sum())} cells", fontsize=8)
        row[0].set_ylabel(title, fontsize=9)
        row[-1].imshow(frames[-1])
        row[-1].contour(found.mask, levels=[0.5], colors="white", linewidths=1)
        corner = found.cell[1] * STRIDE - left, found.cell[0] * STRIDE - top
        square = {"fill": False, "edgecolor": "red", "linewidth": 1.5}
        row[-1].add_patch(plt.Rectangle(corner, STRIDE, STRIDE, **square))
        row[-1].set_title(f"frame {len(frames) - 1}: the cell", fontsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
