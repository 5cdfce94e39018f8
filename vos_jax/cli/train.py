"""`vos-jax train`: run an experiment."""

import argparse
from pathlib import Path

from vos_jax.cli import options

SUMMARY = "Train a method as an experiment file says; goes on where a run stopped."
EXAMPLE = "vos-jax train stm/main --data data/ --workdir runs/stm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        help="Python file, or its name under experiments/, such as stm/main",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="holds the data sets' folders"
    )
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="changes",
        help="change a field of the experiment; may be given several times",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="warn of files that cannot be read instead of stopping",
    )
    parser.add_argument(
        "--compilation-cache",
        action="store_true",
        help="keep compiled programs in ~/.cache/vos_jax for the next run",
    )
    several = parser.add_argument_group(
        "several processes; launchers say it themselves"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    several.add_argument("--processes", type=int, metavar="N")
    several.add_argument("--process", type=int, metavar="I", help="from 0")
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Trains and says where the weights are."""
    from vos_jax.engine.devices import initialize_distributed

    initialize_distributed(args.coordinator, args.processes, args.process)
    from vos_jax.engine.compilation_cache import use_compilation_cache
    from vos_jax.engine.experiment import load_experiment
    from vos_jax.engine.train_loop import train

    if args.compilation_cache:
        use_compilation_cache()
    experiment = load_experiment(args.experiment, args.changes)
    trained = train(experiment, args.workdir, args.data, skip_bad=args.skip_bad)
    figures = {"weights": str(trained.weights), "steps": trained.steps}
    options.print_figures(figures | dict(trained.scores), args.json)
