r"""DMN-AOA, tables 1 to 3: beside STM, and what its parts are worth.

    python experiments/dmn_aoa/tables.py --davis DATA/DAVIS \
        --proposals coco+ytvos=DATA/proposals/davis_ytvos \
        coco=DATA/proposals/davis_coco coco+davis=DATA/proposals/davis_davis \
        --weights F0=f0.safetensors A1=a1.safetensors --out results/dmn_aoa_tables
    python experiments/dmn_aoa/tables.py --generated 3 --method dmn-aoa-tiny \
        --weights F0=stage2.safetensors C2=stage1.safetensors \
        --out results/dmn_aoa_tables_tiny

A row is evaluated when there are its weights and its proposals; rows that differ in the
memory or in proposals alone have F0's weights unless they are given their own. What is
done stays done: the same command goes on where it was stopped. How each row is trained
is in `experiments/dmn_aoa/README.md`.
"""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.cli.table_options import add_table_options, named_weights
from vos_jax.data.proposals import REGIONS
from vos_jax.errors import InputError
from vos_jax.methods.dmn_aoa.config import MEMORY_SAMPLING
from vos_jax.methods.weights import fingerprint
from vos_jax.nn.resnet import ResNetConfig
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

_R101: Mapping[str, Any] = {"backbone": ResNetConfig(depth=101)}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "F0": {},
    "A1": {"use_dmn": False, "use_aoa": False},
    "A2": {"use_aoa": False},
    "A3": {"use_dmn": False},
    "A4": {"frame_memory": True},
    "A5": {"use_matcher": False},
    "A6": {"use_refinenet": False},
    "B1": MEMORY_SAMPLING["first"],
    "B2": MEMORY_SAMPLING["prev"],
    "B3": MEMORY_SAMPLING["first+prev"],
    "B4": MEMORY_SAMPLING["all"],
    "C1": {},
    "C2": {},
    "D1": {},
    "D2": {},
    "R50_YV": {},
    "R101_YV": _R101,
    "YouTube_R50": {},
    "YouTube_R101": _R101,
}
"""What the network of each setting differs in; names of table 3 are the paper's."""

SHARED = ("B1", "B2", "B3", "B4", "D1", "D2")
"""Settings that have the weights of F0, unless they have their own."""

PROPOSALS: Mapping[str, str] = {"D1": "coco+davis", "D2": "coco"}
"""The detectors whose proposals settings take, where it is not the usual one."""

USUAL = "coco+ytvos"
"""A detector that is trained on COCO and tuned on YouTube-VOS."""

DETECTORS = (USUAL, *PROPOSALS.values())


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
    "davis2017_test-dev": Videos(
        "--test-dev", Split("davis2017", _NOWHERE, "test-dev"), is_public=False
    ),
    "youtube-vos_valid": Videos(
        *("--youtube-vos", Split("youtube-vos", _NOWHERE, "valid")),
        is_public=False,
        size=480,
    ),
}

_VAL, _TEST, _YOUTUBE = VIDEOS


class Row(NamedTuple):
    """A line of a table; None is what is not known.

    Attributes:
      setting: One of `CHANGES`.
      videos: One of `VIDEOS`, or generated ones.
      proposals: The detector they are of; "" where none are taken.
      weights: "own", or "F0" of that row; None where nothing is evaluated.
      j_and_f: In [0, 1], as the next two; of YouTube-VOS a server tells.
      j: Region similarity.
      f: Contour accuracy.
      seconds_per_frame: From files to files, without the detector's time.
      paper_j_and_f: What the paper reports; of YouTube-VOS its overall score.
      paper_j: Likewise.
      paper_f: Likewise.
      paper_seconds_per_frame: On a machine that is not named, with the detector's time.
    """

    setting: str
    videos: str
    proposals: str
    weights: str | None = None
    j_and_f: float | None = None
    j: float | None = None
    f: float | None = None
    seconds_per_frame: float | None = None
    paper_j_and_f: float | None = None
    paper_j: float | None = None
    paper_f: float | None = None
    paper_seconds_per_frame: float | None = None


class Table(NamedTuple):
    """Rows to compare.

    Attributes:
      title: What they differ in.
      rows: In the paper's order.
    """

    title: str
    rows: tuple[Row, ...]


def _row(setting: str, videos: str, *paper: float) -> Row:
    """What the paper reports of a setting: J&F, J, F and seconds."""
    names = ("j_and_f", "j", "f", "seconds_per_frame")
    figures = dict(zip((f"paper_{name}" for name in names), paper, strict=False))
    takes = CHANGES[setting].get("use_matcher", True)
    proposals = PROPOSALS.get(setting, USUAL) if takes else ""
    return Row(setting, videos, proposals, **figures)


TABLES: Mapping[int, Table] = {
    1: Table(
        "with more data, and a deeper backbone",
        (
            _row("F0", _VAL, 0.813, 0.786, 0.840, 0.15),
            _row("R50_YV", _VAL, 0.840, 0.810, 0.870, 0.15),
            _row("R101_YV", _VAL, 0.845, 0.814, 0.875, 0.16),
            _row("R50_YV", _TEST),
            _row("R101_YV", _TEST, 0.783, 0.748, 0.817),
        ),
    ),
    2: Table(
        "a deeper backbone",
        (
            _row("YouTube_R50", _YOUTUBE, 0.825),
            _row("YouTube_R101", _YOUTUBE, 0.827),
        ),
    ),
    3: Table(
        "architecture, memory, training, proposals",
        (
            _row("F0", _VAL, 0.813, 0.786, 0.840, 0.15),
            _row("A1", _VAL, 0.778, 0.752, 0.803, 0.13),
            _row("A2", _VAL, 0.805, 0.779, 0.831, 0.14),
            _row("A3", _VAL, 0.789, 0.764, 0.814, 0.14),
            _row("A4", _VAL, 0.794, 0.768, 0.820, 0.15),
            _row("A5", _VAL, 0.700, 0.675, 0.725, 0.11),
            _row("A6", _VAL, 0.692, 0.671, 0.712, 0.11),
            _row("B1", _VAL, 0.799, 0.773, 0.825, 0.14),
            _row("B2", _VAL, 0.802, 0.778, 0.826, 0.15),
            _row("B3", _VAL, 0.804, 0.777, 0.830, 0.15),
            _row("B4", _VAL, 0.818, 0.792, 0.843, 0.19),
            _row("C1", _VAL, 0.725, 0.703, 0.747, 0.15),
            _row("C2", _VAL, 0.679, 0.658, 0.700, 0.15),
            _row("D1", _VAL, 0.790, 0.763, 0.817, 0.15),
            _row("D2", _VAL, 0.801, 0.775, 0.827, 0.15),
        ),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    for option, data in (
        ("--davis", "DAVIS 2017"),
        ("--test-dev", "DAVIS 2017 test-dev"),
        ("--youtube-vos", "YouTube-VOS 2018"),
    ):
        parser.add_argument(option, type=Path, metavar="DIR", help=f"of {data}")
    parser.add_argument(
        "--generated", type=int, metavar="N", help="N generated clips instead"
    )
    parser.add_argument(
        "--proposals",
        nargs="+",
        default=[],
        metavar="[NAME=]PATH",
        help=f"by the detector, {USUAL} without a name",
    )
    parser.add_argument(
        "--tables",
        type=int,
        nargs="+",
        choices=TABLES,
        help="default: all whose videos are given",
    )
    add_table_options(parser, "dmn-aoa")
    args = parser.parse_args(argv)
    return run_script("tables", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Evaluates; prints and writes each table as soon as its settings are known."""
    options.positive(args, "size", "generated")
    common, weights = named_weights(args.weights, CHANGES)
    if common is not None:
        weights.setdefault("F0", common)
    proposals = _named_proposals(args)
    videos = _videos(args)
    tables = {
        number: [_ready(x, videos, weights, proposals) for x in found]
        for number, found in _rows(args, videos).items()
    }
    settings = {
        (row.videos, row.setting): setting_of(row, weights, proposals)
        for row in chain.from_iterable(tables.values())
        if row.weights
    }
    _tell_missing(chain.from_iterable(tables.values()), videos, weights)
    if not settings:
        raise InputError("no row has --weights, --proposals and videos; give all three")
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
    identify = cache(partial(fingerprint, args.method))
    needed = {
        number: [(x.videos, x.setting) for x in all_of if x.weights]
        for number, all_of in tables.items()
    }
    for number, figures in tables_as_known(needed, chain.from_iterable(found)):
        notes = {
            "method": args.method,
            "sizes": {place: videos[place].size for place, _ in needed[number]},
            "weights": {
                name: identify(settings[place, name].weights)
                for place, name in needed[number]
            },
        }
        filled = [
            _filled(x, figures.get((x.videos, x.setting))) for x in tables[number]
        ]
        show_table(args.out, number, TABLES[number].title, filled, set(), notes)


def setting_of(
    row: Row, weights: Mapping[str, Path], proposals: Mapping[str, Path]
) -> Setting:
    """How a row is evaluated, by what there is of `CHANGES` and `DETECTORS`."""
    own = weights["F0" if row.weights == "F0" else row.setting]
    return Setting(CHANGES[row.setting], own, inputs=proposals.get(row.proposals))


def _ready(
    row: Row,
    videos: Collection[str],
    weights: Collection[str],
    proposals: Collection[str],
) -> Row:
    """A row that says whose weights it is evaluated with, if it is."""
    if row.videos not in videos or (row.proposals and row.proposals not in proposals):
        return row
    if row.setting in weights:
        return row._replace(weights="own")
    if row.setting in SHARED and "F0" in weights:
        return row._replace(weights="F0")
    return row


def _tell_missing(
    rows: Iterable[Row], videos: Collection[str], weights: Collection[str]
) -> None:
    """Says which rows have weights and videos, but not their proposals."""
    missing: dict[str, dict[str, None]] = {}
    for row in rows:
        if _ready(row, videos, weights, DETECTORS).weights and not row.weights:
            missing.setdefault(row.proposals, {})[row.setting] = None
    for detector, names in missing.items():
        settings = ", ".join(names)
        print(
            f"left out without --proposals {detector}=PATH: {settings}", file=sys.stderr
        )


def _named_proposals(args: argparse.Namespace) -> dict[str, Path]:
    """Where proposals are, by their detector."""
    if args.generated is not None:
        if args.proposals:
            raise InputError("--proposals: generated clips have the regions' alone")
        return dict.fromkeys(DETECTORS, Path(REGIONS))
    common, own = named_weights(args.proposals, DETECTORS)
    return own if common is None else {USUAL: common, **own}


def _videos(args: argparse.Namespace) -> dict[str, Videos]:
    """What is given, by name."""
    roots = {
        "--davis": args.davis,
        "--test-dev": args.test_dev,
        "--youtube-vos": args.youtube_vos,
    }
    given = [option for option, root in roots.items() if root is not None]
    if args.generated is None:
        if not given:
            raise InputError(
                "no videos; give their folder by --davis, --test-dev or --youtube-vos,"
                " or take --generated N"
            )
        return {
            name: x._replace(
                split=x.split._replace(root=roots[x.option]), size=args.size or x.size
            )
            for name, x in VIDEOS.items()
            if x.option in given
        }
    if given:
        raise InputError(f"--generated stands for all videos; leave {given[0]} out")
    name = f"generated_{args.generated}"
    split = generated_split(args.out / name / "data", args.generated)
    return {name: Videos("--generated", split, size=args.size)}


def _rows(
    args: argparse.Namespace, videos: Mapping[str, Videos]
) -> dict[int, list[Row]]:
    """The rows of the tables to make, those of the paper alone with its videos."""
    if args.generated is not None:
        place = next(iter(videos))
        # One detector stands for all, and so do clips for all data.
        names = [x.setting for x in TABLES[3].rows if x.setting not in PROPOSALS]
        return {3: [_row(name, _VAL)._replace(videos=place) for name in names]}
    wanted = args.tables or [
        number
        for number, table in TABLES.items()
        if any(row.videos in videos for row in table.rows)
    ]
    return {number: list(TABLES[number].rows) for number in wanted}


def _evaluate(
    method: str, settings: Mapping[str, Setting], videos: Videos, out: Path
) -> Iterator[tuple[tuple[str, str], Measured | None]]:
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
