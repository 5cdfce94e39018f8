"""`vos-jax report`: a page of results, or of training runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vos_jax.cli import options
from vos_jax.cli.score import show_progress
from vos_jax.errors import InputError

SUMMARY = "Make one HTML page of results, or of training runs, that opens from a file."
EXAMPLE = "vos-jax report results/stm results/hmmn --out report/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="--out of evaluate, score or demo, or --workdir of train; others are"
        " compared with the first",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the page is DIR/report.html",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help="what the page calls RESULTS, once for each, in their order; by default as"
        " their folders are called",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="where RESULTS have the scores of several splits",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="the data set's folder, where it is not where it was",
    )
    parser.add_argument(
        "--masks",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of masks, where it is not where it was; once for each of"
        " RESULTS, in their order",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that score the masks anew (1)",
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Makes the page and says where it is."""
    options.positive(args, "workers")
    names = _names(args)
    if _are_runs(args.folders):
        _report_runs(args, names)
    else:
        _report_results(args, names)


def _names(args: argparse.Namespace) -> Sequence[str]:
    from vos_jax.reports.pages.results import names_of

    for option, given in (("--name", args.name), ("--masks", args.masks)):
        if given and len(given) != len(args.folders):
            raise InputError(
                f"{option}: given {len(given)} times for {len(args.folders)} folders;"
                " give it once for each, or not at all"
            )
    if len(set(args.name)) < len(args.name):
        raise InputError("--name: names two folders alike; give each its own name")
    if not all(name.strip() for name in args.name):
        raise InputError("--name: is empty; give a name that can be seen")
    for what in (*args.folders, *args.name, args.out):
        _check_text(str(what))
    return args.name or names_of(args.folders)


def _check_text(name: str) -> None:
    """A page is UTF-8, and what it calls things must be."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise InputError(
            f"{shown}: is not UTF-8, as a page is; rename it, or link to it by a name"
            " that is"
        ) from error


def _are_runs(folders: Sequence[Path]) -> bool:
    """Whether the folders are training runs; they must all be of one kind."""
    from vos_jax.reports.pages.results import is_results
    from vos_jax.reports.pages.training import is_run

    kinds = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder; check the path")
        if not (is_results(folder) or is_run(folder)):
            raise InputError(
                f"{folder}: holds neither results nor a training run; name the --out of"
                " evaluate, score or demo, or the --workdir of train"
            )
        kinds.append(not is_results(folder))
    if any(kinds) and not all(kinds):
        raise InputError(
            f"{folders[kinds.index(True)]}: is a training run, and others are results;"
            " make a page for each kind"
        )
    return kinds[0]


def _report_runs(args: argparse.Namespace, names: Sequence[str]) -> None:
    from vos_jax.reports.pages.training import write_training

    for option in ("split", "root", "masks"):
        if getattr(args, option):
            raise InputError(
                f"--{option}: is for results, and {args.folders[0]} is a training run;"
                " leave it out"
            )
    written = write_training(args.folders, names, args.out)
    figures: dict[str, Any] = {"runs": written.newest}
    if written.no_number:
        figures["no_number"] = {
            run: {
                name: {"rows": some, "of": every} for name, (some, every) in x.items()
            }
            for run, x in written.no_number.items()
        }
    _note(written.notes)
    _tell(written.path, figures, args.json)


def _report_results(args: argparse.Namespace, names: Sequence[str]) -> None:
    from vos_jax.reports.pages.evaluation import write_evaluation
    from vos_jax.reports.pages.results import read_results

    masks = args.masks or [None] * len(args.folders)
    results = []
    for folder, name, own in zip(args.folders, names, masks, strict=True):
        if len(args.folders) > 1:
            print(f"read {folder}", file=sys.stderr, flush=True)
        results.append(
            read_results(
                folder,
                name,
                split=args.split,
                root=args.root,
                masks=own,
                workers=args.workers,
                progress=show_progress,
            )
        )
    written = write_evaluation(results, args.out)
    figures: dict[str, Any] = {"results": dict(written.summaries)}
    if written.differences:
        figures["differences"] = {
            name: {each.measure: each._asdict() for each in found}
            for name, found in written.differences.items()
        }
    _note(written.notes)
    _tell(written.path, figures, args.json)


def _note(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"vos-jax: note: {note}", file=sys.stderr)


def _tell(path: Path, figures: dict[str, Any], as_json: bool) -> None:
    size = path.stat().st_size
    if as_json:
        options.print_figures({"report": str(path), "bytes": size, **figures}, as_json)
    else:
        print(f"open {path} ({size / 1e6:.1f} MB)")
