"""Times STM against a straightforward PyTorch program with the same weights.

The PyTorch program is what one writes from the paper: one module per block, batch norm
in eval mode, the objects of a video as the batch of memory encoder, read and decoder,
each object's inputs repeated for it. First both segment a short clip and must agree;
then every stage is timed, one call of either program in turn.

    python benchmarks/stm_vs_torch.py
    python benchmarks/stm_vs_torch.py --size 240 --objects 1 --repeats 5

Needs PyTorch: `pip install 'vos_jax[convert]'`. A stage of ours does not hold exactly
what the same stage of PyTorch's does: the decoder's skip branches, which are the same
for all objects, are in our `encode` and in its `decode`. The whole frame compares like
with like.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vos_jax
from vos_jax.engine.inference import State, start, step_traced
from vos_jax.engine.model import export, variable_shapes
from vos_jax.engine.report_table import describe, machine, text_table, write_table
from vos_jax.methods.base import Method
from vos_jax.methods.stm import STMConfig
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.padding import padding
from vos_jax.ops.read import space_time_read

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EVERY = 5
_TOLERANCE = 1e-3


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
    """One ResNet stage."""
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride), *rest)


class Encoder(nn.Module):
    """ResNet-50 to its third stage; with `masks` it sees two more maps."""

    def __init__(self, width: int, masks: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        if masks:
            self.conv1_m = nn.Conv2d(1, width, 7, 2, 3, bias=False)
            self.conv1_o = nn.Conv2d(1, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = stage(width, width, 3, 1)
        self.res3 = stage(4 * width, 2 * width, 4, 2)
        self.res4 = stage(8 * width, 4 * width, 6, 2)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of strides 16, 8 and 4."""
        x = self.conv1((image - self.mean) / self.std)
        if masks:
            x = x + self.conv1_m(masks[0]) + self.conv1_o(masks[1])
        x = F.max_pool2d(F.relu(self.bn1(x)), 3, 2, 1)
        res2 = self.res2(x)
        res3 = self.res3(res2)
        return self.res4(res3), res3, res2


class KeyValue(nn.Module):
    """The two heads."""

    def __init__(self, channels: int, key: int, value: int) -> None:
        super().__init__()
        self.Key = nn.Conv2d(channels, key, 3, padding=1)
        self.Value = nn.Conv2d(channels, value, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value."""
        return self.Key(x), self.Value(x)


class ResBlock(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear, half-pixel centres."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class Refine(nn.Module):
    """Merges a skip feature into a coarser map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convFS = nn.Conv2d(channels, width, 3, padding=1)
        self.ResFS = ResBlock(width)
        self.ResMM = ResBlock(width)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """Runs the block."""
        return self.ResMM(self.ResFS(self.convFS(skip)) + enlarge(coarse, 2))


class Decoder(nn.Module):
    """From what was read to object probabilities on the padded frame."""

    def __init__(self, channels: int, skips: tuple[int, int], width: int) -> None:
        super().__init__()
        self.convFM = nn.Conv2d(channels, width, 3, padding=1)
        self.ResMM = ResBlock(width)
        self.RF3 = Refine(skips[0], width)
        self.RF2 = Refine(skips[1], width)
        self.pred2 = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, read: Tensor, res3: Tensor, res2: Tensor) -> Tensor:
        """`[O, H, W]`."""
        x = self.RF3(res3, self.ResMM(self.convFM(read)))
        x = self.pred2(F.relu(self.RF2(res2, x)))
        return torch.softmax(enlarge(x, 4), dim=1)[:, 1]


class TorchSTM(nn.Module):
    """The network, with one method per stage of a frame."""

    def __init__(self, config: STMConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.Encoder_M, self.Encoder_Q = Encoder(width, True), Encoder(width, False)
        heads = 16 * width, config.key_dim, config.value_dim
        self.KV_M_r4, self.KV_Q_r4 = KeyValue(*heads), KeyValue(*heads)
        skips = 8 * width, 4 * width
        self.Decoder = Decoder(2 * config.value_dim, skips, config.decoder_dim)

    def memorize(self, frame: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[O, C, 1, h, w]` of a frame and its masks `[O+1, H, W]`."""
        masks = pad(probs[1:])
        others = (masks.sum(0, keepdim=True) - masks).clamp(0, 1)
        frames = pad(frame)[None].expand(len(masks), -1, -1, -1)
        res4, _, _ = self.Encoder_M(frames, masks[:, None], others[:, None])
        key, value = self.KV_M_r4(res4)
        return key[:, :, None], value[:, :, None]

    def encode(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query key, query value and the two skip features."""
        res4, res3, res2 = self.Encoder_Q(pad(frame)[None])
        return *self.KV_Q_r4(res4), res3, res2

    def read(self, memory: tuple[Tensor, Tensor], query: tuple[Tensor, ...]) -> Tensor:
        """`[O, 2 Cv, h, w]`, retrieved values before the query's own."""
        key, value = memory
        count, channels = key.shape[:2]
        query_key = query[0].expand(count, -1, -1, -1).flatten(2)
        scores = torch.bmm(key.flatten(2).transpose(1, 2), query_key) / channels**0.5
        weights = torch.softmax(scores, dim=1)
        retrieved = torch.bmm(value.flatten(2), weights)
        own = query[1].expand(count, -1, -1, -1)
        return torch.cat([retrieved.view_as(own), own], dim=1)

    def decode(
        self, read: Tensor, query: tuple[Tensor, ...], size: tuple[int, int]
    ) -> Tensor:
        """Probabilities `[O+1, H, W]`."""
        res3, res2 = (x.expand(len(read), -1, -1, -1) for x in query[2:])
        objects = self.Decoder(read, res3, res2)
        background = torch.prod(1 - objects, dim=0, keepdim=True)
        merged = torch.cat([background, objects]).clamp(1e-7, 1 - 1e-7)
        logits = crop(torch.log(merged / (1 - merged)), *size)
        return torch.softmax(logits, dim=0)


def pad(x: Tensor) -> Tensor:
    """To multiples of 16."""
    rows, columns = padding(x.shape[-2]), padding(x.shape[-1])
    return F.pad(x, (*columns, *rows))


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Undoes `pad`."""
    top, left = padding(height)[0], padding(width)[0]
    return x[..., top : top + height, left : left + width]


class TorchVideo:
    """Segments a video frame by frame, with STM's memory of every fifth frame."""

    def __init__(self, model: TorchSTM, frame: Tensor, probs: Tensor) -> None:
        self._model, self._frame, self._probs = model, frame, probs
        self._stored: tuple[Tensor, Tensor] | None = None
        self._time = 0

    def step(self, frame: Tensor) -> Tensor:
        """Probabilities of the next frame."""
        model = self._model
        memory = model.memorize(self._frame, self._probs)
        if self._stored is not None:
            memory = appended(self._stored, memory)
        query = model.encode(frame)
        read = model.read(memory, query)
        size = (frame.shape[-2], frame.shape[-1])
        probs = model.decode(read, query, size)
        if self._time % _EVERY == 0:
            self._stored = memory
        self._frame, self._probs = frame, probs
        self._time += 1
        return probs


def appended(
    stored: tuple[Tensor, Tensor], latest: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Both memories along time."""
    key, value = (torch.cat(pair, 2) for pair in zip(stored, latest, strict=True))
    return key, value


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


def torch_model(method: Method, variables: Any) -> TorchSTM:
    """The PyTorch program with the same weights under their published names."""
    model = TorchSTM(method.config).eval()
    arrays = export("stm", method, variables)
    state = {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    fixed = ("num_batches_tracked", "mean", "std")
    lost = [name for name in missing if name.rpartition(".")[2] not in fixed]
    if lost or unexpected:
        raise SystemExit(f"names differ: missing {lost}, unexpected {unexpected}")
    return model


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
        frame, masks = ground.copy(), []
        for centre, colour in zip(centres, colours, strict=True):
            shift = 0.02 * width * time_index
            inside = np.hypot(y - centre[0], x - centre[1] - shift) < radius
            masks = [mask & ~inside for mask in masks] + [inside]
            frame[inside] = colour
        if time_index == 0:
            first = np.stack(masks)
        frames.append(frame)
    return Clip(np.stack(frames).astype(np.float32), first.astype(np.float32))


def chw(image: np.ndarray) -> Tensor:
    """A frame as PyTorch has it."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def given(clip: Clip) -> np.ndarray:
    """The first frame's probabilities, background first."""
    background = np.clip(1 - clip.masks.sum(0, keepdims=True), 0, 1)
    return np.concatenate([background, clip.masks])


def check(method: Method, variables: Any, model: TorchSTM, clip: Clip) -> None:
    """Both programs on the clip; ends the process when they disagree."""
    state = start(method, variables, clip.frames[0], clip.masks)
    video = TorchVideo(model, chw(clip.frames[0]), torch.from_numpy(given(clip)))
    step = jax.jit(partial(step_traced, method))
    worst, spread = 0.0, 0.0
    for frame in clip.frames[1:]:
        state, out = step(variables, state, jnp.asarray(frame))
        theirs = video.step(chw(frame)).numpy()
        worst = max(worst, float(np.abs(np.asarray(out.probs) - theirs).max()))
        spread = float(theirs[1:].std())
    objects, count = len(clip.masks), len(clip.frames) - 1
    print(
        f"{objects} objects, {count} frames: probabilities differ by {worst:.1e} at"
        f" most (their standard deviation is {spread:.2g})"
    )
    if not worst <= _TOLERANCE:
        raise SystemExit(f"the programs disagree: more than {_TOLERANCE:g}")


Calls = Mapping[str, tuple[Callable[[], Any], Callable[[], Any]]]


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


def stages(
    method: Method, variables: Any, model: TorchSTM, clip: Clip, count: int
) -> Calls:
    """Each stage as a pair of calls, ours first; the read is over `count` frames."""
    objects = len(clip.masks)
    state = filled_state(method, variables, clip, count)
    frame = jnp.asarray(clip.frames[1])
    encode = jax.jit(partial(_encode, method))
    memorize = jax.jit(partial(_memorize, method), donate_argnums=1)
    segment = jax.jit(partial(_segment, method))
    read = jax.jit(partial(_read, method))
    step = jax.jit(partial(step_traced, method), donate_argnums=1)
    query = encode(variables, frame)
    memory = memorize(variables, _copied(state.memory), state)
    held = {"memory": _copied(state.memory), "state": _copied(state)}

    def our_memorize() -> Any:
        held["memory"] = memorize(variables, held["memory"], state)
        return held["memory"]

    def our_step() -> Any:
        # Time stands still: every call replaces the same previous frame.
        after, out = step(variables, held["state"], frame)
        held["state"] = after._replace(time=jnp.int32(1))
        return out

    torch_frame, probs = chw(clip.frames[1]), torch.from_numpy(given(clip))
    torch_query = model.encode(torch_frame)
    stored = stored_memory(model, torch_frame, probs, count - 1)
    torch_memory = appended(stored, model.memorize(torch_frame, probs))
    torch_read = model.read(torch_memory, torch_query)
    size = clip.frames.shape[1], clip.frames.shape[2]

    def torch_step() -> Any:
        latest = model.memorize(torch_frame, probs)
        memory = appended(stored, latest)
        query = model.encode(torch_frame)
        return model.decode(model.read(memory, query), query, size)

    assert objects == len(torch_read)
    return {
        "memorize": (our_memorize, lambda: model.memorize(torch_frame, probs)),
        "encode": (
            lambda: encode(variables, frame),
            lambda: model.encode(torch_frame),
        ),
        "read": (
            lambda: read(memory, query),
            lambda: model.read(torch_memory, torch_query),
        ),
        "read and decode": (
            lambda: segment(variables, memory, query, state),
            lambda: model.decode(
                model.read(torch_memory, torch_query), torch_query, size
            ),
        ),
        "frame": (our_step, torch_step),
    }


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def filled_state(method: Method, variables: Any, clip: Clip, count: int) -> State:
    """A state with `count - 1` frames in its memory; the step adds the last one."""
    frames = _EVERY * (count - 2) + 1
    state = start(method, variables, clip.frames[0], clip.masks, frames=frames)
    memorize = jax.jit(partial(_memorize, method))
    for index in range(count - 1):
        state = state._replace(
            memory=memorize(variables, state.memory, state),
            first=jnp.zeros_like(state.first),
            time=jnp.int32(_EVERY * (index + 1)),
        )
    return state._replace(time=jnp.int32(1))


def stored_memory(
    model: TorchSTM, frame: Tensor, probs: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """PyTorch's memory of `count` frames."""
    key, value = model.memorize(frame, probs)
    return key.repeat(1, 1, count, 1, 1), value.repeat(1, 1, count, 1, 1)


def _encode(method: Method, variables: Any, frame: Any) -> Any:
    return method.apply(variables, frame, method="encode").query  # type: ignore[union-attr]


def _memorize(method: Method, variables: Any, memory: Any, state: State) -> Any:
    moment = Moment(state.time, state.active, state.first, state.corrected)
    arguments = memory, state.frame, state.keep, state.probs, moment
    return method.apply(variables, *arguments, method="memorize")


def _read(method: Method, memory: Any, query: Any) -> Any:
    entries, config = memory.bank.entries, method.config
    return space_time_read(
        query.key,
        entries.key,
        entries.value,
        memory.bank.filled,
        implementation=config.read,
        precision=config.precision,
    )


def _segment(
    method: Method, variables: Any, memory: Any, query: Any, state: State
) -> Any:
    logits, _ = method.apply(
        variables, memory, query, state.frame, state.active, method="segment"
    )
    return jax.nn.softmax(logits, axis=0)


def alternate(calls: Calls, objects: int, repeats: int) -> list[Row]:
    """Medians of both programs' stages; their calls take turns."""
    rows = []
    for name, (ours, theirs) in calls.items():
        jax.block_until_ready(ours())
        theirs()
        mine: list[float] = []
        other: list[float] = []
        for _ in range(repeats):
            for call, times in ((ours, mine), (theirs, other)):
                started = time.perf_counter()
                jax.block_until_ready(call())
                times.append(1e3 * (time.perf_counter() - started))
        medians = statistics.median(mine), statistics.median(other)
        rows.append(Row(objects, name, *medians, medians[1] / medians[0], repeats))
    return rows


def main() -> None:
    """Checks, times, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=480, help="height; 16:9 width")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--frames", type=int, default=5, help="frames in the memory, at least 2"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch's other memory layout"
    )
    parser.add_argument("--width", type=int, default=64, help="of the ResNets")
    parser.add_argument("--out", type=Path, help="folder for CSV and JSON")
    args = parser.parse_args()
    if args.frames < 2:
        parser.error("--frames: use at least 2")
    torch.set_num_threads(args.threads)
    shape = (args.size, round(args.size * 854 / 480))
    method = vos_jax.create("stm", backbone=ResNetConfig(width=args.width))
    variables = random_variables(method)
    model = torch_model(method, variables)
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    method, variables = vos_jax.inference_form(method, variables)
    rows: list[Row] = []
    print(describe(machine()))
    print(f"torch {torch.__version__}, {args.threads} threads")
    with torch.inference_mode():
        for objects in args.objects:
            clip = make_clip(*shape, objects, 4)
            check(method, variables, model, clip)
            calls = stages(method, variables, model, clip, args.frames)
            rows += alternate(calls, objects, args.repeats)
    print(f"\n{shape[1]}x{shape[0]}, {args.frames} memory frames, float32\n")
    print(text_table(rows))
    if args.out:
        notes = {
            "torch": torch.__version__,
            "threads": args.threads,
            "channels_last": args.channels_last,
            "size": shape,
            "memory_frames": args.frames,
        }
        write_table(args.out, "stm_vs_torch", rows, notes)


if __name__ == "__main__":
    main()
