"""The command line: `vos-jax`, or `python -m vos_jax`."""

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType

from vos_jax.cli import (
    bench,
    convert,
    data,
    demo,
    evaluate,
    export,
    score,
    segment,
    train,
)
from vos_jax.errors import InputError

_COMMANDS = (demo, segment, convert, evaluate, score, train, export, data, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Returns:
      0 on full success, 2 for bad usage or input, 130 when interrupted.
    """
    parser = _parser()
    args = parser.parse_args(_dashed(sys.argv[1:] if argv is None else argv))
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        args.run(args)
        sys.stdout.flush()
    except InputError as error:
        if args.debug:
            traceback.print_exc()
        print(f"vos-jax: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if args.debug:
            traceback.print_exc()
        print("vos-jax: interrupted; what is written is whole", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe left; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vos-jax",
        description="Semi-supervised video object segmentation by memory networks.",
        epilog="Begin with: vos-jax demo",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        subparser = subparsers.add_parser(
            command.__name__.rpartition(".")[2],
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=f"example: {command.EXAMPLE}",
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        subparser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
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


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
