r"""DMN-AOA, sec. 4.1: tunes the detector of the proposals on videos with masks.

    python experiments/dmn_aoa/tune_detector.py --dataset youtube-vos \
        --root YouTubeVOS --weights maskrcnn.pth --workdir runs/detector
    vos-jax propose --dataset davis2017 --root DAVIS --split val \
        --weights runs/detector/detector.pth --out proposals.json

torchvision's Mask R-CNN with the classes of COCO becomes one of background and
"object", whose heads start from the mean of the 80 classes'. SGD, batch 8, rate 1e-6
(paper); momentum 0.9, weight decay 1e-4, constant rate, one pass over the annotated
frames in random order, flipped half of the time (ours). The paper tunes on YouTube-VOS;
its ablation D1 on DAVIS 2017. A run that was stopped goes on from its last checkpoint.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.convert.state_dict import read_state_dict
from vos_jax.data.detector.network import (
    DetectorConfig,
    build,
    default_device,
    import_torch,
    load,
)
from vos_jax.data.detector.weights import (
    BACKBONES,
    NORM_EPS_KEY,
    OBJECT_CLASSES,
    backbone_of,
    classes_of,
    default_eps,
    to_one_class,
)
from vos_jax.data.source import Source
from vos_jax.data.sources import open_source
from vos_jax.errors import InputError
from vos_jax.media import atomic_path, prefetch
from vos_jax.media.lock import lock_folder
from vos_jax.runtime.interrupt import delayed_signals
from vos_jax.runtime.progress import Progress
from vos_jax.types import IGNORE

_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4
_FLIP = 0.5
_CHECKPOINT, _LOG, _RESULT = "checkpoint.pth", "log.jsonl", "detector.pth"


class Example(NamedTuple):
    """An annotated frame: uint8 `[H, W, 3]`, and masks bool `[O, H, W]`, O >= 1."""

    frame: np.ndarray
    masks: np.ndarray


class Batch(NamedTuple):
    """Examples, and how many frames of the pass are used up with them."""

    examples: list[Example]
    used: int


# Data


def frames_of(source: Source) -> list[tuple[int, int]]:
    """Every annotated frame: indices of its video and in it."""
    return [
        (video, time)
        for video, listed in enumerate(source.videos)
        for time in range(listed.length)
    ]


def batches(
    source: Source, seed: Sequence[int], size: int, used: int = 0
) -> Iterator[Batch]:
    """One pass in random order; frames without an object are left out.

    Args:
      source: Of the frames.
      seed: Of the order and the flips.
      size: Of a batch; the last one may have fewer.
      used: Frames to begin after.
    """
    frames = frames_of(source)
    order = np.random.default_rng(seed).permutation(len(frames))
    examples: list[Example] = []
    for place in range(used, len(order)):
        number = int(order[place])
        example = read_example(source, *frames[number], seed=[*seed, number])
        if example is not None:
            examples.append(example)
        if len(examples) == size:
            yield Batch(examples, place + 1)
            examples = []
    if examples:
        yield Batch(examples, len(order))


def read_example(
    source: Source, video: int, time: int, seed: Sequence[int]
) -> Example | None:
    """A frame, flipped or not, and its objects' masks; None without objects."""
    frames, labels = source.read(video, [time])
    ids = np.setdiff1d(labels[0], [0, IGNORE])
    if not ids.size:
        return None
    masks = labels[0] == ids[:, None, None]
    frame = frames[0]
    if np.random.default_rng(seed).random() < _FLIP:
        frame, masks = frame[:, ::-1], masks[..., ::-1]
    return Example(frame, masks)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Tight boxes float32 `[O, 4]`, x0 y0 x1 y1 in pixels, of masks `[O, H, W]`."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


# Training


class Tuning:
    """The network, its optimizer, and where the run is.

    Attributes:
      network: In training.
      done: Passes that are over.
      used: Frames of the next one that are used up.
      step: Updates.
    """

    def __init__(self, network: Any, rate: float, device: str, seed: int) -> None:
        """Nothing is done yet."""
        self._torch = import_torch()
        self.network = network.to(device).train()
        trained = [p for p in network.parameters() if p.requires_grad]
        self._optimizer = self._torch.optim.SGD(
            trained, lr=rate, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
        )
        self._device, self._seed = device, seed
        self.done = self.used = self.step = 0

    def update(self, batch: Batch) -> dict[str, float]:
        """One update; returns the losses and, as `loss`, their sum."""
        torch = self._torch
        # The network draws what it learns from: the same in a run that goes on.
        torch.manual_seed(self._seed + self.step)
        images, targets = self._on_device(batch.examples)
        losses = self.network(images, targets)
        total = sum(losses.values())
        self._optimizer.zero_grad()
        total.backward()
        self._optimizer.step()
        self.step, self.used = self.step + 1, batch.used
        told = {"loss": total, **losses}
        return {name: float(value.detach()) for name, value in told.items()}

    def _on_device(self, examples: Sequence[Example]) -> tuple[list[Any], list[Any]]:
        torch, device = self._torch, self._device
        images, targets = [], []
        for frame, masks in examples:
            pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
            images.append(pixels.permute(2, 0, 1) / 255)
            targets.append(
                {
                    "boxes": torch.from_numpy(boxes_of(masks)).to(device),
                    "labels": torch.ones(len(masks), dtype=torch.int64, device=device),
                    "masks": torch.from_numpy(np.array(masks, np.uint8, order="C")).to(
                        device
                    ),
                }
            )
        return images, targets

    def save(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Writes a checkpoint."""
        content = {
            "settings": dict(settings),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "place": [self.done, self.used, self.step],
        }
        with atomic_path(path) as temporary:
            self._torch.save(content, temporary)

    def restore(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint.

        Raises:
          InputError: It is damaged, or of other settings.
        """
        try:
            content = self._torch.load(path, self._device, weights_only=True)
            found = content["settings"]
        except Exception as error:
            raise InputError(f"{path} is damaged; remove it to begin anew") from error
        if other := [k for k in settings if found.get(k) != settings[k]]:
            raise InputError(
                f"{path} is of a run with another {', '.join(other)}; use another"
                " --workdir"
            )
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
        self.done, self.used, self.step = content["place"]


def tune(
    tuning: Tuning,
    source: Source,
    workdir: Path,
    settings: Mapping[str, Any],
    *,
    checkpoint_every: int,
) -> None:
    """Makes all passes, with a line for each update in the log, and checkpoints.

    Args:
      tuning: Maybe restored.
      source: Of the frames.
      workdir: Of log and checkpoints.
      settings: With `passes`, `batch` and `seed`.
      checkpoint_every: Updates from one to the next.
    """
    total = len(frames_of(source))
    path = workdir / _CHECKPOINT
    _cut_log(workdir / _LOG, tuning.step)
    label = f"tune, {settings['passes']} x {total} frames"
    with (
        Progress(label, settings["passes"] * total) as progress,
        delayed_signals() as act,
        (workdir / _LOG).open("a") as log,
    ):
        progress.update(tuning.done * total + tuning.used)
        while tuning.done < settings["passes"]:
            seed = [settings["seed"], tuning.done]
            left = batches(source, seed, settings["batch"], tuning.used)
            for batch in prefetch(left):
                before = tuning.used
                losses = tuning.update(batch)
                log.write(json.dumps({"step": tuning.step, **losses}) + "\n")
                log.flush()
                progress.note = f"loss {losses['loss']:.3f}"
                progress.update(tuning.used - before)
                if tuning.step % checkpoint_every == 0:
                    tuning.save(path, settings)
                try:
                    act()
                except KeyboardInterrupt:
                    tuning.save(path, settings)
                    raise
            tuning.done, tuning.used = tuning.done + 1, 0
            tuning.save(path, settings)


def _cut_log(path: Path, steps: int) -> None:
    """Leaves the lines of the steps that the run goes on after."""
    with suppress(FileNotFoundError):
        lines = path.read_text().splitlines(keepends=True)[:steps]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(lines))


# The command line


def starting_network(weights: Path, backbone: str | None, size: int) -> tuple[Any, Any]:
    """A network for one class from a file of COCO's classes, or of one already.

    Args:
      weights: Of torchvision's Mask R-CNN.
      backbone: By default what the weights say.
      size: Of the shorter side that frames are resized to, in pixels.

    Returns:
      The network, and its configuration.
    """
    import_torch()
    arrays = read_state_dict(weights)
    noted = arrays.pop(NORM_EPS_KEY, None)
    if classes_of(arrays, weights) != OBJECT_CLASSES:
        arrays = to_one_class(arrays)
    default = DetectorConfig()
    config = DetectorConfig(
        backbone=backbone or backbone_of(arrays),
        classes=OBJECT_CLASSES,
        eps=default_eps(weights) if noted is None else float(noted),
        shorter_side=size,
        longer_side=round(size * default.longer_side / default.shorter_side),
    )
    network = build(config)
    load(network, arrays, weights)
    return network, config


def save_result(path: Path, network: Any, eps: float) -> None:
    """Writes a state dict with torchvision's names, and the norms' eps beside them."""
    torch = import_torch()
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    state[NORM_EPS_KEY] = torch.tensor(eps, dtype=torch.float64)
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--dataset", choices=("youtube-vos", "davis2017"), default="youtube-vos"
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", default="train", metavar="NAME")
    parser.add_argument("--weights", type=Path, required=True, metavar="PATH")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--passes", type=int, default=1, metavar="N")
    parser.add_argument("--rate", type=float, default=1e-6, metavar="X")
    parser.add_argument("--batch", type=int, default=8, metavar="N")
    parser.add_argument(
        "--size", type=int, default=800, metavar="N", help="of the shorter side (800)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="N")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda")
    options.add_debug_option(parser)
    args = parser.parse_args(argv)
    return run_script("tune_detector", lambda: _run(args), args.debug)


def _run(args: argparse.Namespace) -> None:
    options.positive(args, "passes", "batch", "size", "checkpoint_every")
    source = open_source(args.dataset, args.root, split=args.split)
    network, config = starting_network(args.weights, args.backbone, args.size)
    settings = {
        **{name: vars(args)[name] for name in ("dataset", "split", "passes", "rate")},
        **{name: vars(args)[name] for name in ("batch", "size", "seed")},
        "backbone": config.backbone,
        "frames": len(frames_of(source)),
        "weights": f"{zlib.crc32(args.weights.read_bytes()):08x}",
    }
    device = args.device or default_device()
    tuning = Tuning(network, args.rate, device, args.seed)
    print(f"tune_detector: {config.backbone} on {device}", file=sys.stderr)
    with lock_folder(args.workdir):
        if (args.workdir / _CHECKPOINT).exists():
            tuning.restore(args.workdir / _CHECKPOINT, settings)
        every = args.checkpoint_every
        tune(tuning, source, args.workdir, settings, checkpoint_every=every)
        save_result(args.workdir / _RESULT, tuning.network, config.eps)
    print(f"written: {args.workdir / _RESULT}")


if __name__ == "__main__":
    sys.exit(main())
