"""`vos-jax score`: score existing masks."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_jax.cli import options
from vos_jax.errors import InputError
from vos_jax.evaluation import Report, format_table, score, write_report
from vos_jax.media.dataset_lists import read_lines

SUMMARY = "Score masks by J (region) and F (contour) as the benchmarks do."
EXAMPLE = "vos-jax score --dataset davis2017 --root DAVIS --split val --results masks/"


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """What data set there is, and how it is scored."""
    parser.add_argument(
        "--dataset",
        required=True,
        choices=("davis2016", "davis2017", "youtube-vos"),
        help="whose layout and protocol count",
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds the data set",
    )
    parser.add_argument("--split", required=True, metavar="NAME", help="val, say")
    parser.add_argument(
        "--resolution", metavar="NAME", help="DAVIS' resolution folder; default 480p"
    )
    parser.add_argument(
        "--drop-last",
        action="store_true",
        help="youtube-vos: leave out the last annotated frame of each video, as davis"
        " does always; what the server does is not documented",
    )
    parser.add_argument(
        "--seen",
        metavar="NAMES",
        help="youtube-vos: the categories seen in training, with commas between, or a"
        " text file with one on each line; default: those of DIR/train/meta.json",
    )
    parser.add_argument(
        "--temporal",
        action="store_true",
        help="davis2016 only: temporal stability T as well, lower is better; takes"
        " up to a tenth of a second a frame",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_dataset_options(parser)
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with one folder of PNGs per sequence",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write CSV and JSON here as well"
    )
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Scores, prints the table, writes the files."""
    check_measures(args)
    report = score(
        args.dataset,
        args.root,
        args.split,
        args.results,
        progress=show_progress,
        resolution=args.resolution,
        drop_last=args.drop_last,
        seen=seen_categories(args),
        temporal=args.temporal,
    )
    print_report(report, args.out, args.json)


def check_measures(args: argparse.Namespace) -> None:
    """Refuses what the data set has no measure for, before any work is done."""
    if args.temporal and args.dataset != "davis2016":
        raise InputError(
            "--temporal: temporal stability is a measure of davis2016, not of "
            f"{args.dataset}; leave it out"
        )
    if args.seen is not None and args.dataset != "youtube-vos":
        raise InputError(
            "--seen: seen and unseen categories are those of youtube-vos, not of "
            f"{args.dataset}; leave it out"
        )
    seen_categories(args)


def seen_categories(args: argparse.Namespace) -> frozenset[str] | None:
    """Reads `--seen`: names, or a file of them."""
    if args.seen is None:
        return None
    path = Path(args.seen)
    if path.is_file():
        return frozenset(read_lines(path))
    names = frozenset(name.strip() for name in args.seen.split(",")) - {""}
    if not names:
        raise InputError(f"--seen {args.seen!r}: names no category; name at least one")
    if path.suffix or len(path.parts) > 1:
        raise InputError(
            f"--seen {args.seen}: there is no such file; name a text file, or "
            "categories with commas between"
        )
    return names


def show_progress(done: int, total: int, name: str) -> None:
    """A line per sequence on stderr."""
    print(f"scored {done}/{total}: {name}", file=sys.stderr, flush=True)


def print_report(
    report: Report,
    out: Path | None,
    as_json: bool,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Prints a report, in JSON with `more` figures, and writes its files into `out`."""
    if out is not None:
        write_report(report, out)
    if as_json:
        options.print_figures({**report.summary(), **(more or {})}, as_json)
    else:
        print(format_table(report))
