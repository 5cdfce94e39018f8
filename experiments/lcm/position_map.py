r"""LCM, figure 4: where objects are expected, after the frame before.

    python experiments/lcm/position_map.py --generated 3 --frame 12 --out map.png
    python experiments/lcm/position_map.py my.mp4 --mask first.png --method lcm \
        --weights lcm.safetensors --frame 5 10 15 --object 2 --out map.png

The video is segmented up to the last of the frames. Each of them has a row for each
object: its mask in the frame before, the position map of the frame (sec. 3.3), and the
mask that was found in it.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import vos_jax
from vos_jax.cli import options
from vos_jax.cli.picture_options import add_picture_options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.media import blend
from vos_jax.methods.base import Method
from vos_jax.methods.weights import load_model
from vos_jax.ops.padding import STRIDE
from vos_jax.reports.picture import first_frames, pixels_of, select_ids, write_figure
from vos_jax.runtime.plotting import pyplot


class Row(NamedTuple):
    """An object in a frame, and in the one before.

    Attributes:
      time: Number of the frame.
      id: Of the object.
      before: Its mask in the frame before, bool `[H, W]`.
      likely: The position map of the frame, `[h, w]`; cells of the padded frame.
      found: Its mask in the frame, bool `[H, W]`.
    """

    time: int
    id: int
    before: np.ndarray
    likely: np.ndarray
    found: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "lcm-tiny")
    parser.add_argument(
        "--frame", type=int, nargs="+", default=[12], metavar="N", help="from 1"
    )
    parser.add_argument(
        "--object", type=int, nargs="+", metavar="ID", help="by default all"
    )
    args = parser.parse_args(argv)
    return run_script("position_map", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, looks, draws."""
    times = sorted(set(args.frame))
    if times[0] < 1:
        raise InputError(f"--frame {times[0]}: use at least 1, for none is before 0")
    method, variables = _model(args)
    frames, labels = first_frames(args.video, args.mask, args.generated, times[-1])
    ids = select_ids(labels, args.object)
    print(f"segmenting {times[-1]} frames", file=sys.stderr, flush=True)
    rows = look(method, variables, frames, labels, times, ids)
    draw(rows, frames, method.config.position_k, args.out)
    print(args.out)


def _model(args: argparse.Namespace) -> tuple[Method, Any]:
    """A network with position maps, as it is best run."""
    if not hasattr(vos_jax.create(args.method).config, "use_pgm"):
        raise InputError(f"--method {args.method}: has no position map; use LCM")
    changes = options.merge_changes({}, args.changes)
    method, variables = vos_jax.inference_form(
        *load_model(args.method, args.weights, **changes)
    )
    if not method.config.use_pgm:
        raise InputError(
            f"--method {args.method}: without its PGM (use_pgm=False) it has no"
            " position map; use a network with it"
        )
    return method, variables


def look(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    times: Sequence[int],
    ids: Sequence[int],
) -> list[Row]:
    """Position maps and masks, frame by frame, object by object.

    Args:
      method: With PGM.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      times: Frames to look at, from 1.
      ids: Objects to look at.
    """
    state = vos_jax.start(method, variables, frames[0], labels, frames=len(frames))
    rows = []
    for time, frame in enumerate(frames[1:], 1):
        before = state
        state, _ = vos_jax.step(method, variables, before, frame)
        if time not in times:
            continue
        likely = np.asarray(_likely(method, variables, state))
        slots, old, new = (
            np.asarray(x) for x in (state.ids, before.labels, state.labels)
        )
        for each in ids:
            own = likely[slots.tolist().index(each)]
            rows.append(Row(time, each, old == each, own, new == each))
    return rows


@partial(jax.jit, static_argnums=0)
def _likely(method: Method, variables: Any, state: State) -> jax.Array:
    """Position maps `[O, h, w]` of the frame that was stepped on.

    The memory of a state is what its frame was segmented with.
    """
    network = method.bind(variables)
    query, _ = network.encode(state.frame)
    return network.position_map(state.memory, query)


def draw(rows: Sequence[Row], frames: np.ndarray, k: int, path: Path) -> None:
    """Draws the picture: for each row the mask, the map and the mask that was found.

    Args:
      rows: What to show.
      frames: uint8 `[T, H, W, 3]`.
      k: Responses that count in a cell, as the picture tells.
      path: PNG to write.
    """
    plt = pyplot()
    height, width = frames.shape[1:3]
    figure, axes = plt.subplots(
        len(rows),
        3,
        figsize=(11, (3.3 * height / width + 0.4) * len(rows) + 1),
        layout="constrained",
        squeeze=False,
    )
    for (first, middle, last), row in zip(axes, rows, strict=True):
        _draw_mask(first, frames[row.time - 1], row.before, row.id)
        origin = "found" if row.time > 1 else "given"
        first.set_title(f"frame {row.time - 1}: the mask {origin}", fontsize=9)
        first.set_ylabel(f"object {row.id}", fontsize=11)
        _draw_map(middle, frames[row.time], row)
        middle.set_title(f"frame {row.time}: the position map", fontsize=9)
        _draw_mask(last, frames[row.time], row.found, row.id)
        what = "the mask found" if row.found.any() else "nothing found"
        last.set_title(f"frame {row.time}: {what}", fontsize=9)
        for axis in (first, middle, last):
            axis.set(xticks=[], yticks=[])
    figure.suptitle("LCM: where an object is expected, by the mask of the frame before")
    figure.supxlabel(_explained(rows[0].likely.size, k), fontsize=8)
    write_figure(figure, path)


def _draw_mask(axis: Any, frame: np.ndarray, mask: np.ndarray, id: int) -> None:
    axis.imshow(blend(frame, np.where(mask, id, 0).astype(np.uint8)))


def _draw_map(axis: Any, frame: np.ndarray, row: Row) -> None:
    """The map over the frame in grey, its scale, and how much it tells."""
    pixels = pixels_of(row.likely, *frame.shape[:2])
    low, high = float(row.likely.min()), float(row.likely.max())
    axis.imshow(frame.mean(-1), cmap="gray", vmin=0, vmax=255)
    shown = axis.imshow(pixels, cmap="viridis", alpha=0.6, vmin=low, vmax=high)
    if row.found.any() and not row.found.all():
        axis.contour(row.found, levels=[0.5], colors="white", linewidths=1)
        inside, outside = pixels[row.found].mean(), pixels[~row.found].mean()
        axis.set_xlabel(f"in the mask {_compared(inside, outside)}", fontsize=8)
    ticks = np.linspace(low, high, 3)
    # As high as the picture, and on grey: its colours are those over the frame.
    beside = axis.inset_axes((1.02, 0, 0.04, 1), facecolor="gray")
    axis.figure.colorbar(shown, cax=beside, ticks=ticks, format="%.3g")
    beside.tick_params(labelsize=8)


def _compared(inside: float, outside: float) -> str:
    """Two means in words; one of them may be 0, where a softmax is all but hard."""
    if inside > 100 * outside:
        return "more than 100 times as strong as outside"
    if inside < outside / 100:
        return "less than 0.01 times as strong as outside"
    return f"{inside / outside:.3g} times as strong as outside"


def _explained(cells: int, k: int) -> str:
    return (
        f"A cell of {STRIDE} x {STRIDE} pixels shows the mean of its {min(k, cells)}"
        " strongest responses to cells of the frame before; it would be"
        f" at most 1/{cells} = {1 / cells:.3g} if all cells looked alike.\n"
        "Each map has a scale of its own, from its lowest to its highest value."
        " White line: the mask found."
    )


if __name__ == "__main__":
    sys.exit(main())
