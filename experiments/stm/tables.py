r"""STM, tables 1 to 5: what is printed, and what is found here.

    python experiments/stm/tables.py --list
    python experiments/stm/tables.py --davis DATA/DAVIS --youtube-vos DATA/YouTubeVOS \
        --weights yv=stm.safetensors davis=runs/stm_davis/weights.safetensors \
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
from vos_jax.reports.paper import Paper, Recipe, backbones, train, weights_of
from vos_jax.reports.printed import PrintedRow, read_printed


def _from_imagenet(experiment: str, name: str) -> str:
    return train(f"stm/{experiment}", f"stm_{name}", backbones("resnet50"))


def _after_images(experiment: str, name: str) -> tuple[str, str]:
    begin = weights_of("stm_pretrain")
    return (
        _from_imagenet("pretrain", "pretrain"),
        train(f"stm/{experiment}", f"stm_{name}", begin),
    )


WEIGHTS: Mapping[str, Sequence[str]] = {
    "yv": _after_images("main", "yv"),
    "davis": _after_images("main:davis", "davis"),
    "youtube_vos": _after_images("main:youtube_vos", "youtube_vos"),
    "pretrain": (_from_imagenet("pretrain", "pretrain"),),
    "main_davis": (_from_imagenet("main:davis", "main_davis"),),
    "main_youtube_vos": (_from_imagenet("main:youtube_vos", "main_youtube_vos"),),
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
    alike=("davis", "youtube_vos"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    return main_of(PAPER, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
