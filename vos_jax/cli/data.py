"""`vos-jax data`: look at what training sees."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vos_jax.cli import options
from vos_jax.data.literal import literal
from vos_jax.errors import InputError

SUMMARY = "Show the batches that training draws from a data set; its proposals."
EXAMPLE = (
    "vos-jax data show --source ecssd --root ECSSD --recipe static --out batch.png"
)

_PROPOSALS = "a file or folder of COCO results, or 'regions' for the region proposer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what there is to do with data and its options."""
    kinds = parser.add_subparsers(metavar="show|regions|quality", required=True)
    show = kinds.add_parser(
        "show",
        help="draw one batch, a row for each clip, masks over frames",
        epilog=f"example: {EXAMPLE}",
        allow_abbrev=False,
    )
    _add_source_options(show)
    show.add_argument("--recipe", choices=("static", "video"), default="video")
    show.add_argument(
        "--out", type=Path, required=True, metavar="PNG", help="picture to write"
    )
    show.add_argument("--seed", type=int, default=0, metavar="S")
    show.add_argument("--step", type=int, default=0, metavar="N")
    show.add_argument("--batch", type=int, default=4, metavar="N", help="clips (4)")
    show.add_argument("--frames", type=int, default=3, metavar="T")
    show.add_argument("--size", type=int, default=384, metavar="N", help="pixels (384)")
    show.add_argument("--objects", type=int, default=3, metavar="O")
    show.add_argument(
        "--skip", type=int, metavar="N", help="largest skip, instead of the step's"
    )
    show.add_argument(
        "--proposals", type=Path, metavar="PATH", help=f"draw them, too: {_PROPOSALS}"
    )
    options.add_debug_option(show)
    show.set_defaults(run=run)
    _add_regions(kinds)
    _add_quality(kinds)


def _add_regions(kinds: Any) -> None:
    regions = kinds.add_parser(
        "regions",
        help="write the region proposer's proposals of all frames",
        epilog="example: vos-jax data regions --source generated --option count=300"
        " --option length=12 --out regions.json",
        allow_abbrev=False,
    )
    _add_source_options(regions)
    regions.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="COCO results to write"
    )
    regions.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (1)"
    )
    options.add_debug_option(regions)
    regions.set_defaults(run=run_regions)


def _add_quality(kinds: Any) -> None:
    quality = kinds.add_parser(
        "quality",
        help="measure proposals against the labels of a data set",
        epilog="example: vos-jax data quality --source davis2017 --root DAVIS"
        " --option split=val --proposals proposals.json",
        allow_abbrev=False,
    )
    _add_source_options(quality)
    quality.add_argument(
        "--proposals", type=Path, required=True, metavar="PATH", help=_PROPOSALS
    )
    quality.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th frame (1)"
    )
    options.add_json_option(quality)
    options.add_debug_option(quality)
    quality.set_defaults(run=run_quality)


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, metavar="NAME", help="kind of data")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the data are")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of that kind of data, such as split=val; may be repeated",
    )


def run(args: argparse.Namespace) -> None:
    """Draws the batch."""
    options.positive(args, "batch")
    from vos_jax.data.clip_inputs import ClipInputs
    from vos_jax.data.clips import Clips
    from vos_jax.data.proposals import open_proposals
    from vos_jax.data.recipes import Recipe, StaticRecipe, VideoRecipe
    from vos_jax.data.show import write_batch

    source = _open_source(args)
    shape = {
        "frames": args.frames,
        "size": (args.size, args.size),
        "objects": args.objects,
    }
    recipe: Recipe
    if args.recipe == "static":
        recipe = StaticRecipe(**shape)
    elif args.skip is None:
        recipe = VideoRecipe(**shape)
    else:
        recipe = VideoRecipe(**shape, max_skip=args.skip, skip_steps=0)
    inputs = None
    if args.proposals is not None:
        inputs = ClipInputs([(source, open_proposals(args.proposals))])
    clips = Clips(source, recipe, seed=args.seed, batch=args.batch, inputs=inputs)
    write_batch(args.out, clips, args.step)
    print(f"look at {args.out}")


def run_regions(args: argparse.Namespace) -> None:
    """Writes the file."""
    options.positive(args, "workers")
    from vos_jax.data.proposals.stored import count_frames, write_regions
    from vos_jax.runtime.progress import Progress

    source = _open_source(args)
    with Progress("regions", count_frames(source)) as progress:
        count = write_regions(
            args.out, source, workers=args.workers, tell=progress.update
        )
    print(f"wrote proposals of {count} frames to {args.out}")


def run_quality(args: argparse.Namespace) -> None:
    """Measures, and prints the figures."""
    options.positive(args, "every")
    from vos_jax.data.proposals import open_proposals
    from vos_jax.data.proposals.stored import measure_quality
    from vos_jax.runtime.progress import Progress

    source = _open_source(args)
    reader = open_proposals(args.proposals)
    with Progress("quality", None) as progress:
        measured = measure_quality(
            source, reader, every=args.every, tell=progress.update
        )
    figures: dict[str, Any] = {
        "proposals": str(args.proposals),
        "identity": reader.identity,
        "frames": measured.used.frames,
        "objects": measured.used.objects,
    }
    for name, quality in zip(("best_30", "after_nms"), measured, strict=True):
        figures[f"{name}_mean_best_iou"] = quality.best_iou
        figures[f"{name}_share_above_half"] = quality.good
        figures[f"{name}_proposals_per_frame"] = quality.proposals
    options.print_figures(figures, args.json)


def _open_source(args: argparse.Namespace) -> Any:
    from vos_jax.data.sources import open_source

    try:
        return open_source(args.source, args.root, **parsed_options(args.option))
    except TypeError as error:
        raise InputError(f"--option: {error}; give values of other types") from error


def parsed_options(given: Sequence[str]) -> dict[str, Any]:
    """Python's literals by their names; what is none stays text."""
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--option {each}: write NAME=VALUE")
        values[name] = literal(text)
    return values
