"""`vos-jax segment`: masks for a video."""

import argparse
from pathlib import Path
from typing import Any

from vos_jax.cli import options

SUMMARY = "Segment a video or a folder of frames, given the first frame's mask."
EXAMPLE = (
    "vos-jax segment my.mp4 --mask first.png --method stm --weights stm.safetensors"
    " --out out/ --overlay"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="video file or folder of frames"
    )
    parser.add_argument(
        "--mask",
        type=Path,
        required=True,
        metavar="PATH",
        help="mask of the first frame, or a folder of masks named like frames",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="masks go to DIR/masks, where those of an earlier run make way for them",
    )
    options.add_model_options(parser)
    add_job_options(parser, "DIR")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with an interrupted run of the same input and options",
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="divide the memory of the video between N devices of this machine, for one"
        " that is too large for a single one (1)",
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def add_job_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """What one video and many take alike; results of a video go to `folder`."""
    parser.add_argument(
        "--reverse",
        action="store_true",
        help="go backwards from the last frame, whose mask is given",
    )
    parser.add_argument(
        "--save-scores",
        action="store_true",
        help=f"write probabilities to {folder}/scores",
    )
    parser.add_argument(
        "--overlay", action="store_true", help=f"write {folder}/overlay.mp4 as well"
    )
    options.add_damaged_option(parser)


def job_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of a `SegmentJob` that these options and those of the model give."""
    names = ("inputs", "size", "flip", "reverse", "save_scores", "overlay")
    return {name: getattr(args, name) for name in (*names, "allow_damaged")}


def run(args: argparse.Namespace) -> None:
    """Segments and reports."""
    options.positive(args, "size", "devices")
    from vos_jax.inference.files import SegmentJob, segment_files
    from vos_jax.inference.over_devices import over_devices

    model = options.load_model_of(args)
    method = over_devices(model.method, args.devices)
    job = SegmentJob(
        input=args.input,
        mask=args.mask,
        out=args.out,
        resume=args.resume,
        title=model.title,
        **job_fields(args),
    )
    report = segment_files(method, model.variables, job, model.weights_id)
    figures = {"masks": str(args.out / "masks"), **report._asdict()}
    options.print_figures(figures, args.json)
