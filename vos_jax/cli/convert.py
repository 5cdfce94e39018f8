"""`vos-jax convert`: published weights to a weights file."""

import argparse
from pathlib import Path

from vos_jax.cli import names, options

SUMMARY = "Convert a published PyTorch checkpoint into a .safetensors weights file."
EXAMPLE = "vos-jax convert stm STM_weights.pth stm.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "method",
        metavar="METHOD",
        help=f"the method whose weights they are: {', '.join(names.METHODS)};"
        f" {options.METHOD_FILE}; or, to begin training with, an ImageNet network in"
        " torchvision's naming:"
        f" {', '.join(names.BACKBONES)}",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help=".pth, or .npz or .safetensors with the same names",
    )
    parser.add_argument(
        "target", type=Path, metavar="DST.safetensors", help="weights file to write"
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Converts and reports."""
    from vos_jax.methods.weights import convert

    figures = convert(args.method, args.source, args.target)
    options.print_figures({"written": str(args.target), **figures}, args.json)
