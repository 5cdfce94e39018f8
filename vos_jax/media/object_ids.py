"""Which object each value or colour means, in all mask files of a video alike."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vos_jax.errors import InputError, warn
from vos_jax.media.drawings import (
    REDRAW,
    SMALL_ID,
    Drawing,
    border_share,
    hex_colour,
    is_black,
)
from vos_jax.media.masks import INDEXED, davis_palette
from vos_jax.media.soft_edges import WHITE, values_of, values_with_inside
from vos_jax.types import IGNORE

__all__ = ["FAR_APART", "object_ids", "tell"]

FAR_APART = 16
"""Greys that differ by less are no two pencils."""

_AS_THEY_ARE = np.arange(256, dtype=np.uint8)
# Colours that differ by less in each channel are no two pencils either.
_COLOURS_APART = 32
# From this share of the border on, what is white may be the paper.
_MOST = 0.75


def object_ids(drawn: Sequence[Drawing]) -> list[np.ndarray]:
    """Decides for all files of a video what their values mean.

    Args:
      drawn: The files that show something, without soft edges.

    Returns:
      The object of each value, uint8 `[256]` for each file.

    Raises:
      InputError: A file can mean more than one thing, or another thing than a second.
    """
    if any(each.kind == "colour" for each in drawn) or _colours_move(drawn):
        return _ids_of_colours(drawn)
    _refuse_other_colours(drawn)
    return _ids_of_values(drawn)


def tell(notes: Iterable[tuple[Path, str]]) -> None:
    """Says each thing once, with the first file of which it is true."""
    paths: dict[str, list[Path]] = {}
    for path, note in notes:
        paths.setdefault(note, []).append(path)
    for note, files in paths.items():
        others = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        warn(f"{files[0]}{others}: {note}")


# Values of all files


def _ids_of_values(drawn: Sequence[Drawing]) -> list[np.ndarray]:
    """What the values of files that show ids or greys mean, uint8 `[256]` for each.

    Raises:
      InputError: A value means one thing in one file and another in a second.
    """
    greys = [each for each in drawn if each.kind == "grey"]
    labels = [each for each in drawn if each.kind == "ids"]
    for each in labels:
        _refuse_ignore_only(each)
        if list(_colours_of(each).values()) == ["#ffffff"]:
            _refuse_paper(each)
    table, painted = _ids_of_greys(greys)
    if painted:
        _refuse_beside_labels(greys[0], labels, int(table.max()))
        for each in greys:
            _refuse_paper(each, table)
    return [table if each.kind == "grey" else _AS_THEY_ARE for each in drawn]


def _ids_of_greys(greys: Sequence[Drawing]) -> tuple[np.ndarray, bool]:
    """What each grey means in all files, uint8 `[256]`, and whether it was painted."""
    table = _AS_THEY_ARE.copy()
    values = _union(greys)
    ids = values[values < IGNORE]
    if not values.size or (values[-1] < IGNORE and all(each.exact for each in greys)):
        return table, False
    if not all(each.exact for each in greys) or not ids.size:
        _refuse_other_greys(greys)
        return (table >= WHITE).astype(np.uint8), True
    if ids[-1] <= SMALL_ID:
        for each in greys:
            _refuse_ignore_only(each)
        return table, False
    if np.diff(values, prepend=0).min() < FAR_APART:
        raise InputError(
            f"{greys[0].path}: 255 may be an object or mean ignore beside the greys "
            f"{_list(ids)}; {INDEXED}"
        )
    table[values] = np.arange(1, values.size + 1)
    taken = ", ".join(f"{value} as {id}" for id, value in enumerate(values, 1))
    tell(
        (each.path, f"greys are taken as objects: {taken}; else {INDEXED}")
        for each in greys
    )
    return table, True


def _refuse_other_greys(greys: Sequence[Drawing]) -> None:
    soft = next((each for each in greys if not each.exact), greys[0])
    for each in greys:
        values = values_of(each.pixels)
        if ((values > 0) & (values < WHITE)).any():
            raise InputError(
                f"{each.path} has the greys {_list(values[values > 0])}, but "
                f"{soft.path} is black and white with soft edges; {INDEXED}, in all "
                "files"
            )


def _refuse_ignore_only(drawing: Drawing) -> None:
    if values_of(drawing.pixels).tolist() in ([IGNORE], [0, IGNORE]):
        raise InputError(
            f"{drawing.path} holds no object: its only value beside 0 is 255, which "
            "means ignore in a label map; save the object as its number"
        )


def _refuse_beside_labels(
    grey: Drawing, labels: Sequence[Drawing], objects: int
) -> None:
    for each in labels:
        ids = np.setdiff1d(each.pixels, [0, IGNORE])
        if objects > 1 or (ids > 1).any():
            raise InputError(
                f"{grey.path} is painted and {each.path} holds object ids "
                f"({_list(ids)}), so that it is unclear which object is which; "
                f"{INDEXED}, in all files"
            )


def _refuse_paper(drawing: Drawing, table: np.ndarray = _AS_THEY_ARE) -> None:
    """Refuses a ground of white: what covers the whole border around something else."""
    path, labels = drawing.path, table[drawing.pixels]
    if border_share(labels == 0) == 0 and not labels.all():
        for id in values_of(labels):
            if border_share(labels == id) == 1:
                raise InputError(
                    f"{path} may be inverted: what object {id} would be covers the "
                    "whole border; paint the object white on black, or, if it is "
                    f"right, {INDEXED}"
                )
    if border_share(labels > 0) >= _MOST:
        warn(
            f"{path}: the objects cover most of its border; if black is the object, "
            "invert it"
        )


def _union(drawn: Sequence[Drawing]) -> np.ndarray:
    values = [values_of(each.pixels) for each in drawn]
    return np.setdiff1d(np.concatenate([np.zeros(0, np.uint8), *values]), [0])


def _list(values: np.ndarray) -> str:
    shown = ", ".join(map(str, values[:8].tolist()))
    return f"{shown}, ..." if values.size > 8 else shown


# Colours of all files


def _colours_of(drawing: Drawing) -> dict[int, str]:
    """Names the colour of each value but black."""
    if drawing.colours is None:
        return {}
    used = values_of(drawing.pixels)
    used = used[~is_black(drawing.colours[used])]
    return {int(value): hex_colour(drawing.colours[value]) for value in used}


def _colours_move(drawn: Sequence[Drawing]) -> bool:
    """Whether one colour has another index in another palette file."""
    index_of: dict[str, int] = {}
    for each in drawn:
        if each.kind == "ids":
            for value, colour in _colours_of(each).items():
                if index_of.setdefault(colour, value) != value:
                    return len(drawn) > 1
    return False


def _refuse_other_colours(drawn: Sequence[Drawing]) -> None:
    """Refuses indices that have one colour in one file and another in a second."""
    colour_of: dict[int, tuple[str, Path]] = {}
    for each in drawn:
        for value, colour in _colours_of(each).items() if each.kind == "ids" else ():
            before, path = colour_of.setdefault(value, (colour, each.path))
            if before != colour:
                raise InputError(
                    f"{each.path} shows index {value} as {colour}, but {path} as "
                    f"{before}, so that it is unclear whether it is one object; "
                    "save all files with one palette"
                )


def _ids_of_colours(drawn: Sequence[Drawing]) -> list[np.ndarray]:
    """What the colours of the files mean: a table of ids, uint8 `[256]`, for each.

    Raises:
      InputError: A file has soft edges, no black ground, or no colours.
    """
    names = sorted({c for each in drawn for c in _colours_of(each).values()})
    labels = next((each for each in drawn if _holds_ids(each, names)), None)
    if labels is not None:
        other = next(each for each in drawn if each is not labels)
        raise InputError(
            f"{labels.path} holds object ids and {other.path} colours, so that it is "
            f"unclear which object is which; {INDEXED}, in all files"
        )
    for each in drawn:
        _refuse_unclear_colours(each)
    number_of = _numbers(names)
    by_number = sorted(number_of.items(), key=lambda item: item[1])
    taken = ", ".join(f"{name} as {number}" for name, number in by_number)
    tell(
        (each.path, f"colours are taken as objects: {taken}; else {INDEXED}")
        for each in drawn
    )
    tables = []
    for each in drawn:
        table = np.zeros(256, np.uint8)
        for value, colour in _colours_of(each).items():
            table[value] = number_of[colour]
        _refuse_paper(each, table)
        tables.append(table)
    return tables


def _refuse_unclear_colours(drawing: Drawing) -> None:
    """Refuses a painting of colours that run into one another or have no ground."""
    assert drawing.colours is not None
    if drawing.kind != "colour":
        return
    used = values_of(drawing.pixels)
    ground = is_black(drawing.colours[used])
    shown = drawing.colours[used].astype(np.int16)
    apart = np.abs(shown[:, None] - shown).max(axis=-1)
    np.fill_diagonal(apart, 255)
    thin = np.setdiff1d(used[~ground], values_with_inside(drawing.pixels))
    if thin.size or (apart < _COLOURS_APART).any():
        raise InputError(
            f"{drawing.path} has {used.size} distinct colours instead of labels, some "
            f"of them on edges or nearly alike; paint in flat colours, or {INDEXED}"
        )
    if not ground.any():
        raise InputError(f"{drawing.path} has no black background; {REDRAW}")


def _holds_ids(drawing: Drawing, names: Sequence[str]) -> bool:
    """Whether a file's numbers are ids whatever the colours that other files show."""
    if drawing.colours is None:
        return True
    used = values_of(drawing.pixels)
    if drawing.kind == "grey":
        return not np.isin(used, (0, IGNORE)).all()
    official = (drawing.colours[used] == davis_palette()[used]).all()
    return drawing.kind == "ids" and bool(official) and not _all_official(names)


def _all_official(names: Sequence[str]) -> bool:
    return {hex_colour(colour) for colour in davis_palette()}.issuperset(names)


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """Numbers colours: those of the DAVIS palette as there, else red, green, blue."""
    if _all_official(names):
        official = {hex_colour(c): id for id, c in enumerate(davis_palette())}
        return {name: official[name] for name in names}
    return {name: id for id, name in enumerate(sorted(names, reverse=True), 1)}
