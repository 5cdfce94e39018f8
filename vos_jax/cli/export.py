"""`vos-jax export`: the weights of a training run."""

import argparse
from pathlib import Path

from vos_jax.cli import options
from vos_jax.errors import InputError

SUMMARY = "Write the weights of a training checkpoint as a .safetensors file."
EXAMPLE = "vos-jax export runs/stm stm.safetensors --step best"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "workdir", type=Path, metavar="WORKDIR", help="of `vos-jax train`"
    )
    parser.add_argument(
        "target", type=Path, metavar="OUT.safetensors", help="weights file to write"
    )
    parser.add_argument(
        "--step",
        default="newest",
        metavar="N|best|newest",
        help="which checkpoint; best is by validation (newest)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store kernels in float16, to three digits: half the file; they are"
        " computed with in --dtype as ever",
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Exports and reports."""
    if not (args.step in ("best", "newest") or args.step.isdecimal()):
        raise InputError(f"--step {args.step}: use a step, best or newest")
    from vos_jax.training.export import export_weights

    which = int(args.step) if args.step.isdecimal() else args.step
    figures = export_weights(args.workdir, args.target, which, args.half)
    options.print_figures({"written": str(args.target), **figures}, args.json)
