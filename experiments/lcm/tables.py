r"""LCM, tables 1 to 5: what is printed, and what is found here.

    python experiments/lcm/tables.py --list
    python experiments/lcm/tables.py --davis DATA/DAVIS \
        --davis-test-dev DATA/DAVIS_TEST_DEV --youtube-vos DATA/YouTubeVOS \
        --weights yv=runs/lcm_yv/weights.safetensors stm_yv=stm.safetensors \
        --out results/lcm_tables
    python experiments/lcm/tables.py --tables T4 --generated 3 --out results/lcm_tables

Printed numbers and conditions are in `printed.json`. A row is run when its videos and
its weights are there; the table says what others need. One weights file serves table 4,
too, less the modules that a row lacks, and is marked: it was not trained so. What is
done stays done: the same command goes on where it was stopped.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vos_jax.cli.paper_tables import main_of
from vos_jax.reports.paper import (
    Paper,
    Recipe,
    backbones,
    rival,
    rival_weights,
    train,
    weights_of,
)
from vos_jax.reports.printed import PrintedRow, read_printed

MODULES = ("grm", "pgm", "orm")

DATA = {"yv": "", "davis": ":davis", "youtube_vos": ":youtube_vos"}
"""Ends of the names of experiments by the videos that they show."""


def recipe(row: PrintedRow, place: str) -> Recipe | str:
    """How a row is run on videos of `place`."""
    if not row.own:
        return rival(row, place)
    if place.endswith("test-challenge"):
        return "another, stronger system, scored by a server that is closed"
    settings = row.settings
    changes = {f"use_{x}": False for x in MODULES if not settings[f"use_{x}"]}
    # Table 3 prints no data: its row stands beside rivals that have seen both sets.
    data = "yv" if settings.get("yv", True) else "davis"
    if place.startswith("youtube"):
        data = "youtube_vos"
    stages = settings["stages"]
    if stages == [2, 3]:
        modules = "_".join(x for x in MODULES if settings[f"use_{x}"])
        return Recipe(f"{data}_{modules}", changes, instead=data)
    left_out = {(1, 2): "_without_sequence", (1, 3): "_without_main"}
    return Recipe(f"{data}{left_out.get(tuple(stages), '')}", changes)


def _train(stage: str, name: str, begin: str = "", options: str = "") -> str:
    start = weights_of(f"lcm_{begin}") if begin else backbones("resnet50")
    return train(f"lcm/{stage}", f"lcm_{name}", start, options)


def _all_stages(data: str) -> tuple[str, ...]:
    return (
        _train("pretrain", "pretrain"),
        _train(f"main{DATA[data]}", f"{data}_without_sequence", "pretrain"),
        _train(f"sequence{DATA[data]}", data, f"{data}_without_sequence"),
    )


def _videos_alone(modules: str) -> tuple[str, ...]:
    lacking = {f"use_{x}": False for x in MODULES if x not in modules.split("_")}
    options = f' --set "method_options={lacking}"' if lacking else ""
    return (
        _train("main", f"yv_{modules}_main", options=options),
        _train("sequence", f"yv_{modules}", f"yv_{modules}_main", options),
    )


WEIGHTS: Mapping[str, Sequence[str]] = {
    **{data: _all_stages(data) for data in DATA},
    "yv_without_sequence": _all_stages("yv")[:2],
    "yv_without_main": (
        _train("pretrain", "pretrain"),
        _train("sequence", "yv_without_main", "pretrain"),
    ),
    **{
        f"yv_{modules}": _videos_alone(modules)
        for modules in ("grm_pgm_orm", "grm_orm", "grm_pgm", "grm", "pgm_orm")
    },
    **rival_weights("stm_yv", "stm_davis", "stm_youtube_vos"),
}
"""By what they are trained as; "yv" have seen both sets of videos, "+YV"."""

PAPER = Paper(
    printed=read_printed(Path(__file__).with_name("printed.json")),
    method="lcm",
    recipe=recipe,
    weights=WEIGHTS,
    usual="yv",
    alike=("davis", "youtube_vos"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    return main_of(PAPER, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
