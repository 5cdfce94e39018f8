"""Every data set by name."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from vos_jax.data.source import Source
from vos_jax.data.sources.coco import open_coco
from vos_jax.data.sources.generated import GeneratedSource
from vos_jax.data.sources.stills import (
    open_big,
    open_duts,
    open_ecssd,
    open_fss1000,
    open_hrsod,
    open_msra10k,
    open_pairs,
    open_pascal_s,
    open_pascal_voc,
    open_sbd,
)
from vos_jax.data.sources.tfds_records import open_tfds
from vos_jax.data.sources.videos import (
    open_bl30k,
    open_davis2016,
    open_davis2017,
    open_youtube_vos,
)
from vos_jax.errors import InputError

SOURCES: Mapping[str, Callable[..., Source]] = {
    "davis2016": open_davis2016,
    "davis2017": open_davis2017,
    "youtube-vos": open_youtube_vos,
    "bl30k": open_bl30k,
    "ecssd": open_ecssd,
    "duts": open_duts,
    "msra10k": open_msra10k,
    "hrsod": open_hrsod,
    "fss1000": open_fss1000,
    "big": open_big,
    "pascal-s": open_pascal_s,
    "pairs": open_pairs,
    "pascal-voc": open_pascal_voc,
    "sbd": open_sbd,
    "coco": open_coco,
    "tfds": open_tfds,
}
"""What opens a data set in the folder that holds it, by name."""

GENERATED = "generated"
"""The name of the source that needs no folder."""


def open_source(name: str, /, root: str | Path | None = None, **options: Any) -> Source:
    """Opens a data set of `SOURCES`, or generated clips, which have no root.

    Args:
      name: Of the data set.
      root: Its folder.
      options: Those of its opening function, or of `GeneratedSource`.

    Raises:
      InputError: The name or an option is unknown, the root is missing, or the data set
        cannot be opened.
    """
    if name == GENERATED:
        _check_options(name, GeneratedSource, options)
        return GeneratedSource(**options)
    if name not in SOURCES:
        raise InputError(
            f"unknown data set {name!r}; use one of {[*SOURCES, GENERATED]}"
        )
    if root is None:
        raise InputError(f"data set {name!r} needs its folder; give the root")
    _check_options(name, SOURCES[name], options)
    return SOURCES[name](root, **options)


def _check_options(
    name: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    known = [option for option in signature(function).parameters if option != "root"]
    for option in options:
        if option not in known:
            raise InputError(
                f"data set {name!r} has no option {option!r}; it has {known or 'none'}"
            )
