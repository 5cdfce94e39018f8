"""The command line: `vos-jax`, or `python -m vos_jax`."""

import argparse
import sys
from collections.abc import Sequence

from vos_jax.cli import (
    annotate,
    bench,
    convert,
    data,
    demo,
    evaluate,
    export,
    export_program,
    options,
    propose,
    report,
    score,
    segment,
    segment_many,
    train,
)
from vos_jax.cli.script import run_script

_COMMANDS = (
    demo,
    segment,
    segment_many,
    annotate,
    convert,
    evaluate,
    score,
    report,
    train,
    export,
    export_program,
    propose,
    data,
    bench,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Returns:
      0 on full success, 2 for bad usage or input, 130 when interrupted.
    """
    parser = make_parser()
    args = parser.parse_args(_dashed(sys.argv[1:] if argv is None else argv))
    return run_script("vos-jax", lambda: args.run(args), args.debug)


def make_parser() -> argparse.ArgumentParser:
    """The parser of every subcommand."""
    parser = argparse.ArgumentParser(
        prog="vos-jax",
        description="Semi-supervised video object segmentation by memory networks.",
        epilog="Begin with: vos-jax demo",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        subparser = subparsers.add_parser(
            command.__name__.rpartition(".")[2].replace("_", "-"),
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=f"example: {command.EXAMPLE}",
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        options.add_debug_option(subparser)
    return parser


def _dashed(argv: Sequence[str]) -> list[str]:
    """Options may be typed with `_`, as users of the published programs do."""
    dashed = []
    for argument in argv:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
        dashed.append(argument)
    return dashed
