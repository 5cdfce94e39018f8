r"""STM, figure 5: where the cells of an object look in the memory.

    python experiments/stm/attention.py --generated 3 --frame 12 --out attention.png
    python experiments/stm/attention.py my.mp4 --mask first.png --method stm \
        --weights stm.safetensors --frame 30 --object 2 --out attention.png

The video is segmented up to a frame. Of all query cells that the object covers there by
half the weights of the read (sec. 3.2, eq. 2) are added up: memory cells that many of
them read are bright. Columns are the frames of the memory, and the frame itself.
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
from vos_jax.cli.picture_options import add_picture_options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.methods.base import Method
from vos_jax.methods.stm import STM
from vos_jax.methods.weights import load_model
from vos_jax.ops.padding import STRIDE, pad
from vos_jax.reports.picture import (
    before_last,
    first_frames,
    memory_to_read,
    pixels_of,
    write_figure,
)
from vos_jax.runtime.plotting import pyplot


class Attention(NamedTuple):
    """Where the cells of an object look, memory frame by memory frame.

    Attributes:
      times: The memory frames T.
      weights: Sums over the object's cells `[T, h, w]`; all of them are their number.
      mask: What was found in the frame for the object, float `[H, W]`.
    """

    times: tuple[int, ...]
    weights: np.ndarray
    mask: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "stm-tiny")
    parser.add_argument("--frame", type=int, default=12, metavar="N", help="from 0")
    parser.add_argument("--object", type=int, default=1, metavar="ID")
    args = parser.parse_args(argv)
    return run_script("attention", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, looks, draws."""
    options.positive(args, "frame", "object")
    method, variables = load_model(
        args.method, args.weights, **options.merge_changes({}, args.changes)
    )
    if not isinstance(method, STM) or type(method).read is not STM.read:
        raise InputError(f"--method {args.method}: use one that reads as STM does")
    if method.config.top_k is not None:
        raise InputError(
            f"--set top_k={method.config.top_k}: the picture is of reads of all cells"
        )
    method, variables = vos_jax.inference_form(method, variables)
    frames, labels = first_frames(args.video, args.mask, args.generated, args.frame)
    print(f"segmenting {args.frame} frames", file=sys.stderr, flush=True)
    found = attend(method, variables, frames, labels, args.object)
    draw(found, frames, args.out)
    print(args.out)


def attend(
    method: Method, variables: Any, frames: np.ndarray, labels: np.ndarray, wanted: int
) -> Attention:
    """Where the cells of an object of the last frame look.

    Args:
      method: That reads as STM.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object.

    Raises:
      InputError: There is no such object, or it covers no cell of the last frame.
    """
    state, which = before_last(method, variables, frames, labels, wanted)
    probs = vos_jax.step(method, variables, state, frames[-1])[1].probs[1 + which]
    mask = np.asarray(probs)
    covered = cells_of(mask)
    if not covered.any():
        raise InputError(f"--object {wanted}: covers no cell of the frame; use another")
    weigh = jax.jit(partial(_weigh, method, which=which))
    frame = jnp.asarray(frames[-1], jnp.float32) / 255
    weights, time = jax.device_get(weigh(variables, state, frame, covered))
    order = [slot for slot in np.argsort(time) if time[slot] >= 0]
    return Attention(tuple(int(time[slot]) for slot in order), weights[order], mask)


def cells_of(mask: np.ndarray) -> np.ndarray:
    """Cells of stride 16 that a mask covers by half, bool `[h, w]`."""
    padded = np.asarray(pad(jnp.asarray(mask)[..., None])[..., 0])
    rows, columns = (n // STRIDE for n in padded.shape)
    shares = padded.reshape(rows, STRIDE, columns, STRIDE).mean((1, 3))
    return np.asarray(shares > 0.5)


def _weigh(
    method: Method,
    variables: Any,
    state: State,
    frame: jax.Array,
    covered: jax.Array,
    *,
    which: int,
) -> tuple[jax.Array, jax.Array]:
    """The read's weights, summed over some query cells, and the slots' frames."""
    network = method.bind(variables)
    memory = memory_to_read(network, state)
    query, _ = network.encode(frame)
    key, filled = memory.bank.entries.key[:, which], memory.bank.filled[:, which]
    scale = query.key.shape[-1] ** -0.5
    scores = jnp.einsum("hwc,nijc->hwnij", query.key * scale, key)
    scores = jnp.where(filled[None, None, :, None, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=(2, 3, 4))
    summed = jnp.where(covered[..., None, None, None], weights, 0).sum((0, 1))
    return summed, memory.bank.time[:, which]


def draw(found: Attention, frames: np.ndarray, path: Path) -> None:
    """Draws the memory's frames and the frame itself."""
    plt = pyplot()
    height, width = frames.shape[1:3]
    columns = len(found.times) + 1
    size = 2.6 * columns, 2.6 * height / width + 0.5
    figure, axes = plt.subplots(
        1, columns, figsize=size, layout="constrained", squeeze=False
    )
    total = found.weights.sum()
    for axis, time, own in zip(axes[0], found.times, found.weights, strict=False):
        axis.imshow(frames[time] // 3 * 2)
        # The root shows small weights, too; its strength is its opacity.
        strength = np.sqrt(own / max(found.weights.max(), 1e-12))
        strength = pixels_of(strength, height, width)
        axis.imshow(strength, alpha=0.85 * strength, cmap="autumn", vmin=0, vmax=1)
        axis.set_title(f"frame {time}: {own.sum() / total:.0%}", fontsize=8)
    axes[0][-1].imshow(frames[-1])
    axes[0][-1].contour(found.mask, levels=[0.5], colors="white", linewidths=1)
    axes[0][-1].set_title(f"frame {len(frames) - 1}: the object", fontsize=8)
    for axis in axes[0]:
        axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
