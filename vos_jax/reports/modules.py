"""What a module of a method is worth: with it and without, where it should matter."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from vos_jax.errors import InputError
from vos_jax.inference.demo import HELD_OUT
from vos_jax.methods.inputs import of_frames
from vos_jax.methods.registry import create
from vos_jax.methods.weights import load_model
from vos_jax.reports.ablation import (
    Measured,
    Setting,
    Split,
    generated_split,
    measure_settings,
)
from vos_jax.runtime.text_table import markdown_table


class Module(NamedTuple):
    """A part of a method, and the clips that its idea is for.

    Attributes:
      title: What it does.
      method: Whose it is.
      without: Fields of the configuration that leave it out.
      theme: Of generated clips.
      frames: Of each clip.
      trained: The command that trains the network without it; None for a part that
        guides inference alone, so that the same weights go without it.
    """

    title: str
    method: str
    without: Mapping[str, Any]
    theme: str
    frames: int = 24
    trained: str | None = None


class Row(NamedTuple):
    """J&F in [0, 1] of a method with a module and without it.

    Attributes:
      module: Its name.
      videos: What they were measured on.
      weights: What the network without it has: weights "trained" without it, the
        "same" for a part that guides inference alone, or those of the whole "cut".
      whole: With the module; the mean over the sets of clips, as the next two.
      without: Less the module.
      gain: The difference.
      spread: Standard deviation of the difference from set to set; None for one set.
      least: The smallest difference of a set.
    """

    module: str
    videos: str
    weights: str
    whole: float
    without: float
    gain: float
    spread: float | None = None
    least: float | None = None


def measure_modules(
    modules: Mapping[str, Module],
    out: Path,
    *,
    whole: Mapping[str, Path],
    without: Mapping[str, Path],
    sets: int,
    clips: int,
    real: Split | None = None,
    size: int | None = None,
) -> Iterator[Row]:
    """Evaluates modules one by one; what was done before is only read.

    Both networks see the same clips, so that a set's difference is of the module and
    not of the clips.

    Args:
      modules: By name.
      out: Folder of clips, masks and figures.
      whole: Weights of the whole network by method; else those that ship.
      without: Weights trained without a module, by its name.
      sets: Of generated clips, each of seeds of its own.
      clips: In each set.
      real: Videos beside the generated ones.
      size: Shorter side to compute real videos at.

    Yields:
      A row for the sets of clips, and one for the real videos.

    Raises:
      InputError: As `measure_settings`; weights of any module do not fit, before any
        work.
    """

    @cache
    def splits(theme: str, frames: int) -> Sequence[Split]:
        """Drawn once, whatever is measured on them."""
        folder = out / "clips" / f"{theme}_{clips}x{frames}"
        return [
            generated_split(
                *(folder / str(number), clips, theme, frames, HELD_OUT + number)
            )
            for number in range(sets)
        ]

    settings_of = {
        name: _settings(name, module, whole.get(module.method), without.get(name))
        for name, module in modules.items()
    }
    for name, module in modules.items():
        weights = _weights(name, module, without)
        settings = settings_of[name]
        folder = out / f"{module.method}_{module.theme}_{clips}x{module.frames}"
        pairs = [
            _measure(module.method, settings, split, folder / f"set{number}")
            for number, split in enumerate(splits(module.theme, module.frames))
        ]
        label = f"{sets} x {clips} clips of {module.theme}, {module.frames} frames"
        yield _row(name, label, weights, pairs)
        if real is not None:
            at = "" if size is None else f" at {size}"
            pair = _measure(
                *(module.method, settings, real, out / f"{module.method}_real{at}"),
                size,
            )
            yield _row(name, f"{real.dataset} {real.name}{at}", weights, [pair])


def modules_table(modules: Mapping[str, Module], rows: Sequence[Row]) -> str:
    """Markdown: J&F with each module and without it, rows in their order."""
    head = ("module", "videos", "weights", "with", "without", "gain", "spread")
    return markdown_table(
        head,
        [
            (
                *(modules[row.module].title, row.videos, row.weights),
                *(f"{x:.3f}" for x in (row.whole, row.without)),
                f"{row.gain:+.3f}",
                "" if row.spread is None else f"{row.spread:.3f}",
            )
            for row in rows
        ],
    )


def _settings(
    name: str, module: Module, whole: Path | None, without: Path | None
) -> Mapping[str, Setting]:
    """With the module and without it, once it is sure that weights fit both."""
    inputs = of_frames(create(module.method).inputs)
    load_model(module.method, whole)
    try:
        load_model(module.method, without or whole, **module.without)
    except InputError as error:
        raise InputError(
            f"{name}: {error}; give weights that were trained without it, or leave it"
            " out"
        ) from error
    return {
        "whole": Setting({}, whole, inputs=inputs),
        f"without_{name}": Setting(module.without, without or whole, inputs=inputs),
    }


def _weights(name: str, module: Module, without: Mapping[str, Path]) -> str:
    """What the network without the module has."""
    if name in without:
        return "trained"
    return "same" if module.trained is None else "cut"


def _measure(
    method: str,
    settings: Mapping[str, Setting],
    split: Split,
    folder: Path,
    size: int | None = None,
) -> Sequence[Measured]:
    """With the module and without it."""
    found = dict(measure_settings(method, settings, split, folder, size=size))
    return [found[name] for name in settings]


def _row(
    name: str, videos: str, weights: str, pairs: Sequence[Sequence[Measured]]
) -> Row:
    """Means over sets, and how far their differences are from one another."""
    wholes, others = zip(*[[x.j_and_f for x in pair] for pair in pairs], strict=True)
    gains = [whole - without for whole, without in zip(wholes, others, strict=True)]
    many = len(gains) > 1
    return Row(
        module=name,
        videos=videos,
        weights=weights,
        whole=mean(wholes),
        without=mean(others),
        gain=mean(gains),
        spread=stdev(gains) if many else None,
        least=min(gains) if many else None,
    )
