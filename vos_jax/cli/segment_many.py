"""`vos-jax segment-many`: masks for many videos."""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vos_jax.cli import options
from vos_jax.cli.segment import add_job_options, job_fields
from vos_jax.cli.spread_options import add_spread_options, shard_of, spread_of

if TYPE_CHECKING:
    from vos_jax.inference.many.videos import Outcome

SUMMARY = "Segment many videos, on all devices of this machine or of many."
EXAMPLE = (
    "vos-jax segment-many videos/ --masks first_masks/ --method stm --weights"
    " stm.safetensors --out out/ --videos 4 --keep-going"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "list",
        type=Path,
        metavar="LIST",
        help="folder of videos or of folders of frames; or a text file with a line for"
        " each: VIDEO, then behind tabs, where wanted, MASK and NAME",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="masks of the videos that name none: NAME.png of the first frame, or a"
        " folder NAME of several",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="masks go to DIR/NAME/masks; a run into the same DIR goes on where one"
        " stopped",
    )
    add_spread_options(parser)
    options.add_model_options(parser)
    add_job_options(parser, "DIR/NAME")
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Segments and reports."""
    options.positive(args, "size")
    from vos_jax.inference.files import SegmentJob
    from vos_jax.inference.many.files import segment_many
    from vos_jax.inference.many.videos import raise_failures
    from vos_jax.media.video_list import read_video_list

    listed = read_video_list(args.list, args.masks)
    shard = shard_of(args)
    spread = spread_of(args)
    model = options.load_model_of(args)
    jobs = {
        video.name: SegmentJob(
            input=video.video,
            mask=video.mask,
            out=args.out / video.name,
            resume=True,
            start_over=f"remove {args.out / video.name}",
            **job_fields(args),
        )
        for video in listed
    }
    started = time.monotonic()
    outcomes = segment_many(
        *(model.method, model.variables, jobs, args.out),
        weights_id=model.weights_id,
        spread=spread,
        shard=shard,
        title=model.title,
    )
    _print(args, outcomes, time.monotonic() - started)
    raise_failures(outcomes)


class _Row(NamedTuple):
    """A video of the table at the end."""

    video: str
    frames: int | None
    seconds: float | None
    frames_per_second: float | None
    error: str | None


def _print(
    args: argparse.Namespace, outcomes: Sequence["Outcome"], seconds: float
) -> None:
    from vos_jax.runtime.text_table import text_table

    rows = [_row(outcome) for outcome in outcomes]
    frames = sum(row.frames or 0 for row in rows)
    figures = {
        "out": str(args.out),
        "videos": len(rows),
        "not_done": sum(row.error is not None for row in rows),
        "frames": frames,
        "seconds": seconds,
        "frames_per_second": frames / seconds,
    }
    if args.json:
        each = [row._asdict() for row in rows]
        options.print_figures({**figures, "each": each}, as_json=True)
    else:
        short = [row._replace(error=row.error and "not done") for row in rows]
        print(text_table(short))
        options.print_figures(figures, as_json=False)


def _row(outcome: "Outcome") -> _Row:
    report, error = outcome.report, outcome.error
    if report is None:
        return _Row(outcome.name, None, None, None, str(error))
    rate = None if math.isnan(report.frames_per_second) else report.frames_per_second
    return _Row(outcome.name, report.frames, report.seconds, rate, None)
