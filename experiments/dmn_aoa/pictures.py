r"""DMN-AOA: pictures of what is read, aligned and matched in a frame.

    python experiments/dmn_aoa/pictures.py --generated 3 --frame 12 \
        --weights dmn_aoa_tiny.safetensors --out pictures
    python experiments/dmn_aoa/pictures.py my.mp4 --mask first.png --method dmn-aoa \
        --weights dmn_aoa.safetensors --proposals my.json --frame 30 --object 2 \
        --at 240 410 --out pictures

The video is segmented up to the frame, and one object of it is looked at.

- `memory.png`: what each cell of the memory weighs in the template (sec. 3.2, eq. 1),
  for the cell in the middle of the object, or the one `--at` a pixel, and for the mean
  of the cells in its mask.
- `alignment.png`: three proposals laid out as the object was (sec. 3.3), in colours.
- `matching.png`: all proposals, how alike they are to the objects, what they weigh in
  their masks (sec. 3.1), and what becomes of these.
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
from PIL import Image

import vos_jax
from vos_jax.cli import options
from vos_jax.cli.picture_options import add_picture_options, add_pixel_options
from vos_jax.cli.script import run_script
from vos_jax.data.clip_inputs import InputReader
from vos_jax.errors import InputError
from vos_jax.inference.state import State, moment_of
from vos_jax.media import open_frames, video_name
from vos_jax.methods.base import Method
from vos_jax.methods.dmn_aoa.memory import corner_of, readable
from vos_jax.methods.inputs import of_frames, open_inputs
from vos_jax.methods.weights import load_model
from vos_jax.ops.alignment import align, compare_unaligned
from vos_jax.reports.picture import (
    first_frames,
    generated_clip,
    select_ids,
    write_figure,
)
from vos_jax.runtime.plotting import pyplot
from vos_jax.types import Proposals

_MARGIN = 0.3
_MOST_FRAMES = 8
_ACROSS = 10
_NULL = "Null: stands for no proposal, and has no mask. "


class Look(NamedTuple):
    """What the network does in a frame; all of it NumPy, boxes in pixels.

    Attributes:
      frames: uint8 `[T, H, W, 3]`; the last one is looked at.
      proposals: Of the last frame.
      source: Where these are from, in words.
      ids: Of the objects.
      which: Place of the one that is looked at.
      times: Memory frames that are read.
      boxes: Of that object in each of them, `[M, 4]`, and where it is looked for.
      query_box: In the frame before, `[4]`.
      weights: Of memory cells for each cell of the template, `[i, M, s, s]`.
      similarity: Of objects and proposals, `[O, P]`.
      matched: Their weights, likewise.
      unaligned: Similarity to the object without alignment, `[N]`.
      correspondence: Of the object's cells and those of proposals, `[N, i, j]`.
      cosines: Of the template and aligned proposals, `[N, i]`.
      coarse: Masks `[O, H, W]` before RefineNet.
      found: Soft masks `[O, H, W]` in the end.
      truth: Labels `[H, W]` where they are known.
    """

    frames: np.ndarray
    proposals: Proposals
    source: str
    ids: list[int]
    which: int
    times: list[int]
    boxes: np.ndarray
    query_box: np.ndarray
    weights: np.ndarray
    similarity: np.ndarray
    matched: np.ndarray
    unaligned: np.ndarray
    correspondence: np.ndarray
    cosines: np.ndarray
    coarse: np.ndarray
    found: np.ndarray
    truth: np.ndarray | None

    @property
    def side(self) -> int:
        """Cells along a side of the template."""
        return self.weights.shape[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    add_picture_options(parser, "dmn-aoa-tiny", out="DIR")
    options.add_inputs_option(parser, "made of the frames of a generated clip")
    add_pixel_options(parser, frame="from 1")
    args = parser.parse_args(argv)
    return run_script("pictures", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, looks, draws."""
    options.positive(args, "frame", "object")
    method, variables = _model(args)
    frames, labels = first_frames(args.video, args.mask, args.generated, args.frame)
    truth = None
    if args.generated is not None:
        truth = generated_clip(args.generated, len(frames)).labels[-1]
        place = args.inputs or of_frames(method.inputs)
    else:
        place = args.inputs
    reader = open_inputs(method.inputs, place)
    assert reader is not None
    read = _proposals(reader, args.video, frames)
    source = f"Proposals: {_named(place, method)}."
    print(f"segmenting {args.frame} frames", file=sys.stderr, flush=True)
    found = look(method, variables, frames, labels, args.object, read)
    found = found._replace(source=source, truth=truth)
    cell = _cell(found, args.at)
    for name, drawn in (
        ("memory", draw_memory(found, cell)),
        ("alignment", draw_alignment(found)),
        ("matching", draw_matching(found)),
    ):
        write_figure(drawn, args.out / f"{name}.png")
        print(args.out / f"{name}.png")


def _model(args: argparse.Namespace) -> tuple[Method, Any]:
    """A network with a memory of objects and a matcher, as it is best run."""
    method, variables = load_model(
        args.method, args.weights, **options.merge_changes({}, args.changes)
    )
    config = method.config
    fits = getattr(config, "use_dmn", False) and getattr(config, "use_matcher", False)
    if not fits or config.frame_memory:
        raise InputError(
            f"--method {args.method}: use DMN-AOA with its memory of objects"
            " (use_dmn) and its matcher (use_matcher)"
        )
    return vos_jax.inference_form(method, variables)


def _named(place: Path, method: Method) -> str:
    """Where proposals are from, for people."""
    is_word = str(place) == method.inputs.of_frames  # type: ignore[union-attr]
    return "of the region proposer" if is_word else f"of {place.name}"


def _proposals(
    reader: InputReader, video: Path | None, frames: np.ndarray
) -> list[Proposals | None]:
    """Those of each frame but the first."""
    count, size = len(frames), frames.shape[1:3]
    names = [f"{time:05d}" for time in range(count)]
    if video is not None:
        names = open_frames(video).names[:count]
    folder = None if video is None else video_name(video)
    found = reader.video(None, names, size, folder=folder)
    return [None, *(found.read(time, frames[time], size) for time in range(1, count))]


def look(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    wanted: int,
    proposals: Sequence[Proposals | None],
) -> Look:
    """What happens in the last frame, for one object.

    Args:
      method: With memory and matcher.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object.
      proposals: Of each frame but the first.

    Raises:
      InputError: There is no such object.
    """
    select_ids(labels, [wanted])
    state = vos_jax.start(method, variables, frames[0], labels, frames=len(frames))
    ids = np.asarray(state.ids).tolist()
    which = ids.index(wanted)
    boxes: list[np.ndarray] = []
    for frame, own in zip(frames[1:-1], proposals[1:-1], strict=True):
        state, _ = vos_jax.step(method, variables, state, frame, own, donate=True)
        boxes.append(np.asarray(state.memory.track.entries.box[0, which]))
    frame = jnp.asarray(frames[-1], jnp.float32) / 255
    own = jax.tree.map(jnp.asarray, proposals[-1])
    seen = jax.device_get(
        jax.jit(partial(_look, method, which=which))(variables, state, frame, own)
    )
    boxes.append(seen.query_box)
    _, out = vos_jax.step(method, variables, state, frames[-1], proposals[-1])
    slots = [int(n) for n in np.argsort(seen.time) if seen.readable[n]]
    times = [int(seen.time[n]) for n in slots]
    corner = np.asarray(corner_of(*frames.shape[1:3]))
    return Look(
        frames=frames,
        proposals=jax.tree.map(np.asarray, proposals[-1]),
        source="",
        ids=ids,
        which=which,
        times=times,
        boxes=np.stack([boxes[time] for time in times]) - corner,
        query_box=seen.query_box - corner,
        weights=seen.weights[:, slots],
        similarity=seen.similarity,
        matched=seen.matched,
        unaligned=seen.unaligned,
        correspondence=seen.correspondence,
        cosines=seen.cosines,
        coarse=seen.coarse,
        found=np.asarray(out.probs[1:]),
        truth=None,
    )


class _Seen(NamedTuple):
    """As in `Look`, by slots of the memory, boxes in the padded frame."""

    time: jax.Array
    readable: jax.Array
    query_box: jax.Array
    weights: jax.Array
    similarity: jax.Array
    matched: jax.Array
    unaligned: jax.Array
    correspondence: jax.Array
    cosines: jax.Array
    coarse: jax.Array


def _look(
    method: Method,
    variables: Any,
    state: State,
    frame: jax.Array,
    proposals: Proposals,
    *,
    which: int,
) -> _Seen:
    """The frame after a state, taken apart."""
    network, config = method.bind(variables), method.config
    memory = network.memorize(
        state.memory, state.frame, state.keep, state.probs, moment_of(state)
    )
    query, _ = network.encode(frame)
    bank, size = memory.bank, frame.shape[:2]
    key = network.query_key(query, memory.track, memory.time + 1)[which]
    mask = readable(bank, config.memory_sampling, memory.time)[:, which]
    stored = bank.entries.key[:, which]
    scores = jnp.einsum("yxc,nvuc->yxnvu", key, stored) * key.shape[-1] ** -0.5
    scores = jnp.where(mask[:, None, None], scores.astype(jnp.float32), -jnp.inf)
    weights = jax.nn.softmax(scores, axis=(2, 3, 4))
    template = network.read(memory, query, state.active)
    found = network.match(memory, query, state.frame, state.active, proposals, template)
    corner = jnp.asarray(corner_of(*size))
    features = network.pool(query, proposals.boxes + corner[None])
    own = network.matcher.project_template(template[which][None])
    others = network.matcher.project_proposal(features)
    rule = config.alpha, config.aoa_center
    aligned = align(own, others, *rule, implementation="reference")
    assert aligned.aligned is not None
    assert aligned.correspondence is not None
    return _Seen(
        time=bank.time[:, which],
        readable=mask,
        query_box=memory.track.entries.box[0, which],
        weights=weights.reshape(-1, *weights.shape[2:]),
        similarity=found.similarity,
        matched=found.weights,
        unaligned=compare_unaligned(own, others, config.aoa_center)[0],
        correspondence=aligned.correspondence[0],
        cosines=_cosine(own, aligned.aligned[0]).reshape(len(others), -1),
        coarse=found.coarse,
    )


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Of the last axis."""
    a, b = (x.astype(jnp.float32) for x in (a, b))
    lengths = jnp.square(a).sum(-1) * jnp.square(b).sum(-1)
    return (a * b).sum(-1) * jax.lax.rsqrt(lengths + 1e-12)


# Places


def _cell(found: Look, at: Sequence[int] | None) -> tuple[int, int]:
    """The template's cell that is looked at: of a pixel, or of the object's middle.

    Raises:
      InputError: The pixel is not in the box.
    """
    x0, y0, x1, y1 = found.query_box
    inside = _cells_inside(found)
    if at is None:
        rows, columns = np.nonzero(inside)
        middle = rows.mean(), columns.mean()
        nearest = np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2)
        return int(rows[nearest]), int(columns[nearest])
    if not (y0 <= at[0] < y1 and x0 <= at[1] < x1):
        raise InputError(
            f"--at {at[0]} {at[1]}: use a pixel in the object's box of the frame"
            f" before, rows {y0:.0f} to {y1 - 1:.0f}, columns {x0:.0f} to {x1 - 1:.0f}"
        )
    row = (at[0] + 0.5 - y0) / (y1 - y0) * found.side
    column = (at[1] + 0.5 - x0) / (x1 - x0) * found.side
    return int(row), int(column)


def _cells_inside(found: Look) -> np.ndarray:
    """Which cells of the query box the object's mask covers, bool `[s, s]`.

    All of them where it covers none.
    """
    mask = (found.found[found.which] > 0.5).astype(np.uint8) * 255
    inside = np.asarray(_cells_of(mask, found.query_box, found.side)) > 127
    return inside if inside.any() else np.ones_like(inside)


def _cells_of(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Means of an image `[H, W, ...]` over the cells of a box."""
    height, width = image.shape[:2]
    inside = np.clip(box, 0, [width, height, width, height])
    cells = Image.fromarray(image).resize(
        (side, side), Image.Resampling.BOX, box=tuple(float(x) for x in inside)
    )
    return np.asarray(cells)


def _zoom(axis: Any, frame: np.ndarray, box: np.ndarray) -> None:
    """Shows a frame about a box."""
    axis.imshow(frame)
    _look_at(axis, frame, box)
    axis.set(xticks=[], yticks=[])


def _look_at(axis: Any, frame: np.ndarray, box: np.ndarray) -> None:
    """Limits the view to a box with a margin, and to the frame with a thin one."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = box
    across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    # Lines on the edge of the frame are seen.
    thin = 0.01 * max(height, width)
    axis.set(
        xlim=(max(x0 - across, -thin) - 0.5, min(x1 + across, width + thin) - 0.5),
        ylim=(min(y1 + down, height + thin) - 0.5, max(y0 - down, -thin) - 0.5),
    )


def _frame_box(axis: Any, box: np.ndarray, colour: str, width: float = 1.5) -> None:
    x0, y0, x1, y1 = box
    axis.add_patch(
        pyplot().Rectangle(
            (x0 - 0.5, y0 - 0.5),
            x1 - x0,
            y1 - y0,
            fill=False,
            edgecolor=colour,
            linewidth=width,
        )
    )


def _extent(box: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(x) - 0.5 for x in box)
    return x0, x1, y1, y0


# Pictures


def draw_memory(found: Look, cell: tuple[int, int]) -> Any:
    """The memory read: one cell's weights, and the mean of those in the mask."""
    plt = pyplot()
    inside = _cells_inside(found)
    own = found.weights[cell[0] * found.side + cell[1]]
    mean = found.weights[inside.ravel()].mean(0)
    shares = mean.sum((1, 2))
    shown = np.sort(np.argsort(-shares, kind="stable")[:_MOST_FRAMES])
    columns = len(shown) + 1
    figure, axes = plt.subplots(
        2, columns, figsize=(2.3 * columns + 1, 6), layout="constrained", squeeze=False
    )
    time = len(found.frames) - 1
    for row, weights, label in zip(
        axes, (own, mean), ("one cell", "mean over the mask"), strict=True
    ):
        _draw_query(row[0], found, None if label != "one cell" else cell, inside)
        row[0].set_title(f"frame {time}: {label}", fontsize=9)
        high = float(weights.max())
        scale = {"cmap": "inferno", "vmin": 0, "vmax": high}
        for axis, place in zip(row[1:], shown, strict=True):
            then, box = found.times[place], found.boxes[place]
            _zoom(axis, found.frames[then] // 3 * 2, box)
            # Strong weights are opaque; the root shows small ones, too.
            opacity = np.sqrt(weights[place] / max(high, 1e-12))
            place_of = {"extent": _extent(box), "interpolation": "nearest"}
            axis.imshow(weights[place], alpha=opacity, **scale, **place_of)
            _frame_box(axis, box, "white", 1)
            _look_at(axis, found.frames[then], box)
            title = f"frame {then}, offset {then - found.times[0]}"
            axis.set_title(f"{title}\n{weights[place].sum():.1%}", fontsize=9)
        heat = plt.cm.ScalarMappable(plt.Normalize(0, high), "inferno")
        bar = figure.colorbar(heat, ax=row[1:].tolist(), shrink=0.85, format="%.2g")
        bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"DMN: what object {found.ids[found.which]} reads in its memory")
    cells = found.weights[0].size
    left_out = len(found.times) - len(shown)
    more = f" {left_out} frames with smaller shares are not shown." if left_out else ""
    figure.supxlabel(
        f"Colour: weight of a memory cell in the template; all {cells} cells add up to"
        f" 1, and would have {1 / cells:.2g} each if all were alike; weak ones"
        " are transparent.\nPercentages: a"
        f" frame's share.{more} Red: the box that asks, with its cells."
        f" {found.source}",
        fontsize=8,
    )
    return figure


def _draw_query(
    axis: Any, found: Look, cell: tuple[int, int] | None, inside: np.ndarray
) -> None:
    """The frame with the box that asks, its cells, and those that are looked at."""
    box, side = found.query_box, found.side
    _zoom(axis, found.frames[-1], box)
    x0, y0, x1, y1 = box - 0.5
    grid = {"color": "white", "linewidth": 0.3, "alpha": 0.6}
    axis.vlines(np.linspace(x0, x1, side + 1), y0, y1, **grid)
    axis.hlines(np.linspace(y0, y1, side + 1), x0, x1, **grid)
    _frame_box(axis, box, "red")
    width, height = (x1 - x0) / side, (y1 - y0) / side
    if cell is not None:
        corner = np.array([x0 + cell[1] * width, y0 + cell[0] * height]) + 0.5
        opposite = corner + np.array([width, height])
        _frame_box(axis, np.concatenate([corner, opposite]), "red", 2.5)
    else:
        covered = np.where(inside, 1.0, np.nan)
        axis.imshow(
            covered, extent=_extent(box), cmap="autumn", alpha=0.4, vmin=1, vmax=2
        )
    _look_at(axis, found.frames[-1], box)


def _chosen(found: Look) -> list[tuple[str, int]]:
    """The proposal that is assigned, the most similar other one, and any other."""
    valid = np.flatnonzero(found.proposals.valid)
    if not valid.size:
        return []
    assigned = int(valid[np.argmax(found.matched[found.which, valid])])
    chosen = [("assigned", assigned)]
    others = valid[valid != assigned]
    if others.size:
        alike = int(others[np.argmax(found.similarity[found.which, others])])
        chosen.append(("most similar other", alike))
        others = others[others != alike]
    if others.size:
        chosen.append(("one at random", int(np.random.default_rng(0).choice(others))))
    return chosen


def draw_alignment(found: Look) -> Any:
    """The alignment: three proposals, in the layout of the object."""
    plt, chosen, side = pyplot(), _chosen(found), found.side
    if not chosen:
        raise InputError("the frame has no proposals to align; use another --frame")
    figure, axes = plt.subplots(
        len(chosen),
        5,
        figsize=(13, 2.7 * len(chosen) + 1),
        layout="constrained",
        squeeze=False,
    )
    frame, time = found.frames[-1], len(found.frames) - 1
    cosines = found.cosines[[number for _, number in chosen]]
    scale = {"vmin": float(cosines.min()), "vmax": float(cosines.max())}
    for row, (what, number) in zip(axes, chosen, strict=True):
        box = found.proposals.boxes[number]
        cells = _cells_of(frame, box, side)
        moved = found.correspondence[number] @ cells.reshape(side * side, 3)
        _zoom(row[0], frame, found.query_box)
        _frame_box(row[0], found.query_box, "red")
        row[0].set_title("where the object was", fontsize=9)
        row[0].set_ylabel(f"{what}\nproposal {number}", fontsize=10)
        _zoom(row[1], frame, box)
        row[1].contour(
            found.proposals.masks[number], levels=[0.5], colors="white", linewidths=1
        )
        _frame_box(row[1], box, "#00c8ff")
        weight = found.matched[found.which, number]
        row[1].set_title(f"the proposal, weight {weight:.2f}", fontsize=9)
        similarity = found.similarity[found.which, number]
        row[2].imshow(moved.reshape(side, side, 3).round().astype(np.uint8))
        row[2].set_title(f"aligned: similarity {similarity:.3f}", fontsize=9)
        row[3].imshow(cells)
        row[3].set_title(f"as it is: {found.unaligned[number]:.3f}", fontsize=9)
        shown = row[4].imshow(
            found.cosines[number].reshape(side, side), cmap="viridis", **scale
        )
        row[4].set_title("cosine, cell by cell", fontsize=9)
        figure.colorbar(shown, ax=row[4], shrink=0.85).ax.tick_params(labelsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    figure.suptitle(
        f"AOA: proposals of frame {time} in the layout of object"
        f" {found.ids[found.which]}"
    )
    figure.supxlabel(
        f"Aligned: the mean colours of the proposal's {side} x {side} cells, moved as"
        " its features are; cells of the red box hold what the network puts there."
        "\nCosine: of template and aligned proposal, 1 if they are the same; the"
        " similarity is its mean. All rows have one scale, from the lowest to the"
        f" highest. {found.source}",
        fontsize=8,
    )
    return figure


def draw_matching(found: Look) -> Any:
    """The matcher: proposals, both tables, and masks of each object."""
    plt = pyplot()
    objects, count = len(found.ids), int(found.proposals.valid.sum())
    nulls = max(0, objects + 1 - count)
    columns, lines = max(count, 1), -(-max(count, 1) // _ACROSS)
    height, width = found.frames.shape[1:3]
    ratio = height / width
    heights = [1.5 * ratio * lines + 0.35 * lines, 1.4 + 0.6 * objects, 2.9 * objects]
    figure = plt.figure(figsize=(14, sum(heights) + 1), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=heights)
    _draw_thumbnails(top, found, count, lines)
    table = middle.subplots(2, 1)
    _draw_table(table[0], found.similarity, "similarity", found, columns, nulls)
    _draw_table(table[1], found.matched, "weight A", found, columns, nulls)
    _draw_masks(bottom, found)
    time = len(found.frames) - 1
    figure.suptitle(f"Matcher: proposals of frame {time} and the masks they make")
    figure.supxlabel(
        "Similarity: from -1 to 1, after alignment. Weight: of a proposal's mask in an"
        " object's coarse mask; iterates of a relaxation are averaged, so rows may add"
        " up to more than 1. Each table has a scale of its own.\n"
        f"{_NULL if nulls else ''}{found.source}",
        fontsize=8,
    )
    return figure


def _draw_thumbnails(figure: Any, found: Look, count: int, lines: int) -> None:
    axes = np.ravel(figure.subplots(lines, min(max(count, 1), _ACROSS), squeeze=False))
    frame = found.frames[-1]
    for number, axis in enumerate(axes):
        axis.axis("off")
        if number >= count:
            continue
        mask = found.proposals.masks[number]
        axis.imshow(np.where(mask[..., None], frame, frame // 4))
        score = found.proposals.scores[number]
        axis.set_title(f"{number} ({score:.2f})", fontsize=8)
    figure.suptitle("Proposals, the best first, with their scores", fontsize=10)


def _draw_table(
    axis: Any, values: np.ndarray, title: str, found: Look, columns: int, nulls: int
) -> None:
    shown = values[:, : columns + nulls]
    low, high = float(shown.min()), float(shown.max())
    axis.imshow(shown, cmap="viridis", aspect="auto", vmin=low, vmax=high)
    for (row, column), value in np.ndenumerate(shown):
        dark = value < low + 0.6 * (high - low)
        axis.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    names = [str(n) for n in range(columns)] + ["null"] * nulls
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_yticks(range(len(found.ids)), [f"object {x}" for x in found.ids])
    axis.tick_params(length=0, labelsize=8)
    axis.set_title(title, fontsize=10, loc="left")


def _draw_masks(figure: Any, found: Look) -> None:
    names = ["coarse mask", "final mask"]
    axes = figure.subplots(
        len(found.ids), 3 if found.truth is not None else 2, squeeze=False
    )
    for slot, (row, each) in enumerate(zip(axes, found.ids, strict=True)):
        masks = [found.coarse[slot], found.found[slot]]
        truth = None if found.truth is None else found.truth == each
        for axis, name, mask in zip(row, names, masks, strict=False):
            axis.imshow(mask, cmap="gray", vmin=0, vmax=1)
            text = name
            if truth is not None:
                text += f", IoU {_overlap(mask > 0.5, truth):.2f}"
            axis.set_title(text, fontsize=9)
        if truth is not None:
            row[2].imshow(np.where(truth[..., None], found.frames[-1], 0))
            row[2].set_title("true mask", fontsize=9)
        row[0].set_ylabel(f"object {each}", fontsize=10)
        for axis in row:
            axis.set(xticks=[], yticks=[])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


if __name__ == "__main__":
    sys.exit(main())
