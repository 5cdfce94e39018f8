"""How the rows of a paper's tables are run: weights, settings and videos of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.reports.ablation import Split
from vos_jax.reports.printed import Printed, PrintedRow

_NOWHERE = Path()

_RIVALS = ("stm", "hmmn", "lcm", "stcn")


class Place(NamedTuple):
    """Where rows are evaluated.

    Attributes:
      option: Which one names the folder.
      split: Its root is what the option says.
      is_public: Whether the annotations are; else a server scores.
      size: Shorter side to compute at, unless `--size` is given.
    """

    option: str
    split: Split
    is_public: bool = True
    size: int | None = None


PLACES: Mapping[str, Place] = {
    "davis2016/val": Place("--davis", Split("davis2016", _NOWHERE, "val")),
    "davis2017/val": Place("--davis", Split("davis2017", _NOWHERE, "val")),
    "davis2017/test-dev": Place(
        "--davis-test-dev", Split("davis2017", _NOWHERE, "test-dev"), is_public=False
    ),
    "youtube_vos_2018/val": Place(
        *("--youtube-vos", Split("youtube-vos", _NOWHERE, "valid")),
        is_public=False,
        size=480,
    ),
    "youtube_vos_2019/val": Place(
        *("--youtube-vos-2019", Split("youtube-vos", _NOWHERE, "valid")),
        is_public=False,
        size=480,
    ),
}
"""By data set and split, as papers' files name them."""


PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "stm": {"mem_every": 5, "memory_sampling": "first+prev"},
    "hmmn": {
        "mem_every": 5,
        "kernel_guided": True,
        "kernel_centre": "released",
        "window": 7,
        "sigma": 3.0,
        "sigma_step": 1.5,
        "fine_stages": (3, 2),
        "k": 32,
        "selection": "best",
        "fine_kept": False,
    },
    "lcm": {"mem_every": 5, "use_grm": True, "use_pgm": True, "use_orm": True},
    "stcn": {"mem_every": 5, "top_k": 20},
    "rde": {
        "mem_every": 3,
        "top_k": 40,
        "first": 2,
        "latest": True,
        "recurrent": True,
    },
    "dmn-aoa": {
        "mem_every": 5,
        "memory_sampling": "first+prev",
        "use_dmn": True,
        "use_aoa": True,
        "frame_memory": False,
        "use_matcher": True,
        "use_refinenet": True,
    },
}
"""Fields of the configuration that hold in tables unless a row changes them, whatever
weights were trained with: what is not there is refused, and not left out in silence."""


class Recipe(NamedTuple):
    """How a row is run.

    Attributes:
      weights: What they must have been trained as: a name of the paper's `weights`.
      changes: Fields of the method's configuration.
      method: Its name, where it is not the paper's own.
      instead: Name of weights that run with these settings, too, though they were not
        trained so; the table says which.
      inputs: Name of what else the method takes, proposals of a detector for one.
      stage: The one whose time a row is about, as `vos-jax bench model` names it.
    """

    weights: str
    changes: Mapping[str, Any] = {}
    method: str | None = None
    instead: str | None = None
    inputs: str | None = None
    stage: str | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper's tables, and how their rows are run.

    Attributes:
      printed: Its tables.
      method: Name of its method; `<method>-tiny` is the small one.
      recipe: How a row is run at a place, by `PLACES`' names; or why it is not.
      weights: By name, the commands that train them.
      usual: Name of those that a file without a name is.
      alike: Names of weights that differ in their training data alone: those of the
        small network stand for all of these.
      inputs: Names of what else the method takes; the first is the usual one.
    """

    printed: Printed
    method: str
    recipe: Callable[[PrintedRow, str], Recipe | str]
    weights: Mapping[str, Sequence[str]]
    usual: str
    alike: Sequence[str] = ()
    inputs: Sequence[str] = ()

    @property
    def tiny(self) -> str:
        """Name of the small network."""
        return f"{self.method}-tiny"


def rival(row: PrintedRow, place: str) -> Recipe | str:
    """How a row of another paper's method is run, with weights of its name.

    Theirs are `<method>_davis`, `_yv`, which has seen both sets of videos, or
    `_youtube_vos`; with `_bl30k` behind where the row says so.
    """
    method = row.name.partition("_")[0]
    if method not in _RIVALS:
        return f"{method.upper()} is not built"
    if row.settings.get("res600p"):
        return "printed at 600 pixels, where all rows here have one size"
    data = "yv" if row.settings.get("yv", True) else "davis"
    if place.startswith("youtube") and method != "stcn":
        data = "youtube_vos"
    bl30k = "_bl30k" if row.settings.get("bl30k") else ""
    return Recipe(f"{method}_{data}{bl30k}", method=method)


def train(experiment: str, workdir: str, begin: str, options: str = "") -> str:
    """The command of a stage.

    Args:
      experiment: Its name.
      workdir: Name of its folder in `runs`.
      begin: What it begins with, for `--set`.
      options: Words behind it.
    """
    return (
        f"vos-jax train {experiment} --data DATA --workdir runs/{workdir}"
        f" --set {begin}{options}"
    )


def backbones(*names: str) -> str:
    """Weights of ImageNet to begin with."""
    return f'"backbones={[f"{name}.safetensors" for name in names]}"'


def weights_of(workdir: str, key: str = "weights") -> str:
    """Weights of another stage to begin with."""
    return f"{key}=runs/{workdir}/weights.safetensors"


def rival_weights(*names: str) -> dict[str, Sequence[str]]:
    """Where to look how weights of other papers' methods are trained, by names."""
    return {
        name: (f"experiments/{name.partition('_')[0]}/README.md",) for name in names
    }
