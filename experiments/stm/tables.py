r"""STM, tables 1 to 5: what is printed, and what is found here.

    python experiments/stm/tables.py --list
    python experiments/stm/tables.py --davis DATA/DAVIS --youtube-vos DATA/YouTubeVOS \
        --weights yv=stm.safetensors davis=runs/full_davis/weights.safetensors \
        --out results/stm_tables
    python experiments/stm/tables.py --tables T5 --generated 3 --out results/stm_tables

Printed numbers and conditions are in `printed.json`. A row is run when its videos and
its weights are there; the table says what others need. What is done stays done: the
same command goes on where it was stopped.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vos_jax.cli.paper_tables import main_of
from vos_jax.reports.paper import Paper, Recipe
from vos_jax.reports.printed import PrintedRow, read_printed

_FROM_IMAGENET = "--set \"backbones=['resnet50.safetensors']\""


def _train(experiment: str, name: str, begin: str = _FROM_IMAGENET) -> str:
    return (
        f"vos-jax train stm/{experiment} --data DATA --workdir runs/stm_{name} {begin}"
    )


def _after_images(experiment: str, name: str) -> tuple[str, str]:
    begin = "--set weights=runs/stm_pretrain/weights.safetensors"
    return _train("pretrain", "pretrain"), _train(experiment, name, begin)


WEIGHTS: Mapping[str, Sequence[str]] = {
    "yv": _after_images("main", "yv"),
    "davis": _after_images("main:davis", "davis"),
    "youtube_vos": _after_images("main:youtube_vos", "youtube_vos"),
    "pretrain": (_train("pretrain", "pretrain"),),
    "main_davis": (_train("main:davis", "main_davis"),),
    "main_youtube_vos": (_train("main:youtube_vos", "main_youtube_vos"),),
}
"""By what they are trained as; "yv" have seen both sets of videos, "+YV"."""

MEMORY: Mapping[str, Mapping[str, Any]] = {
    "every5": {},
    "first+previous": {"mem_every": None},
    "first": {"mem_every": None, "memory_sampling": "first"},
    "previous": {"mem_every": None, "memory_sampling": "prev"},
}
"""Rules of table 5."""


def recipe(row: PrintedRow, place: str) -> Recipe:
    """How a row is run on videos of `place`."""
    settings = row.settings
    on_youtube, trained = place.startswith("youtube"), settings["training"]
    if trained == "cross":
        on_youtube = not on_youtube
    data = "youtube_vos" if on_youtube else "yv" if settings["yv"] else "davis"
    weights = {"pretrain": "pretrain", "main": f"main_{data}"}.get(trained, data)
    return Recipe(weights, MEMORY[settings["memory"]])


PAPER = Paper(
    printed=read_printed(Path(__file__).with_name("printed.json")),
    method="stm",
    recipe=recipe,
    weights=WEIGHTS,
    usual="yv",
    published={"mem_every": 5, "memory_sampling": "first+prev"},
    alike=("davis", "youtube_vos"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    return main_of(PAPER, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
