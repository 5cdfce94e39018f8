"""`vos-jax demo`: everything with nothing to download."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vos_jax.cli import options
from vos_jax.cli.about import with_maker
from vos_jax.cli.score import print_report
from vos_jax.errors import InputError

if TYPE_CHECKING:
    from vos_jax.inference.dataset import Progressed

SUMMARY = "Segment generated clips with the weights that ship; score and draw them."
EXAMPLE = "vos-jax demo --out demo/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    parser.add_argument(
        "--clips", type=int, default=3, metavar="N", help="number of clips (3)"
    )
    parser.add_argument(
        "--method",
        default="stm-tiny",
        metavar="NAME",
        help=f"one that brings weights (stm-tiny); {options.METHOD_FILE}",
    )
    parser.add_argument(
        "--theme",
        default="world",
        metavar="NAME",
        help="what the clips show: world (the default), lookalikes, thin, slow,"
        " leaving, busy, turning or shapes, which are simpler and smaller",
    )
    options.add_weights_option(parser)
    options.add_type_options(parser)
    options.add_set_option(parser, options.SET_METHOD)
    options.add_inputs_option(parser, "made of the frames by default")
    options.add_cache_option(parser)
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Runs the demo and says where to look."""
    options.positive(args, "clips")
    from vos_jax.inference.demo import run_demo
    from vos_jax.methods.weights import load_model

    options.use_cache_option(args)
    method, variables = load_model(
        args.method, args.weights, **options.overrides_of(args)
    )
    done: list[Progressed] = []
    try:
        report = run_demo(
            *(method, variables, args.out, args.clips),
            title=options.title(args.method, args.weights, args.inputs),
            inputs=args.inputs,
            theme=args.theme,
            tell=done.append,
        )
    except OSError as error:
        raise InputError(f"{args.out}: {error.strerror}; use another --out") from error
    report = with_maker(report, args.method, args.weights, method, done)
    print_report(report, args.out, args.json)
    if not args.json:
        print(f"\nlook at {args.out / 'sheet.png'} and {args.out / 'clip0.mp4'}")
