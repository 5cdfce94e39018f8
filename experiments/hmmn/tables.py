r"""HMMN, tables 1 to 6: what its modules are worth, and how they are best set.

    python experiments/hmmn/tables.py --dataset davis2017 --root DAVIS --split val \
        --weights hmmn.safetensors --out results/hmmn_tables
    python experiments/hmmn/tables.py --tables 4 5 --generated 3 --method hmmn-tiny \
        --weights hmmn_tiny.safetensors --out results/hmmn_tables

The published setting is in all of them, and a setting of several tables is evaluated
once. What is done stays done: the same command goes on where it was stopped. Values of
k, window and sigma beside the published ones are a sweep of our own.

One weights file serves settings of the kernel, which guides inference only, and of the
fine memory. It runs with other `k` and selections, which training sees too, and with
fewer fine reads, less what that network lacks; the column `weights` says `cut` then,
for it was not trained so. `--weights common.safetensors NAME=FILE` gives a setting
weights of its own, and `without_fine=FILE` all settings without fine reads.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.cli.table_options import add_table_options, named_weights
from vos_jax.methods.weights import fingerprint
from vos_jax.reports.ablation import (
    Measured,
    Setting,
    Split,
    generated_split,
    measure_settings,
    show_table,
    tables_as_known,
)

PUBLISHED: Mapping[str, Any] = {
    "kernel_guided": True,
    "kernel_centre": "released",
    "window": 7,
    "sigma": 3.0,
    "sigma_step": 1.5,
    "fine_stages": (3, 2),
    "k": 32,
    "selection": "best",
    "fine_kept": False,
}

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "published": {},
    # Modules: KMN's kernel or this one, and the fine reads.
    "neither": {"kernel_guided": False, "fine_stages": ()},
    "kmn": {"kernel_centre": "global", "fine_stages": ()},
    "kernel": {"fine_stages": ()},
    "fine": {"kernel_guided": False},
    "kmn_fine": {"kernel_centre": "global"},
    # Which coarse cells stand for the fine ones that are read.
    "k_8": {"k": 8},
    "k_16": {"k": 16},
    "k_64": {"k": 64},
    "k_128": {"k": 128},
    "random": {"selection": "random"},
    "strided": {"selection": "strided"},
    "all": {"selection": "all"},
    # Where fine cells are read.
    "stage_3": {"fine_stages": (3,)},
    "stage_2": {"fine_stages": (2,)},
    # How far a cell moves from frame to frame.
    "window_3": {"window": 3},
    "window_5": {"window": 5},
    "window_9": {"window": 9},
    "window_11": {"window": 11},
    # The width of kernels, and by how much those of older frames are wider.
    "sigma_1": {"sigma": 1.0, "sigma_step": 0.5},
    "sigma_5": {"sigma": 5.0, "sigma_step": 2.5},
    "sigma_7": {"sigma": 7.0, "sigma_step": 3.5},
    "step_0": {"sigma_step": 0.0},
    "step_0.5": {"sigma_step": 0.5},
    "step_3": {"sigma_step": 3.0},
    "as_written": {"kernel_centre": "paper", "sigma_step": 0.5},
    # Which frames have a fine memory.
    "fine_kept": {"fine_kept": True},
}
"""What each changes of the published setting."""


class Table(NamedTuple):
    """Settings to compare.

    Attributes:
      title: What they differ in.
      columns: Fields of `Row` that tell them apart.
      settings: Of `SETTINGS`.
    """

    title: str
    columns: tuple[str, ...]
    settings: tuple[str, ...]


TABLES: Mapping[int, Table] = {
    1: Table(
        "modules",
        ("kernel", "fine_stages"),
        ("neither", "kmn", "kernel", "fine", "kmn_fine", "published"),
    ),
    2: Table(
        "cells that fine reads take",
        ("k", "selection"),
        ("k_8", "k_16", "published", "k_64", "k_128", "random", "strided", "all"),
    ),
    3: Table(
        "stages that are read",
        ("fine_stages",),
        ("kernel", "stage_3", "stage_2", "published"),
    ),
    4: Table(
        "window of a hop",
        ("window",),
        ("window_3", "window_5", "published", "window_9", "window_11"),
    ),
    5: Table(
        "width of kernels",
        ("kernel", "sigma", "sigma_step"),
        (
            *("sigma_1", "published", "sigma_5", "sigma_7"),
            *("step_0", "step_0.5", "step_3", "as_written"),
        ),
    ),
    6: Table("fine memory", ("fine_memory",), ("published", "fine_kept")),
}

PAPER: Mapping[str, float] = {
    "published": 0.847,
    "neither": 0.822,
    "kernel": 0.831,
    "fine": 0.836,
    "fine_kept": 0.849,
}
"""J&F on DAVIS 2017 val that the paper reports, trained with YouTube-VOS."""

_WITHOUT_FINE = "without_fine"
_KERNELS = {"released": "HMMN", "paper": "HMMN as written", "global": "KMN"}


class Row(NamedTuple):
    """A line of a table.

    Attributes:
      setting: One of `SETTINGS`.
      kernel: Whose kernel guides the coarse read. This and what follows up to `weights`
        is None in tables that are about other things.
      fine_stages: Stages of the ResNet: 3 is stride 8, 2 is stride 4.
      k: Coarse cells whose fine ones are read; None for all there are, too.
      selection: How they are chosen.
      window: Side, in coarse cells.
      sigma: Of the newest frame, in coarse cells.
      sigma_step: From a frame of the memory to the one before it.
      fine_memory: Frames that are read at fine stages.
      weights: "common" to all settings, the setting's "own", or common ones "cut" for
        a smaller network.
      j_and_f: In [0, 1], as the next two.
      j: Region similarity.
      f: Contour accuracy.
      frames_per_s: From files to files; None where every video is too short to tell.
      paper_j_and_f: What the paper reports; None where it or we do not know.
    """

    setting: str
    kernel: str | None
    fine_stages: str | None
    k: int | None
    selection: str | None
    window: int | None
    sigma: float | None
    sigma_step: float | None
    fine_memory: str | None
    weights: str
    j_and_f: float
    j: float
    f: float
    frames_per_s: float | None
    paper_j_and_f: float | None = None


_VARIED = Row._fields[1 : Row._fields.index("weights")]


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    videos = parser.add_mutually_exclusive_group(required=True)
    videos.add_argument("--root", type=Path, metavar="DIR", help="of DAVIS")
    videos.add_argument(
        "--generated", type=int, metavar="N", help="N generated clips instead"
    )
    parser.add_argument(
        "--dataset", default="davis2017", choices=("davis2016", "davis2017")
    )
    parser.add_argument("--split", default="val", metavar="NAME")
    parser.add_argument(
        "--tables", type=int, nargs="+", default=list(TABLES), choices=TABLES
    )
    add_table_options(parser, "hmmn")
    args = parser.parse_args(argv)
    return run_script("tables", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Evaluates; prints and writes each table as soon as its settings are known."""
    options.positive(args, "size", "generated")
    common, own = named_weights(args.weights, [*SETTINGS, _WITHOUT_FINE])
    tables = {number: TABLES[number] for number in args.tables}
    settings = {
        name: Setting({**PUBLISHED, **SETTINGS[name]}, _own(name, own) or common)
        for table in tables.values()
        for name in table.settings
    }
    folder, split = _videos(args)
    reported: Mapping[str, float] = {}
    if (args.method, folder.name) == ("hmmn", "davis2017_val"):
        reported = PAPER
    identify = cache(partial(fingerprint, args.method))
    found = measure_settings(args.method, settings, split, folder, size=args.size)
    settings_of = {number: table.settings for number, table in tables.items()}
    for number, figures in tables_as_known(settings_of, found):
        table = tables[number]
        rows = [
            _row(x, figures[x], _own(x, own) is not None, reported.get(x))
            for x in table.settings
        ]
        notes = {
            "method": args.method,
            "videos": folder.name,
            "size": args.size,
            "weights": {x: identify(settings[x].weights) for x in table.settings},
        }
        others = set(_VARIED) - set(table.columns)
        show_table(args.out, number, table.title, rows, others, notes)


def _own(name: str, own: Mapping[str, Path]) -> Path | None:
    """The weights that only this setting has, or all without fine reads."""
    without_fine = SETTINGS[name].get("fine_stages") == ()
    return own.get(name, own.get(_WITHOUT_FINE) if without_fine else None)


def _videos(args: argparse.Namespace) -> tuple[Path, Split]:
    """The folder of their settings, and what is evaluated."""
    if args.root is None:
        folder = args.out / f"generated_{args.generated}"
        return folder, generated_split(folder / "data", args.generated)
    folder = args.out / f"{args.dataset}_{args.split}"
    return folder, Split(args.dataset, args.root, args.split)


def _row(
    name: str, figures: Measured, is_own: bool, paper_j_and_f: float | None = None
) -> Row:
    """All that is known of a setting."""
    fields = {**PUBLISHED, **SETTINGS[name]}
    guided, kept = fields["kernel_guided"], fields["fine_kept"]
    cut = "cut" if "fine_stages" in SETTINGS[name] else "common"
    return Row(
        setting=name,
        kernel=_KERNELS[fields["kernel_centre"]] if guided else "none",
        fine_stages="+".join(map(str, fields["fine_stages"])) or "none",
        k=None if fields["selection"] == "all" else fields["k"],
        selection=fields["selection"],
        window=fields["window"],
        sigma=fields["sigma"],
        sigma_step=fields["sigma_step"],
        fine_memory="all kept frames" if kept else "first and previous",
        weights="own" if is_own else cut,
        paper_j_and_f=paper_j_and_f,
        **figures._asdict(),
    )


if __name__ == "__main__":
    sys.exit(main())
