"""`vos-jax train`: run an experiment."""

import argparse
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from vos_jax.cli import options
from vos_jax.errors import InputError

SUMMARY = "Train a method as an experiment file says; goes on where a run stopped."
EXAMPLE = "vos-jax train stm/main --data data/ --workdir runs/stm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    options.add_experiment_options(parser)
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="of the run, which it goes on from"
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="print all fields of the experiment, defaults and --set included, each as"
        " --set takes it, and train nothing",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="warn of files that cannot be read instead of stopping",
    )
    options.add_cache_option(parser)
    several = parser.add_argument_group(
        "several processes; launchers say it themselves"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    several.add_argument(
        "--processes", type=int, metavar="N", help="how many there are"
    )
    several.add_argument("--process", type=int, metavar="I", help="from 0")
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Trains and says where the weights are; or shows what it would do."""
    if args.show:
        _show(args)
        return
    if args.workdir is None:
        raise InputError(
            "--workdir is missing; name the folder of the run, or --show what it would"
            " do"
        )
    from vos_jax.runtime.distributed import initialize_distributed

    if not initialize_distributed(args.coordinator, args.processes, args.process):
        _train(args)
        return
    from vos_jax.runtime.interrupt import AgreedInterrupt

    try:
        _train(args)
    except AgreedInterrupt:
        raise
    except BaseException as error:
        _leave(error, args.debug)


def _show(args: argparse.Namespace) -> None:
    from vos_jax.training.experiment import describe, list_fields

    experiment = options.load_experiment_of(args)
    if args.json:
        options.print_figures(describe(experiment), as_json=True)
        return
    for line in list_fields(experiment):
        print(line)


def _train(args: argparse.Namespace) -> None:
    from vos_jax.training.loop import train

    options.use_cache_option(args)
    experiment = options.load_experiment_of(args)
    trained = train(experiment, args.workdir, args.data, skip_bad=args.skip_bad)
    figures = {"weights": str(trained.weights), "steps": trained.steps}
    if trained.best is not None:
        figures["best"] = str(trained.best)
    options.print_figures(figures | dict(trained.scores), args.json)


def _leave(error: BaseException, debug: bool) -> NoReturn:
    """Ends this process of several at once, with what `main` would have said.

    An orderly end waits for the other processes, and they wait for this one's part of
    the next step. They notice that it is gone.
    """
    status = 1
    if isinstance(error, InputError):
        status = 2
        print(f"vos-jax: error: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        status = 130
        print("vos-jax: interrupted; what is written is whole", file=sys.stderr)
    if debug or status == 1:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
