"""Options that say how many videos are spread over devices and machines."""

import argparse
from typing import Any

from vos_jax.cli import options


def add_spread_options(parser: argparse.ArgumentParser) -> None:
    """`--devices`, `--videos`, `--shard` and `--keep-going`."""
    parser.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="work on the first N devices of this machine, a loop for each (all)",
    )
    parser.add_argument(
        "--videos",
        type=int,
        default=1,
        metavar="N",
        help="segment N videos of one size at once on each device, in one program (1)",
    )
    parser.add_argument(
        "--shard",
        metavar="I/K",
        help="do the I-th of K shares, I from 1 to K; other processes, here or"
        " elsewhere, do the others",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="do the other videos when one cannot be done; the exit code is 2 even so",
    )


def spread_of(args: argparse.Namespace) -> Any:
    """How these options spread videos."""
    options.positive(args, "videos")
    from vos_jax.inference.many.videos import Spread, local_devices

    return Spread(local_devices(args.devices), args.videos, args.keep_going)


def shard_of(args: argparse.Namespace) -> Any:
    """The share that `--shard` names; None for all."""
    from vos_jax.inference.many.shards import parse_shard

    return parse_shard(args.shard)
