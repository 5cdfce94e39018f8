r"""RDE-VOS, tables 1 to 6, STCN beside it: what is printed, and what is found here.

    python experiments/rde/tables.py --list
    python experiments/rde/tables.py --davis DATA/DAVIS \
        --davis-test-dev DATA/DAVIS_TEST_DEV --youtube-vos-2019 DATA/YouTubeVOS2019 \
        --weights yv_bl30k=rde.safetensors stcn_yv_bl30k=stcn.safetensors \
        --out results/rde_tables
    python experiments/rde/tables.py --tables T5a T5b --generated 3 \
        --out results/rde_tables

Printed numbers and conditions are in `printed.json`. A row is run when its videos and
its weights are there; the table says what others need. One weights file serves all of
table 5. What is done stays done: the same command goes on where it was stopped.

A frame of YouTube-VOS is one that is read: theta counts those.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vos_jax.cli.paper_tables import main_of
from vos_jax.reports.paper import (
    PUBLISHED,
    Paper,
    Recipe,
    backbones,
    rival,
    rival_weights,
    train,
    weights_of,
)
from vos_jax.reports.printed import PrintedRow, read_printed


def recipe(row: PrintedRow, place: str) -> Recipe | str:
    """How a row is run on videos of `place`."""
    if not row.own:
        return rival(row, place)
    settings = row.settings
    wanted = {
        "mem_every": settings["theta"],
        "first": settings["first"],
        "latest": settings["latest"],
        "recurrent": settings["recurrent"],
    }
    changes = {x: y for x, y in wanted.items() if y != PUBLISHED["rde"][x]}
    lacking = {"seg_stm", "mc", "ug"} - set(settings["losses"])
    without = "".join(f"_without_{name}" for name in sorted(lacking))
    bl30k = "_bl30k" if settings["bl30k"] else ""
    return Recipe(f"yv{bl30k}{without}", changes)


def _train(stage: str, name: str, begin: str = "", options: str = "") -> str:
    start = backbones("resnet50", "resnet18")
    if begin:
        # Objects that see one another's masks come with videos.
        key = "grown_from" if begin == "pretrain" else "weights"
        start = weights_of(f"rde_{begin}", key)
    return train(f"rde/{stage}", f"rde_{name}", start, options)


def _without_bl30k(name: str, options: str = "") -> tuple[str, ...]:
    return (
        _train("pretrain", "pretrain"),
        _train("main:without_bl30k", name, "pretrain", options),
    )


WEIGHTS: Mapping[str, Sequence[str]] = {
    "yv_bl30k": (
        _train("pretrain", "pretrain"),
        _train("bl30k", "bl30k", "pretrain"),
        _train("main", "yv_bl30k", "bl30k"),
    ),
    "yv": _without_bl30k("yv"),
    "yv_without_mc": _without_bl30k("yv_without_mc", " --set objective.correction=0"),
    "yv_without_ug": _without_bl30k("yv_without_ug", " --set objective.guidance=0"),
    "yv_without_mc_without_ug": _without_bl30k(
        "yv_without_mc_without_ug",
        " --set objective.correction=0 --set objective.guidance=0",
    ),
    "yv_without_seg_stm": _without_bl30k(
        "yv_without_seg_stm", " --set objective.teacher=False"
    ),
    **rival_weights(
        *("stm_yv", "stm_youtube_vos", "lcm_yv", "hmmn_yv", "stcn_yv_bl30k")
    ),
}
"""By what they are trained as; all have seen DAVIS and YouTube-VOS, "yv"."""

PAPER = Paper(
    printed=read_printed(Path(__file__).with_name("printed.json")),
    method="rde",
    recipe=recipe,
    weights=WEIGHTS,
    usual="yv_bl30k",
    alike=("yv",),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    return main_of(PAPER, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
