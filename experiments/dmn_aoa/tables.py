r"""DMN-AOA, tables 1 to 4: what is printed, and what is found here.

    python experiments/dmn_aoa/tables.py --list
    python experiments/dmn_aoa/tables.py --davis DATA/DAVIS \
        --proposals coco+ytvos=DATA/proposals/davis_ytvos \
        coco=DATA/proposals/davis_coco coco+davis=DATA/proposals/davis_davis \
        --weights davis=runs/dmn_aoa_davis/weights.safetensors \
        --out results/dmn_aoa_tables
    python experiments/dmn_aoa/tables.py --tables T3 T4 --generated 3 \
        --out results/dmn_aoa_tables

Printed numbers and conditions are in `printed.json`. A row is run when its videos, its
weights and its proposals are there; the table says what others need. What is done stays
done: the same command goes on where it was stopped.

Times are without the detector's, which `vos-jax propose --json` tells.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vos_jax.cli.paper_tables import main_of
from vos_jax.methods.dmn_aoa.config import MEMORY_SAMPLING
from vos_jax.nn.resnet import ResNetConfig
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

PARTS = ("use_dmn", "use_aoa", "frame_memory", "use_matcher", "use_refinenet")
"""Settings of table 3, A, which are fields of the configuration, too."""

STAGES = {
    "base_features": "encode",
    "template": "read",
    "matcher": "match",
    "refinenet": "refine",
}
"""Rows of table 4, as `vos-jax bench model` names them."""


def recipe(row: PrintedRow, place: str) -> Recipe | str:
    """How a row is run on videos of `place`."""
    if not row.own:
        return rival(row, place)
    settings = row.settings
    if "module" in settings:
        if row.name not in STAGES:
            return "`vos-jax propose --json` times the detector"
        return Recipe("davis", stage=STAGES[row.name])
    changes = {x: settings[x] for x in PARTS if settings[x] != PUBLISHED["dmn-aoa"][x]}
    data = "yv" if settings["yv"] else "davis"
    if place.startswith("youtube"):
        data = "youtube_vos"
    weights, instead = data, None
    if changes:
        # Each is trained for itself, by both stages.
        weights = f"{data}_{row.name}"
    if settings["backbone"] == "R101":
        weights = f"{data}_r101"
        changes["backbone"] = ResNetConfig(depth=101)
    if not settings["pretrain"]:
        weights = f"{data}_without_pretrain"
    if not settings["main"]:
        weights = "pretrain"
    if settings["memory_sampling"] != "every5":
        changes.update(MEMORY_SAMPLING[settings["memory_sampling"]])
    if row.name[0] in "BD":
        # The second stage may have seen that memory, and takes those proposals.
        weights, instead = f"{data}_{row.name}", data
    takes = settings["use_matcher"]
    inputs = settings["proposals"] if takes else None
    return Recipe(weights, changes, instead=instead, inputs=inputs)


def _train(stage: str, name: str, begin: str = "", options: str = "") -> str:
    start = weights_of(f"dmn_aoa_{begin}")
    if not begin:
        start = backbones("resnet101" if "101" in options else "resnet50")
    return train(f"dmn_aoa/{stage}", f"dmn_aoa_{name}", start, options)


def _both(
    data: str, end: str = "", options: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Commands of both stages; those of "yv" see YouTube-VOS before DAVIS."""
    more = f' --set "method_options={dict(options)}"' if options else ""
    first = f"pretrain{end}"
    commands = [_train("pretrain", first, options=more)]
    if data != "davis":
        commands.append(
            _train("main:youtube_vos", f"youtube_vos{end}", first, options=more)
        )
        first = f"youtube_vos{end}"
    if data != "youtube_vos":
        commands.append(_train("main", f"{data}{end}", first, options=more))
    return tuple(commands)


def _second(end: str, option: str) -> tuple[str, str]:
    """The usual first stage, and a second one that differs."""
    return (
        _train("pretrain", "pretrain"),
        _train("main", f"davis{end}", "pretrain", f" --set {option}"),
    )


_DEEP = {"backbone": {"depth": 101}}

_PRINTED = read_printed(Path(__file__).with_name("printed.json"))

_ARCHITECTURE = {
    row.name: {x: row.varied[x] for x in PARTS if x in row.varied}
    for row in _PRINTED.tables["T3"].rows
    if row.name.startswith("A")
}

_MEMORY = {"B1": "first", "B2": "prev", "B3": "first+prev", "B4": "all"}

_PROPOSALS = {"D1": "proposals/davis_davis", "D2": "proposals/davis_coco"}

WEIGHTS: Mapping[str, Sequence[str]] = {
    **{data: _both(data) for data in ("davis", "yv", "youtube_vos")},
    **{f"{data}_r101": _both(data, "_r101", _DEEP) for data in ("yv", "youtube_vos")},
    **{f"davis_{x}": _both("davis", f"_{x}", y) for x, y in _ARCHITECTURE.items()},
    **{
        f"davis_{x}": _second(f"_{x}", f"objective.memory={y}")
        for x, y in _MEMORY.items()
    },
    **{
        f"davis_{x}": _second(f"_{x}", f"data.0.inputs={y}")
        for x, y in _PROPOSALS.items()
    },
    "davis_without_pretrain": (_train("main:from_imagenet", "from_imagenet"),),
    "pretrain": _both("davis")[:1],
    **rival_weights("stm_davis", "stm_yv", "stm_youtube_vos"),
}
"""By what they are trained as; "yv" have seen both sets of videos."""

PAPER = Paper(
    printed=_PRINTED,
    method="dmn-aoa",
    recipe=recipe,
    weights=WEIGHTS,
    usual="davis",
    alike=("yv", "youtube_vos"),
    inputs=("coco+ytvos", "coco+davis", "coco"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    return main_of(PAPER, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
