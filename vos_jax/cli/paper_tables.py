"""What `experiments/<paper>/tables.py` is: the same options for every paper."""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from vos_jax.cli import options
from vos_jax.cli.named_files import named_files
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.reports.paper import PLACES, Paper
from vos_jax.reports.paper_plan import Given, read_server_results
from vos_jax.reports.paper_tables import make_tables, settings_in_words

_DATA = {
    "--davis": "DAVIS 2016 and 2017",
    "--davis-test-dev": "DAVIS 2017 test-dev",
    "--youtube-vos": "YouTube-VOS 2018",
    "--youtube-vos-2019": "YouTube-VOS 2019",
}


def main_of(paper: Paper, description: str, argv: Sequence[str] | None = None) -> int:
    """Reads the options and makes the tables; returns the exit status.

    Args:
      paper: Whose tables.
      description: The script's documentation.
      argv: Of the program by default.
    """
    args = _parser(paper, description).parse_args(argv)
    run = _list if args.list else _run
    return run_script("tables", lambda: run(paper, args))


def _parser(paper: Paper, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="say which tables, rows and weights there are, and do nothing",
    )
    parser.add_argument(
        "--tables",
        nargs="+",
        choices=tuple(paper.printed.tables),
        metavar="ID",
        help="as printed (all)",
    )
    for option, data in _DATA.items():
        parser.add_argument(option, type=Path, metavar="DIR", help=f"of {data}")
    parser.add_argument(
        "--generated",
        type=int,
        metavar="N",
        help="N generated clips in place of all videos, by the small network",
    )
    parser.add_argument(
        "--method",
        choices=(paper.method, paper.tiny),
        help=f"{paper.method}, with --generated {paper.tiny}",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help=f"by what they are trained as, see --list; {paper.usual} without a name",
    )
    parser.add_argument(
        "--proposals",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help="object proposals, where the method takes any, by what made them",
    )
    parser.add_argument(
        "--server-results",
        type=Path,
        metavar="FILE",
        help='scores of servers: {"PLACE": {"LABEL": {"G": 0.794}}}',
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute with the shorter side at N"
    )
    options.add_speed_option(parser, "all")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("tables"),
        metavar="DIR",
        help="masks, figures and tables; a run into the same DIR goes on (tables)",
    )
    return parser


def _run(paper: Paper, args: argparse.Namespace) -> None:
    """Makes the tables."""
    options.positive(args, "size", "generated")
    if args.size is not None and args.size < 16:
        raise InputError(f"--size {args.size}: use at least 16")
    given_options = {x: getattr(args, x[2:].replace("-", "_")) for x in _DATA}
    roots = {option: root for option, root in given_options.items() if root is not None}
    if args.generated is None and not roots:
        raise InputError(
            f"no videos; give a folder by {' or '.join(_DATA)}, or take --generated N"
        )
    if args.generated is not None and roots:
        raise InputError(
            f"--generated {args.generated}: these clips stand for all videos; leave"
            f" {' and '.join(roots)} out"
        )
    common, weights = named_files("--weights", args.weights, paper.weights)
    small = args.method == paper.tiny or (
        args.method is None and args.generated is not None
    )
    make_tables(
        paper,
        _tables(paper, args.tables, roots),
        Given(
            out=args.out,
            small=small,
            roots=roots,
            clips=args.generated,
            common=common,
            weights=weights,
            inputs=_inputs(paper, args),
            server=read_server_results(args.server_results),
            size=args.size,
            timed=args.speed,
        ),
    )


def _tables(
    paper: Paper, asked: Sequence[str] | None, options_given: Collection[str]
) -> list[str]:
    """The tables to make: those that are named, else all that videos are given for."""
    if asked:
        return list(dict.fromkeys(asked))
    able = {name for name, x in PLACES.items() if x.option in options_given}
    found = [
        name
        for name, table in paper.printed.tables.items()
        if not options_given or able & set(table.places)
    ]
    if not found:
        places = {x for table in paper.printed.tables.values() for x in table.places}
        wanted = {PLACES[x].option: None for x in PLACES if x in places}
        raise InputError(
            f"{' and '.join(options_given)}: no table of {paper.printed.paper} is of"
            f" these videos; its tables need {' or '.join(wanted)}"
        )
    return found


def _inputs(paper: Paper, args: argparse.Namespace) -> dict[str, Path]:
    """Where proposals are, by what made them."""
    if args.proposals and not paper.inputs:
        raise InputError(
            f"--proposals: {paper.method} takes nothing but frames; leave them out"
        )
    if args.proposals and args.generated is not None:
        raise InputError(
            "--proposals: generated clips have those of the region proposer alone;"
            " leave them out"
        )
    common, own = named_files("--proposals", args.proposals, paper.inputs)
    return own if common is None else {paper.inputs[0]: common, **own}


def _list(paper: Paper, args: argparse.Namespace) -> None:
    """Says what there is."""
    print(paper.printed.paper)
    needed: dict[str, None] = {}
    for name in args.tables or paper.printed.tables:
        table = paper.printed.tables[name]
        print(f"\n{name}: {table.title}; {', '.join(table.places)}")
        for row in table.rows:
            words = settings_in_words(row)
            print(f"    {row.name}{f' ({words})' if words else ''}")
            for place in table.places:
                recipe = paper.recipe(row, place)
                if isinstance(recipe, str):
                    print(f"        {place}: not run: {recipe}")
                    continue
                needed[recipe.weights] = None
                parts = [f"weights {recipe.weights}"]
                if recipe.instead is not None:
                    parts.append(f"or {recipe.instead}, not trained so")
                if recipe.inputs is not None:
                    parts.append(f"proposals {recipe.inputs}")
                if recipe.stage is not None:
                    parts.append(f"stage {recipe.stage}")
                parts += [f"{key}={value!r}" for key, value in recipe.changes.items()]
                print(f"        {place}: {', '.join(parts)}")
    print("\nweights, and what trains them:")
    for name in paper.weights:
        if name in needed:
            print(f"    {name}:", *paper.weights[name], sep="\n        ")
