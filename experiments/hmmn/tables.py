r"""HMMN, tables 1 to 6 and temporal stability: what is printed, and what is found here.

    python experiments/hmmn/tables.py --list
    python experiments/hmmn/tables.py --davis DATA/DAVIS --weights yv=hmmn.safetensors \
        --out results/hmmn_tables
    python experiments/hmmn/tables.py --tables T6f T6g --generated 3 \
        --out results/hmmn_tables

Printed numbers and conditions are in `printed.json`. A row is run when its videos and
its weights are there; the table says what others need. Those of table 6 that are
trained with other settings also run with the usual weights, and are marked. What is
done stays done: the same command goes on where it was stopped.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

KERNELS: Mapping[str, Mapping[str, Any]] = {
    "hmmn": {},
    "kmn": {"kernel_centre": "global", "sigma": 7.0, "sigma_step": 0.0},
    "none": {"kernel_guided": False},
}
"""Of table 5: K, KMN's K*, and no kernel."""

SELECTIONS = {"random": "random", "stride": "strided"}
"""Of table 6a, by the printed words; all others are of the best cells."""

DATA = {"yv": "main", "davis": "main:davis", "youtube_vos": "main:youtube_vos"}
"""Experiments of the second stage by the videos that it shows."""

TRAINED: Mapping[str, Mapping[str, Any]] = {
    "without_fine": {"fine_stages": ()},
    "res2": {"fine_stages": (2,)},
    "res3": {"fine_stages": (3,)},
    "k8": {"k": 8},
    "k16": {"k": 16},
    "kinf": {"selection": "all"},
    **{f"random{k}": {"selection": "random", "k": k} for k in (64, 128, 256)},
    **{f"stride{k}": {"selection": "strided", "k": k} for k in (128, 288)},
}
"""Settings that training sees, by the end of the weights' names."""


def recipe(row: PrintedRow, place: str) -> Recipe | str:
    """How a row is run on videos of `place`."""
    if not row.own:
        return rival(row, place)
    settings = row.settings
    data = "youtube_vos" if place.startswith("youtube") else "davis"
    if data == "davis" and settings["yv"]:
        data = "yv"
    trained = _trained(settings)
    changes = {
        **KERNELS[settings["kernel"]],
        **_of_k(settings["selection"], settings["k"]),
        **_changes(settings),
    }
    if trained is None:
        return Recipe(data, changes)
    # Without dropout or with all cells in training alone, tests are the usual ones.
    alone = trained in ("without_dropout", "kinf")
    return Recipe(f"{data}_{trained}", changes, instead=None if alone else data)


def _changes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the configuration, but those of the kernel and of k."""
    changes: dict[str, Any] = {}
    if settings["fine_stages"] != [2, 3]:
        changes["fine_stages"] = tuple(settings["fine_stages"])
    if settings["window"] != 7:
        changes["window"] = _finite(settings["window"])
    if settings["sigma"] != 3:
        changes["sigma"] = float(settings["sigma"])
        changes["sigma_step"] = settings["sigma"] * settings["sigma_factor"]
    if settings["fine_kept"] == "every5":
        changes["fine_kept"] = True
    return changes


def _of_k(selection: str, k: int | str) -> dict[str, Any]:
    """Which coarse cells stand for the fine ones that are read."""
    if _finite(k) is None:
        return {"selection": "all"}
    if selection == "topk" and k != 32:
        return {"k": k}
    if selection in SELECTIONS:
        return {"selection": SELECTIONS[selection], "k": k}
    return {}


def _finite(number: int | str) -> int | None:
    return None if number == "inf" else int(number)


def _trained(settings: Mapping[str, Any]) -> str | None:
    """What training sees of the settings, unless it is the usual."""
    if not settings["dropout"]:
        return "without_dropout"
    if settings["fine_stages"] != [2, 3]:
        stages = [f"res{stage}" for stage in settings["fine_stages"]]
        return stages[0] if stages else "without_fine"
    selection, k = settings["selection"], settings["k_train"]
    if (selection, k) == ("topk", 32):
        return None
    return f"{'k' if selection == 'topk' else selection}{k}"


def _train(data: str, trained: str | None = None) -> tuple[str, str]:
    """Commands of both stages."""
    end = "" if trained is None else f"_{trained}"
    options = ""
    if trained == "without_dropout":
        options = ' --set "objective.dropout=(0.0, 0.0)"'
    elif trained is not None:
        options = f' --set "method_options={dict(TRAINED[trained])}"'
    first, second = f"hmmn_pretrain{end}", f"hmmn_{data}{end}"
    return (
        train("hmmn/pretrain", first, backbones("resnet50"), options),
        train(f"hmmn/{DATA[data]}", second, weights_of(first), options),
    )


WEIGHTS: Mapping[str, Sequence[str]] = {
    **{data: _train(data) for data in DATA},
    **{
        f"{data}_{trained}": _train(data, trained)
        for data in ("yv", "youtube_vos")
        for trained in (*TRAINED, "without_dropout")
    },
    **rival_weights("stm_yv", "stm_youtube_vos"),
}
"""By what they are trained as; "yv" have seen both sets of videos, "+YV"."""

PAPER = Paper(
    printed=read_printed(Path(__file__).with_name("printed.json")),
    method="hmmn",
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
