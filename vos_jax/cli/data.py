"""`vos-jax data`: look at what training sees."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vos_jax.cli import options
from vos_jax.data.literal import literal
from vos_jax.errors import InputError

SUMMARY = "Show the batches that training draws from a data set."
EXAMPLE = (
    "vos-jax data show --source static --root ECSSD --recipe static --out batch.png"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what there is to do with data and its options."""
    kinds = parser.add_subparsers(metavar="show", required=True)
    show = kinds.add_parser(
        "show",
        help="draw one batch, a row for each clip, masks over frames",
        epilog=f"example: {EXAMPLE}",
        allow_abbrev=False,
    )
    show.add_argument("--source", required=True, metavar="NAME", help="kind of data")
    show.add_argument("--root", type=Path, metavar="DIR", help="where the data are")
    show.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of that kind of data, such as split=val; may be repeated",
    )
    show.add_argument("--recipe", choices=("static", "video"), default="video")
    show.add_argument("--out", type=Path, required=True, metavar="PNG")
    show.add_argument("--seed", type=int, default=0, metavar="S")
    show.add_argument("--step", type=int, default=0, metavar="N")
    show.add_argument("--batch", type=int, default=4, metavar="N", help="clips (4)")
    show.add_argument("--frames", type=int, default=3, metavar="T")
    show.add_argument("--size", type=int, default=384, metavar="N", help="pixels (384)")
    show.add_argument("--objects", type=int, default=3, metavar="O")
    show.add_argument(
        "--skip", type=int, metavar="N", help="largest skip, instead of the step's"
    )
    options.add_debug_option(show)
    show.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draws the batch."""
    options.positive(args, "batch")
    from vos_jax.data.clips import Clips
    from vos_jax.data.recipes import Recipe, StaticRecipe, VideoRecipe
    from vos_jax.data.show import write_batch
    from vos_jax.data.sources import open_source

    try:
        source = open_source(args.source, args.root, **parsed_options(args.option))
    except TypeError as error:
        raise InputError(f"--option: {error}; give values of other types") from error
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
    clips = Clips(source, recipe, seed=args.seed, batch=args.batch)
    write_batch(args.out, clips, args.step)
    print(f"look at {args.out}")


def parsed_options(given: Sequence[str]) -> dict[str, Any]:
    """Python's literals by their names; what is none stays text."""
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--option {each}: write NAME=VALUE")
        values[name] = literal(text)
    return values
