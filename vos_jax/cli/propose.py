"""`vos-jax propose`: object proposals of a detector, in a file."""

import argparse
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_jax.cli import options
from vos_jax.errors import InputError

if TYPE_CHECKING:
    from vos_jax.data.detector.groups import Group

SUMMARY = "Find object proposals in frames with a Mask R-CNN, for --proposals."
EXAMPLE = (
    "vos-jax propose --dataset davis2017 --root DAVIS --split val"
    " --weights maskrcnn.pth --out proposals.json"
)

_BACKBONES = ("resnext101_32x8d", "resnet50")
_DATASETS = ("davis2016", "davis2017", "youtube-vos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "input", type=Path, nargs="?", metavar="INPUT", help="video or folder of frames"
    )
    parser.add_argument(
        "--stills",
        action="store_true",
        help="INPUT is a folder of images of any sizes, COCO's train2017, say",
    )
    parser.add_argument(
        "--dataset", choices=_DATASETS, help="instead of INPUT, a data set"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="of the data set")
    parser.add_argument("--split", metavar="NAME", help="val, say")
    parser.add_argument(
        "--resolution", metavar="NAME", help="DAVIS' resolution folder; default 480p"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="PATH",
        help="state dict of torchvision's Mask R-CNN, a file of yours: .pth or"
        " .safetensors; nothing is downloaded",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="NAME.json for all, or a folder: one file for each sequence, or for 1000"
        " images; a run that was stopped goes on where it was",
    )
    parser.add_argument(
        "--backbone", choices=_BACKBONES, help="by default what the weights say"
    )
    parser.add_argument(
        "--classes",
        type=int,
        choices=(91, 2),
        help="COCO's, or background and object after tuning; by default what the"
        " weights say",
    )
    parser.add_argument(
        "--eps",
        type=float,
        metavar="X",
        help="of the frozen norms; by default 0 for torchvision's own ResNet-50 file,"
        " what a tuned file says, and 1e-5 for all others",
    )
    parser.add_argument(
        "--score-threshold", type=float, default=0.0, metavar="X", help="default 0"
    )
    parser.add_argument(
        "--batch", type=int, default=4, metavar="N", help="frames at once (4)"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu or cuda; by default cuda where it is"
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Detects and reports."""
    options.positive(args, "batch")
    groups = _groups(args)
    detect, settings = _detector(args)
    from vos_jax.data.detector.run import propose
    from vos_jax.runtime.progress import Progress

    total = sum(len(group.images) for group in groups)
    print(_title(settings, total, args.batch), file=sys.stderr)
    device = settings.pop("device")
    with Progress("propose", total) as progress:
        done = propose(
            *(detect, groups, args.out),
            settings=settings,
            batch=args.batch,
            tell=progress.update,
        )
    figures = {
        "written": str(args.out),
        "images": done.images,
        "new_images": done.new,
        "proposals_per_image": done.results / done.new if done.new else float("nan"),
        "detector_seconds_per_image": done.detector_seconds,
        "device": device,
        **settings,
    }
    options.print_figures(figures, args.json)


def _title(settings: dict[str, Any], total: int, batch: int) -> str:
    kind = f"Mask R-CNN {settings['backbone']}, {settings['classes']} classes"
    return f"propose: {kind}, {total} frames, {batch} at once on {settings['device']}"


def _groups(args: argparse.Namespace) -> "list[Group]":
    """What the options name."""
    from vos_jax.data.detector.groups import (
        sequence_group,
        still_groups,
        video_group,
    )
    from vos_jax.evaluation import read_dataset

    if (args.input is None) == (args.dataset is None):
        raise InputError("give INPUT, or --dataset with --root and --split")
    if args.input is not None:
        given = [name for name in ("root", "split", "resolution") if vars(args)[name]]
        if given:
            raise InputError(f"--{given[0]} belongs to --dataset; leave it out")
        return still_groups(args.input) if args.stills else [video_group(args.input)]
    if args.stills:
        raise InputError("--stills belongs to INPUT; leave it out")
    if args.root is None or args.split is None:
        raise InputError("--dataset needs --root and --split")
    sequences = read_dataset(
        args.dataset, args.root, args.split, resolution=args.resolution
    )
    return [sequence_group(each.name, each.frames) for each in sequences]


def _detector(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The detector, and what its results depend on."""
    from vos_jax.convert.state_dict import read_state_dict
    from vos_jax.data.detector import network
    from vos_jax.data.detector.weights import (
        NORM_EPS_KEY,
        backbone_of,
        classes_of,
        default_eps,
    )

    network.import_torch()
    arrays = read_state_dict(args.weights)
    noted = arrays.pop(NORM_EPS_KEY, None)
    eps = default_eps(args.weights) if noted is None else float(noted)
    config = network.DetectorConfig(
        backbone=args.backbone or backbone_of(arrays),
        classes=args.classes or classes_of(arrays, args.weights),
        eps=eps if args.eps is None else args.eps,
        score_threshold=args.score_threshold,
    )
    built = network.build(config)
    network.load(built, arrays, args.weights)
    device = args.device or network.default_device()
    settings = {
        "detector": "torchvision Mask R-CNN",
        "backbone": config.backbone,
        "classes": config.classes,
        "eps": config.eps,
        "score_threshold": config.score_threshold,
        "weights": f"{zlib.crc32(args.weights.read_bytes()):08x}",
        "device": device,
    }
    return network.Detector(built, device), settings
