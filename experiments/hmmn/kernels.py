r"""HMMN, figure 3: what three kernels make of the scores of one memory cell.

    python experiments/hmmn/kernels.py --generated 3 --frame 12 --out kernels.png
    python experiments/hmmn/kernels.py my.mp4 --mask first.png --method hmmn \
        --weights hmmn.safetensors --frame 30 --object 2 --at 240 410 --out kernels.png

The video is segmented up to a frame. One cell of its first frame is looked at: the one
in the middle of an object, or the one `--at` a pixel. The first picture shows it; the
others show what every cell of the last frame has for it: by looks alone (STM), with a
kernel about the best match in the whole frame (KMN), and with one about where the cell
has gone from frame to frame (sec. 3.1).
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
from vos_jax.methods.base import Method, changed
from vos_jax.methods.weights import load_model
from vos_jax.ops.guidance import kernel_log
from vos_jax.ops.memory_bank import FIRST
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

KERNELS = {
    "no kernel (STM)": None,
    "about the best match (KMN)": {
        "kernel_centre": "global",
        "sigma": 7.0,
        "sigma_step": 0.0,
    },
    "about its track (HMMN)": {"kernel_centre": "released"},
}
"""What they change of the configuration; None leaves the kernel out."""


class Scores(NamedTuple):
    """What query cells have for a memory cell.

    Attributes:
      cell: Row and column of the memory cell, in the first frame.
      weights: `[h, w]` by the words of `KERNELS`: a softmax over the query cells.
    """

    cell: tuple[int, int]
    weights: dict[str, np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "hmmn-tiny")
    add_pixel_options(parser, pixel="a pixel of frame 0")
    args = parser.parse_args(argv)
    return run_script("kernels", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, looks, draws."""
    options.positive(args, "frame", "object")
    method, variables = load_model(
        args.method, args.weights, **options.merge_changes({}, args.changes)
    )
    if not getattr(method.config, "kernel_guided", False):
        raise InputError(f"--method {args.method}: use HMMN with its guidance")
    method, variables = vos_jax.inference_form(method, variables)
    frames, labels = first_frames(args.video, args.mask, args.generated, args.frame)
    print(f"segmenting {args.frame} frames", file=sys.stderr, flush=True)
    found = score(method, variables, frames, labels, args.object, args.at)
    draw(found, frames, args.out)
    print(args.out)


def score(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    wanted: int,
    at: Sequence[int] | None,
) -> Scores:
    """What the cells of the last frame have for a cell of the first one.

    Args:
      method: With guidance.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object whose memory it is.
      at: A pixel of the cell; None for the middle of the object.

    Raises:
      InputError: There is no such object or pixel.
    """
    height, width = labels.shape
    select_ids(labels, [wanted])
    pixel = middle_of(labels == wanted) if at is None else at
    cell = cell_at(pixel, height, width)
    state, which = before_last(method, variables, frames, labels, wanted)
    frame = jnp.asarray(frames[-1], jnp.float32) / 255
    weights = {
        words: np.asarray(
            jax.jit(partial(_weigh, method, changes, which=which, cell=cell))(
                variables, state, frame
            )
        )
        for words, changes in KERNELS.items()
    }
    return Scores(cell, weights)


def _weigh(
    method: Method,
    changes: Any,
    variables: Any,
    state: State,
    frame: jax.Array,
    *,
    which: int,
    cell: tuple[int, int],
) -> jax.Array:
    """A softmax over the query cells of their scores for one memory cell."""
    network = method.clone(config=changed(method.config, **(changes or {})))
    network = network.bind(variables)
    memory = memory_to_read(network, state)
    query, _ = network.encode(frame)
    key = memory.bank.entries.key[FIRST, which][cell]
    scores = query.key @ key * query.key.shape[-1] ** -0.5
    if changes is not None:
        _, kernel = network.guide(memory, query)
        place = cell[0] * scores.shape[1] + cell[1]
        bias = kernel_log(kernel.centre[FIRST, which], kernel.sigma[FIRST, which])
        scores = scores + bias[:, place].reshape(scores.shape)
    return jax.nn.softmax(scores, axis=(0, 1))


def draw(found: Scores, frames: np.ndarray, path: Path) -> None:
    """Draws the first frame with the cell, and the last one with each kernel."""
    plt = pyplot()
    height, width = frames.shape[1:3]
    columns = len(found.weights) + 1
    size = 3 * columns, 3 * height / width + 0.5
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained")
    axes[0].imshow(frames[0])
    corner = (
        found.cell[1] * STRIDE - padding(width)[0],
        found.cell[0] * STRIDE - padding(height)[0],
    )
    square = {"fill": False, "edgecolor": "red", "linewidth": 1.5}
    axes[0].add_patch(plt.Rectangle(corner, STRIDE, STRIDE, **square))
    axes[0].set_title("frame 0: the cell", fontsize=8)
    for axis, (words, weights) in zip(axes[1:], found.weights.items(), strict=True):
        axis.imshow(frames[-1] // 3 * 2)
        # The root shows small weights, too; its strength is its opacity.
        strength = pixels_of(np.sqrt(weights / weights.max()), height, width)
        axis.imshow(strength, alpha=0.85 * strength, cmap="autumn", vmin=0, vmax=1)
        axis.set_title(f"frame {len(frames) - 1}: {words}", fontsize=8)
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
