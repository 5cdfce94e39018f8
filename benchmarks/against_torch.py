"""What the comparisons with PyTorch programs share; the scripts beside import it.

Blocks that several published networks have, random weights for both programs, a clip,
the check that both find the same, their timing in turn, and the way of a checkpoint
through the command line.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vos_jax.convert.state_dict import read_state_dict
from vos_jax.data.synthetic import Clip as LabelledClip
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step_traced
from vos_jax.media import read_labels, write_labels
from vos_jax.methods.base import Method
from vos_jax.methods.weights import variable_shapes
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.padding import padding
from vos_jax.runtime.machine import machine
from vos_jax.runtime.text_table import describe, text_table, write_table

IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST_AGREEMENT = 0.997
LEAST_COVER = 0.02

# Modules


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, each with its norm."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if channels != out or stride != 1:
            shortcut = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """One stage of a ResNet with bottlenecks."""
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride), *rest)


class ResBlock(nn.Module):
    """Pre-activation residual block; where the width changes a 3x3 shortcut."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.downsample: nn.Module | None = None
        if channels != width:
            self.downsample = nn.Conv2d(channels, width, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        return y + (x if self.downsample is None else self.downsample(x))


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear, half-pixel centres."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def pad(x: Tensor) -> Tensor:
    """To multiples of 16."""
    rows, columns = padding(x.shape[-2]), padding(x.shape[-1])
    return F.pad(x, (*columns, *rows))


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Undoes `pad`."""
    top, left = padding(height)[0], padding(width)[0]
    return x[..., top : top + height, left : left + width]


def aggregate(objects: Tensor) -> Tensor:
    """Soft aggregation of the objects' maps `[O, H, W]`; the background is added."""
    background = torch.prod(1 - objects, dim=0, keepdim=True)
    merged = torch.cat([background, objects]).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.log(merged / (1 - merged)), dim=0)


# Weights


def random_variables(method: Method, seed: int = 0) -> Any:
    """Weights that keep activations in range and differ in every leaf."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> Any:
        shape, name = leaf.shape, path[-1].key
        if len(shape) > 1:
            scale = np.prod(shape[:-1]) ** -0.5
            return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)
        positive = name in ("var", "scale")
        values = (
            rng.uniform(0.8, 1.2, shape) if positive else 0.1 * rng.normal(size=shape)
        )
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(method))


def load_arrays(
    model: nn.Module, arrays: Mapping[str, Any], fixed: Sequence[str] = ()
) -> None:
    """Gives a PyTorch program arrays under their published names.

    Names that end in one of `fixed`, and the norms' counters, carry no weights.
    """
    state = {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    fixed = (*fixed, "num_batches_tracked")
    lost = [name for name in missing if name.rpartition(".")[2] not in fixed]
    if lost or unexpected:
        raise SystemExit(f"names differ: missing {lost}, unexpected {unexpected}")


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Gives a PyTorch program a published checkpoint; what else it has is left out."""
    named = model.state_dict()
    arrays = read_state_dict(path)
    load_arrays(model, {name: x for name, x in arrays.items() if name in named})


# Clips


class Clip(NamedTuple):
    """Frames `[T, H, W, 3]` in [0, 1] and the first frame's masks `[O, H, W]`."""

    frames: np.ndarray
    masks: np.ndarray


def make_clip(height: int, width: int, objects: int, count: int) -> Clip:
    """Coloured disks that drift over a coarse noise pattern."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    coarse = rng.uniform(0, 1, (-(-height // 16), -(-width // 16), 3))
    ground = np.kron(coarse, np.ones((16, 16, 1)))[:height, :width]
    colours = rng.uniform(0, 1, (objects, 3))
    centres = rng.uniform(0.2, 0.8, (objects, 2)) * (height, width)
    frames, radius = [], 0.15 * height
    for time_index in range(count):
        frame = ground.copy()
        masks: list[np.ndarray] = []
        for centre, colour in zip(centres, colours, strict=True):
            shift = 0.02 * width * time_index
            inside = np.hypot(y - centre[0], x - centre[1] - shift) < radius
            masks = [mask & ~inside for mask in masks] + [inside]
            frame[inside] = colour
        if time_index == 0:
            first = np.stack(masks)
        frames.append(frame)
    return Clip(np.stack(frames).astype(np.float32), first.astype(np.float32))


def textured(args: argparse.Namespace, objects: int, count: int) -> Clip:
    """A generated clip; flat surfaces would make similarities tie."""
    clip = generate_clip(args.seed, count, frame_size(args), objects)
    return Clip(clip.frames / np.float32(255), one_hot(clip.labels[0], objects))


def one_hot(labels: np.ndarray, objects: int) -> np.ndarray:
    """Masks `[O, H, W]` of a label map."""
    masks = labels == np.arange(1, objects + 1)[:, None, None]
    return masks.astype(np.float32)


def chw(image: np.ndarray) -> Tensor:
    """A frame as PyTorch has it."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def given(masks: np.ndarray) -> Tensor:
    """The first frame's probabilities `[O+1, H, W]`, background first."""
    background = np.clip(1 - masks.sum(0, keepdims=True), 0, 1)
    return torch.from_numpy(np.concatenate([background, masks]))


# Both programs find the same


class Video(Protocol):
    """A PyTorch program that has begun a video."""

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities `[O+1, H, W]` of the next frame `[3, H, W]`."""


Begin = Callable[[Tensor, Tensor], Video]
"""Begins a video from its first frame and `given` masks."""


class Limits(NamedTuple):
    """What is called agreement of probabilities, frame by frame.

    Attributes:
      most: Of any one, but for a `share`.
      mean: Of all.
      share: Of them, how many may differ more.
    """

    most: float
    mean: float
    share: float = 0.0


_SAME = Limits(most=1e-3, mean=1e-3)


def check(
    method: Method,
    variables: Any,
    begin: Begin,
    clip: Clip,
    limits: Limits = _SAME,
    same_masks: bool = False,
    inputs: Any = None,
) -> None:
    """Both programs on the clip; ends the process when they disagree.

    Args:
      method: In the form that is timed.
      variables: Its weights.
      begin: Of the PyTorch program.
      clip: With the first masks.
      limits: Of what is found in each frame.
      same_masks: Both remember PyTorch's masks of a frame, so that what differs in one
        of them is not made larger by the next.
      inputs: What the method takes with every frame; here the same with each.
    """
    state = start(method, variables, clip.frames[0], clip.masks)
    video = begin(chw(clip.frames[0]), given(clip.masks))
    step = jax.jit(partial(step_traced, method))
    worst, mean, share, spread = 0.0, 0.0, 0.0, 0.0
    for frame in clip.frames[1:]:
        state, out = step(variables, state, jnp.asarray(frame), inputs)
        theirs = video.step(chw(frame)).numpy()
        if same_masks:
            state = state._replace(probs=jnp.asarray(theirs))
        error = np.abs(np.asarray(out.probs) - theirs)
        worst, mean = max(worst, float(error.max())), max(mean, float(error.mean()))
        share = max(share, float((error > limits.most).mean()))
        spread = float(theirs[1:].std())
    objects, count = len(clip.masks), len(clip.frames) - 1
    print(
        f"{objects} objects, {count} frames: probabilities differ by {worst:.1e} at"
        f" most, {mean:.1e} in the mean (their standard deviation is {spread:.2g}),"
        f" {share:.2%} of a frame's by more than {limits.most:g}"
    )
    if not (share <= limits.share and mean <= limits.mean):
        raise SystemExit(
            f"the programs disagree: more than {limits.share:.1%} of a frame by more"
            f" than {limits.most:g} or, in the mean, {limits.mean:g}"
        )


class Agreement(NamedTuple):
    """One frame.

    Attributes:
      frame: Its index.
      agreeing: Share of the pixels compared to which both programs give one label.
      compared: Share of the pixels at which PyTorch's two most probable labels are
        further apart than rounding makes them.
      least_label: Share of the pixels that have the rarest label, the background's
        included, in PyTorch's result.
    """

    frame: int
    agreeing: float
    compared: float
    least_label: float


def agree(
    name: str,
    settings: Sequence[str],
    model: nn.Module,
    begin: Begin,
    clip: LabelledClip,
    margin: float = 0.0,
) -> list[Agreement]:
    """A PyTorch program's labels against those of its checkpoint by the command line.

    Args:
      name: Of the method.
      settings: Options of `vos-jax segment` that make it what `begin` makes.
      model: Whose state dict is the checkpoint.
      begin: Of the same program.
      clip: The first frame's labels are given, the others are not used.
      margin: Pixels are compared where the probabilities of PyTorch's two best labels
        differ by this much or more.
    """
    objects = int(clip.labels[0].max())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ours = segmented(name, settings, model, clip, folder)
    frames = [chw(frame / np.float32(255)) for frame in clip.frames]
    video = begin(frames[0], given(one_hot(clip.labels[0], objects)))
    rows = []
    for index, frame in enumerate(frames[1:], 1):
        probs = video.step(frame)
        theirs = probs.argmax(0).numpy()
        best = probs.topk(2, dim=0).values.numpy()
        clear = best[0] - best[1] >= margin
        counts = np.bincount(theirs.ravel(), minlength=objects + 1)
        same = float((theirs == ours[index])[clear].mean())
        covered = float(counts.min() / theirs.size)
        rows.append(Agreement(index, same, float(clear.mean()), covered))
    return rows


def segmented(
    name: str,
    settings: Sequence[str],
    model: nn.Module,
    clip: LabelledClip,
    folder: Path,
) -> list[np.ndarray]:
    """Labels that `vos-jax convert` and `vos-jax segment` make of files in `folder`."""
    weights, mask = folder / "weights.safetensors", folder / "mask.png"
    torch.save(model.state_dict(), folder / "weights.pth")
    frames = folder / "frames"
    frames.mkdir()
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(frames / f"{index:05d}.png")
    write_labels(mask, clip.labels[0])
    command_line("convert", name, folder / "weights.pth", weights)
    method = ("--method", name, "--weights", weights, *settings)
    command_line("segment", frames, "--mask", mask, "--out", folder / "out", *method)
    files = sorted((folder / "out" / "masks").glob("*.png"))
    return [read_labels(file) for file in files]


def command_line(*arguments: object) -> None:
    """Runs the command line; ends the process when it fails."""
    command = [sys.executable, "-m", "vos_jax", *map(str, arguments)]
    if subprocess.run(command).returncode:
        raise SystemExit(f"failed: vos-jax {' '.join(command[3:])}")


def require(rows: Sequence[Agreement], covered: bool) -> None:
    """Prints the agreement; ends the process where it, or a cover, is too little.

    Args:
      rows: From `agree`.
      covered: Whether every label must cover a part of every frame.
    """
    for row in rows:
        print(
            f"frame {row.frame:2d}: {100 * row.agreeing:.4f} % of {row.compared:.1%} of"
            f" the pixels agree, the rarest label has {100 * row.least_label:.1f} %"
        )
    least = min(row.agreeing for row in rows)
    print(f"least agreement of a frame: {100 * least:.4f} %")
    if least < LEAST_AGREEMENT:
        raise SystemExit(f"the programs disagree: less than {LEAST_AGREEMENT:.1%}")
    if covered and min(row.least_label for row in rows) < LEAST_COVER:
        raise SystemExit(
            f"a label has less than {LEAST_COVER:.0%} of a frame, which shows little;"
            " use another --seed"
        )


# Timing


class Stage(NamedTuple):
    """A part of a frame as both programs compute it, for `frames` frames a call."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    frames: int = 1


class Row(NamedTuple):
    """One stage.

    Attributes:
      objects: Number of objects.
      stage: Of a frame; "frame" is the whole.
      ours_ms: Median.
      torch_ms: Median.
      ratio: PyTorch's time by ours.
      repeats: Calls of each.
    """

    objects: int
    stage: str
    ours_ms: float
    torch_ms: float
    ratio: float
    repeats: int


def alternate(stages: Mapping[str, Stage], objects: int, repeats: int) -> list[Row]:
    """Medians of both programs' stages; their calls take turns."""
    rows = []
    for name, (ours, theirs, frames) in stages.items():
        times = in_turn({"ours": ours, "theirs": theirs}, repeats)
        mine, other = (statistics.median(times[program]) / frames for program in times)
        rows.append(Row(objects, name, mine, other, other / mine, repeats))
    return rows


def in_turn(
    calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """Milliseconds of each call in each turn, after one that does not count.

    Every turn begins with another call, so that none always follows the same one.
    """
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for call in calls.values():
        jax.block_until_ready(call())
    for turn in range(repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            jax.block_until_ready(calls[name]())
            times[name].append(1e3 * (time.perf_counter() - started))
    return times


def memorized(method: Method, variables: Any, memory: Any, state: State) -> Any:
    """The memory with the state's frame in it; traceable."""
    moment = Moment(state.time, state.active, state.first, state.corrected)
    arguments = memory, state.frame, state.keep, state.probs, moment
    return method.apply(variables, *arguments, method="memorize")


def copied(tree: Any) -> Any:
    """Arrays of their own, which may be donated."""
    return jax.tree.map(jnp.copy, tree)


# The command lines of the scripts


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that all have."""
    parser.add_argument("--size", type=int, default=480, help="height; 16:9 width")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--frames", type=int, default=5, help="frames in the memory, at least 2"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--threads", type=int, help="of PyTorch; by default as many as it takes"
    )
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch's other memory layout"
    )
    parser.add_argument("--width", type=int, default=64, help="of the ResNets")
    parser.add_argument("--out", type=Path, help="folder for CSV and JSON")


def add_label_options(parser: argparse.ArgumentParser, seed: int) -> None:
    """Options of those that compare labels, too; `seed` gives masks worth comparing."""
    parser.add_argument(
        "--agree",
        action="store_true",
        help="compare labels of a generated clip; with the published widths",
    )
    parser.add_argument(
        "--weights", type=Path, help="with --agree: .pth instead of random weights"
    )
    parser.add_argument(
        "--seed", type=int, default=seed, help="of clip and random weights"
    )
    parser.add_argument(
        "--length", type=int, default=11, help="with --agree: frames of the clip"
    )


def parsed(
    parser: argparse.ArgumentParser, least_frames: int = 2
) -> argparse.Namespace:
    """Checked arguments; PyTorch's threads are set and everything is named."""
    args = parser.parse_args()
    if np.min(args.frames) < least_frames:
        parser.error(f"--frames: use at least {least_frames}")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    print(describe(machine()))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    return args


def frame_size(args: argparse.Namespace) -> tuple[int, int]:
    """Height and width."""
    return args.size, round(args.size * 854 / 480)


def lay_out(model: nn.Module, args: argparse.Namespace) -> None:
    """Puts the program's weights into the memory layout asked for."""
    if not args.channels_last:
        return
    for parameter in model.parameters():
        # The kernels of 3-D convolutions have five axes, and no such layout.
        if parameter.dim() == 4:
            parameter.data = parameter.contiguous(memory_format=torch.channels_last)


def compare_labels(
    args: argparse.Namespace,
    name: str,
    settings: Sequence[str],
    model: nn.Module,
    begin: Begin,
    margin: float = 0.0,
) -> None:
    """`--agree` and its table; the arguments are those of `agree`."""
    lay_out(model, args)
    objects = max(args.objects)
    clip = generate_clip(args.seed, args.length, frame_size(args), objects)
    with torch.inference_mode():
        rows = agree(name, settings, model, begin, clip, margin)
    facts = {
        "weights": args.weights.name if args.weights else "random",
        "seed": args.seed,
        "objects": objects,
        "margin": margin,
    }
    write(args, f"{name}_agreement", rows, facts)
    require(rows, covered=args.weights is None)


def report(
    args: argparse.Namespace, name: str, rows: Sequence[Row], frames: int
) -> None:
    """Prints the rows and writes them where asked to."""
    height, width = frame_size(args)
    print(f"\n{width}x{height}, {frames} memory frames, float32\n")
    print(text_table(rows))
    write(args, name, rows, {"memory_frames": frames})


def write(
    args: argparse.Namespace,
    name: str,
    rows: Sequence[NamedTuple],
    facts: Mapping[str, Any],
) -> None:
    """Writes a table, with `facts` and what both programs ran on, where asked to."""
    if args.out:
        notes = {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "channels_last": args.channels_last,
            "size": frame_size(args),
            **facts,
        }
        write_table(args.out, name, rows, notes)
