r"""LCM, tables 1 to 5: beside STM, what its modules are worth, and how it is trained.

    python experiments/lcm/tables.py --davis DAVIS --test-dev DAVIS_TEST_DEV \
        --youtube-vos YOUTUBE_VOS --weights lcm.safetensors stm=stm.safetensors \
        --out results/lcm_tables
    python experiments/lcm/tables.py --tables 4 5 --generated 3 --method lcm-tiny \
        --weights lcm_tiny.safetensors without_sequence=stage2.safetensors \
        --out results/lcm_tables

Without `--tables` all are made whose videos are given; generated clips stand for any.
What is in several tables is evaluated once. What is done stays done: the same command
goes on where it was stopped. YouTube-VOS and DAVIS 2017 test-dev are scored by servers:
their rows have no figures but the paper's, and there is an archive for the server.

One weights file serves the published setting and table 4, whose networks run less what
they lack of it; the column `weights` says `cut` then, for it was not trained so.
NAME=FILE gives a setting weights of its own, which those of STM, of DAVIS alone and of
fewer stages need: without, they have no figures but the paper's, either.
"""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.cli.table_options import add_table_options, named_weights
from vos_jax.errors import InputError
from vos_jax.methods.weights import fingerprint
from vos_jax.reports.ablation import (
    Measured,
    Setting,
    Split,
    generated_split,
    measure_settings,
    pack_settings,
    show_table,
    tables_as_known,
)

MODULES: Mapping[str, Mapping[str, bool]] = {
    "grm_pgm_orm": {},
    "grm_orm": {"use_pgm": False},
    "grm_pgm": {"use_orm": False},
    "grm": {"use_pgm": False, "use_orm": False},
    "pgm_orm": {"use_grm": False},
}
"""What leaves modules out, by those that remain."""

COMMON = ("published", "youtube_vos", "all", *MODULES)
"""Settings that the common weights serve, unless they have their own."""

OWN = ("davis_only", "without_sequence", "without_main", "stm", "stm_davis_only")
"""Settings that are nothing without weights of their own."""

SETTINGS = (*COMMON, *OWN)

_Key = tuple[str, str]

_STM_OF = {"lcm": "stm", "lcm-tiny": "stm-tiny"}


class Videos(NamedTuple):
    """Where settings are evaluated.

    Attributes:
      option: Which of ours names their folder.
      split: Its root is what the option says.
      is_public: Whether the annotations are; else a server scores.
      size: Shorter side to compute at, unless `--size` is given.
    """

    option: str
    split: Split
    is_public: bool = True
    size: int | None = None


_NOWHERE = Path()

VIDEOS: Mapping[str, Videos] = {
    "davis2017_val": Videos("--davis", Split("davis2017", _NOWHERE, "val")),
    "davis2016_val": Videos("--davis", Split("davis2016", _NOWHERE, "val")),
    "davis2017_test-dev": Videos(
        "--test-dev", Split("davis2017", _NOWHERE, "test-dev"), is_public=False
    ),
    "youtube-vos_valid": Videos(
        *("--youtube-vos", Split("youtube-vos", _NOWHERE, "valid")),
        is_public=False,
        size=480,
    ),
}

_17, _16, _TEST, _YOUTUBE = VIDEOS


class Row(NamedTuple):
    """A line of a table; None is what is not known, or what the table is not about.

    Attributes:
      setting: One of `SETTINGS`.
      videos: One of `VIDEOS`, or generated ones.
      categories: Of YouTube-VOS, that figures are means over.
      grm: Whether the memory is read: "x" or "", as the next two.
      pgm: Whether the position map counts.
      orm: Whether values are related to the objects.
      weights: "common" to all settings, the setting's "own", or common ones "cut" for
        what remains of the network; None where nothing is evaluated.
      j_and_f: In [0, 1], as the next two.
      j: Region similarity.
      f: Contour accuracy.
      seconds_per_frame: From files to files.
      paper_j_and_f: What the paper reports, as what follows.
      paper_j: Region similarity.
      paper_f: Contour accuracy.
      paper_seconds_per_frame: On one P100.
    """

    setting: str
    videos: str
    categories: str | None = None
    grm: str | None = None
    pgm: str | None = None
    orm: str | None = None
    weights: str | None = None
    j_and_f: float | None = None
    j: float | None = None
    f: float | None = None
    seconds_per_frame: float | None = None
    paper_j_and_f: float | None = None
    paper_j: float | None = None
    paper_f: float | None = None
    paper_seconds_per_frame: float | None = None


_VARIED = Row._fields[1 : Row._fields.index("weights")]


class Table(NamedTuple):
    """Rows to compare.

    Attributes:
      title: What they differ in.
      columns: Fields that tell them apart, beside the setting.
      rows: As the paper has them, before anything is evaluated.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def _row(
    setting: str,
    videos: str,
    j_and_f: float | None = None,
    j: float | None = None,
    f: float | None = None,
    seconds: float | None = None,
    categories: str | None = None,
) -> Row:
    """What the paper reports of a setting."""
    changes = MODULES.get(setting, {})
    grm, pgm, orm = (
        "x" if changes.get(f"use_{name}", True) else ""
        for name in ("grm", "pgm", "orm")
    )
    return Row(
        *(setting, videos, categories, grm, pgm, orm),
        paper_j_and_f=j_and_f,
        paper_j=j,
        paper_f=f,
        paper_seconds_per_frame=seconds,
    )


TABLES: Mapping[int, Table] = {
    1: Table(
        "beside STM",
        ("videos", "categories"),
        (
            _row("youtube_vos", _YOUTUBE, 0.820, categories="all"),
            _row("youtube_vos", _YOUTUBE, None, 0.822, 0.867, categories="seen"),
            _row("youtube_vos", _YOUTUBE, None, 0.757, 0.834, categories="unseen"),
            _row("stm", _YOUTUBE, 0.794, categories="all"),
            _row("stm", _YOUTUBE, None, 0.797, 0.842, categories="seen"),
            _row("stm", _YOUTUBE, None, 0.728, 0.809, categories="unseen"),
        ),
    ),
    2: Table(
        "beside STM",
        ("videos",),
        (
            _row("davis_only", _17, 0.752, 0.731, 0.772),
            _row("stm_davis_only", _17, 0.716),
            _row("published", _17, 0.835, 0.805, 0.865),
            _row("stm", _17, 0.818),
            _row("published", _TEST, 0.781, 0.744, 0.818),
            _row("stm", _TEST, 0.722),
        ),
    ),
    3: Table(
        "beside STM",
        ("videos",),
        (
            _row("published", _16, 0.907, 0.899, 0.914, 0.118),
            _row("stm", _16, 0.893, 0.887, 0.899, 0.112),
        ),
    ),
    4: Table(
        "modules",
        ("grm", "pgm", "orm"),
        (
            _row("grm_pgm_orm", _17, 0.792, 0.771, 0.814),
            _row("grm_orm", _17, 0.778, 0.755, 0.801),
            _row("grm_pgm", _17, 0.784, 0.760, 0.808),
            _row("grm", _17, 0.769, 0.746, 0.792),
            _row("pgm_orm", _17, 0.675, 0.652, 0.698),
        ),
    ),
    5: Table(
        "training stages",
        (),
        (
            _row("all", _17, 0.835, 0.805, 0.865),
            _row("without_sequence", _17, 0.829, 0.799, 0.859),
            _row("without_main", _17, 0.807, 0.779, 0.835),
        ),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    for option, data in (
        ("--davis", "DAVIS 2016 and 2017"),
        ("--test-dev", "DAVIS 2017 test-dev"),
        ("--youtube-vos", "YouTube-VOS 2018"),
    ):
        parser.add_argument(option, type=Path, metavar="DIR", help=f"of {data}")
    parser.add_argument(
        "--generated", type=int, metavar="N", help="N generated clips instead"
    )
    parser.add_argument(
        "--tables",
        type=int,
        nargs="+",
        choices=TABLES,
        help="default: all whose videos are given",
    )
    add_table_options(parser, "lcm")
    args = parser.parse_args(argv)
    return run_script("tables", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Evaluates; prints and writes each table as soon as its settings are known."""
    options.positive(args, "size", "generated")
    common, own = named_weights(args.weights, SETTINGS)
    videos = _videos(args)
    tables = {
        number: _rows(number, args, videos, own)
        for number in _numbers(args.tables, videos)
    }
    settings: dict[_Key, Setting] = {
        _key(row): _setting(row, args.method, own.get(row.setting, common))
        for row in chain.from_iterable(tables.values())
        if row.weights
    }
    # This checks all videos and weights before any is segmented.
    found = [
        _evaluate(
            args.method,
            {name: x for (place, name), x in settings.items() if place == wanted},
            videos[wanted],
            args.out / wanted,
        )
        for wanted in dict.fromkeys(place for place, _ in settings)
    ]
    _tell_lacking(tables, own)
    identify = cache(partial(fingerprint, args.method))
    needed = {n: [_key(x) for x in rows if x.weights] for n, rows in tables.items()}
    for number, figures in tables_as_known(needed, chain.from_iterable(found)):
        table, rows = TABLES[number], tables[number]
        notes = {
            "method": args.method,
            "sizes": {place: videos[place].size for place, _ in needed[number]},
            "weights": {
                x.setting: identify(settings[_key(x)].weights)
                for x in rows
                if x.weights
            },
        }
        filled = [_filled(row, figures.get(_key(row))) for row in rows]
        others = set(_VARIED) - set(table.columns)
        show_table(args.out, number, table.title, filled, others, notes)


def _videos(args: argparse.Namespace) -> dict[str, Videos]:
    """What is given, by name."""
    roots = {
        "--davis": args.davis,
        "--test-dev": args.test_dev,
        "--youtube-vos": args.youtube_vos,
    }
    given = [option for option, root in roots.items() if root is not None]
    if args.generated is None:
        return {
            name: x._replace(
                split=x.split._replace(root=roots[x.option]), size=args.size or x.size
            )
            for name, x in VIDEOS.items()
            if x.option in given
        }
    if given:
        raise InputError(
            f"--generated {args.generated}: these clips stand for all videos; leave"
            f" {' and '.join(given)} out"
        )
    name = f"generated_{args.generated}"
    split = generated_split(args.out / name / "data", args.generated)
    return {name: Videos("--generated", split, size=args.size)}


def _numbers(asked: Sequence[int] | None, videos: Mapping[str, Videos]) -> list[int]:
    """The tables to make."""
    given = {x.option for x in videos.values()}
    if not given:
        raise InputError(
            "no videos; give their folder by --davis, --test-dev or --youtube-vos, or"
            " take --generated N"
        )
    wants = {
        number: dict.fromkeys(VIDEOS[row.videos].option for row in table.rows)
        for number, table in TABLES.items()
    }
    able = [n for n in TABLES if "--generated" in given or given & wants[n].keys()]
    for number in asked or ():
        if number not in able:
            raise InputError(
                f"--tables {number}: its videos are missing; give their folder by"
                f" {' or '.join(wants[number])}, or take --generated N"
            )
    return list(dict.fromkeys(asked or able))


def _rows(
    number: int,
    args: argparse.Namespace,
    videos: Mapping[str, Videos],
    own: Collection[str],
) -> list[Row]:
    """The rows of a table: those that are evaluated, and those of the paper."""
    rows: Iterable[Row] = TABLES[number].rows
    is_reported = args.method == "lcm" and args.generated is None
    if not is_reported:
        place = next(iter(videos)) if args.generated is not None else None
        rows = dict.fromkeys(_row(x.setting, place or x.videos) for x in rows)
    weighed = [x._replace(weights=_weights(x, videos, own)) for x in rows]
    return [x for x in weighed if x.weights or is_reported]


def _tell_lacking(numbers: Iterable[int], own: Collection[str]) -> None:
    """Says whose rows of these tables are not evaluated for lack of weights."""
    asked = {row.setting for number in numbers for row in TABLES[number].rows}
    if lacking := [x for x in OWN if x in asked and x not in own]:
        print(
            "not evaluated without weights of their own, NAME=FILE:"
            f" {', '.join(lacking)}",
            file=sys.stderr,
        )


def _weights(row: Row, videos: Collection[str], own: Collection[str]) -> str | None:
    """Whose weights a row is evaluated with, if it is."""
    if row.videos not in videos:
        return None
    if row.setting in own:
        return "own"
    if row.setting in OWN:
        return None
    return "cut" if MODULES.get(row.setting) else "common"


def _key(row: Row) -> _Key:
    """Videos and folder of an evaluation; all that is the published setting is one."""
    return row.videos, "published" if row.weights == "common" else row.setting


def _setting(row: Row, method: str, weights: Path | None) -> Setting:
    """How a row is evaluated."""
    if row.setting.startswith("stm"):
        return Setting({}, weights, _STM_OF[method])
    if row.setting in OWN:
        # A stage may train less than the whole network.
        return Setting({}, weights)
    # The published setting, whatever the weights were trained with.
    changes = dict.fromkeys(("use_grm", "use_pgm", "use_orm"), True)
    return Setting({**changes, **MODULES.get(row.setting, {})}, weights)


def _evaluate(
    method: str, settings: Mapping[str, Setting], videos: Videos, out: Path
) -> Iterator[tuple[_Key, Measured | None]]:
    """Figures by keys, as soon as they are known; None where a server knows them."""
    work = measure_settings if videos.is_public else pack_settings
    found = work(method, settings, videos.split, out, size=videos.size)
    return (((out.name, name), _told(result)) for name, result in found)


def _told(result: Measured | Path) -> Measured | None:
    """Says where an archive is."""
    if isinstance(result, Path):
        print(f"archive for the scoring server: {result}", file=sys.stderr, flush=True)
        return None
    return result


def _filled(row: Row, figures: Measured | None) -> Row:
    """A row with what was found."""
    if figures is None:
        return row
    rate = figures.frames_per_s
    return row._replace(
        j_and_f=figures.j_and_f,
        j=figures.j,
        f=figures.f,
        seconds_per_frame=1 / rate if rate else None,
    )


if __name__ == "__main__":
    sys.exit(main())
