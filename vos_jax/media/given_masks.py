"""What the mask files mean that a person gives, one or a whole folder.

A folder is decided as a whole, so that one grey or colour is one object in all files.

| file | taken as | said |
|---|---|---|
| indexed, index 0 alone black (DAVIS, YouTube-VOS) | indices are ids, 255 ignore | - |
| indexed, no colours in the palette, or always one | indices are ids, 255 ignore | - |
| indexed, index 0 not black and another one black | what the colours show | note |
| indexed, index 0 any colour along the border, none black | indices are ids | note |
| grey, 1-bit or 16-bit; ids to 20, gaps or not | ids, 255 ignore | - |
| grey, greater values without 255 | ids | - |
| grey, 0 and 255 (16-bit: 65535) | white is object 1 | - |
| grey, few values far apart with 255 (127, 255) | objects 1, 2, ... by grey | note |
| black and white with soft or compressed edges | brighter than the middle is 1 | note |
| flat colours on black | an object each; DAVIS colours keep their ids | note |
| transparent parts | background | note |
| black | nothing is given for that frame | - |
| `.npy`, `.npz` `[objects, H, W]` | mask `o` is object `o + 1` | - |

All else is refused: greys or colours with soft edges, a ground of white, indices that
contradict the colours, greys that mean one thing here and another there.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vos_jax.errors import InputError
from vos_jax.media.drawings import (
    REDRAW,
    SMALL_ID,
    Drawing,
    is_black,
    read_drawing,
)
from vos_jax.media.listing import IMAGE_SUFFIXES
from vos_jax.media.masks import INDEXED, read_stacked
from vos_jax.media.object_ids import FAR_APART, object_ids, tell
from vos_jax.media.soft_edges import (
    black_and_white,
    blended_values,
    count_pieces,
    smoothed_ids,
    values_of,
    values_with_inside,
)
from vos_jax.types import IGNORE

__all__ = ["MASK_SUFFIXES", "read_first_mask", "read_given_masks"]

_ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
MASK_SUFFIXES = (
    IMAGE_SUFFIXES
    | _ARRAY_SUFFIXES
    | frozenset({".gif", ".tif", ".tiff", ".tga", ".jp2", ".jfif", ".jpe", ".avif"})
    | frozenset({".pbm", ".pgm", ".ppm", ".pnm", ".dib", ".apng"})
)
"""What the files of a folder of masks may end in."""

# Ids without gaps are believed up to this; a photograph has all values.
_MOST_IDS = 64
# More pieces than an object has that others cover in part.
_MANY_PIECES = 3
# What is left of black in a compressed file.
_FAINT = 8


def read_first_mask(path: str | Path, frame_size: tuple[int, int]) -> np.ndarray:
    """Reads the labels of the objects to follow, `uint8 [H, W]`, and checks them.

    Args:
      path: The mask file; the module says which kinds there are.
      frame_size: (height, width) of the frames.

    Raises:
      InputError: The file cannot be read, has another size than the frames, holds no
        object, or can mean more than one thing.
    """
    (labels,) = read_given_masks([path], frame_size)
    if not labels.any():
        raise InputError(f"{path} is empty: all pixels are background; {REDRAW}")
    return labels


def read_given_masks(
    paths: Sequence[str | Path], frame_size: tuple[int, int]
) -> list[np.ndarray]:
    """Reads mask files of one video, of which each may bring or correct objects.

    Args:
      paths: The files; the module says which kinds there are.
      frame_size: (height, width) of the frames.

    Returns:
      Labels, `uint8 [H, W]`, of each file; all 0 where a file is black.

    Raises:
      InputError: A file cannot be read, has another size than the frames, or can mean
        more than one thing, by itself or beside the others.
    """
    drawings = [_separate(_read(Path(path), frame_size)) for path in paths]
    drawn = [each for each in drawings if _shows_something(each)]
    tables = object_ids(drawn)
    tell((each.path, each.note) for each in drawings if each.note)
    table_of = {each.path: table for each, table in zip(drawn, tables, strict=True)}
    nothing = np.zeros(256, np.uint8)
    return [table_of.get(each.path, nothing)[each.pixels] for each in drawings]


def _read(path: Path, frame_size: tuple[int, int]) -> Drawing:
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        drawing = Drawing(path, "ids", read_stacked(path), None)
    else:
        drawing = read_drawing(path)
    if drawing.pixels.shape != tuple(frame_size):
        (height, width), (frame_height, frame_width) = drawing.pixels.shape, frame_size
        raise InputError(
            f"{path} is {width}x{height} but the frames are "
            f"{frame_width}x{frame_height} (width x height); scale the mask to the "
            "frame size by nearest neighbour"
        )
    return drawing


def _shows_something(drawing: Drawing) -> bool:
    if drawing.kind == "colour":
        assert drawing.colours is not None
        return not is_black(drawing.colours[values_of(drawing.pixels)]).all()
    return bool(drawing.pixels.any())


def _separate(drawing: Drawing) -> Drawing:
    """Greys without edges: as they are, or white and black alone.

    Raises:
      InputError: There are edges between greys, or no ground.
    """
    if drawing.kind != "grey":
        return drawing
    grey, path = drawing.pixels, drawing.path
    values = values_of(grey)
    if not drawing.exact and values.size == 1 and values[0] <= _FAINT:
        return drawing._replace(pixels=np.zeros_like(grey))
    if _is_plain(drawing, values):
        return drawing
    white = black_and_white(grey)
    if white is not None:
        note = (
            f"its {values.size} greys are taken as one black-and-white drawing: what is"
            " brighter than the middle is object 1; if that is wrong, redraw it with "
            "hard edges and save a PNG"
        )
        return drawing._replace(
            pixels=white * np.uint8(255), exact=False, note=_join(drawing.note, note)
        )
    has_edges = not drawing.exact or _has_edges(grey, values)
    if not has_edges and values[0] == 0:
        return drawing
    if not has_edges or values.size == 1:
        raise InputError(f"{path} has no black background; {REDRAW}")
    raise InputError(
        f"{path} looks like a soft (anti-aliased or lossy) mask: {values.size} "
        "distinct values, and not of one black-and-white drawing; draw it without "
        f"anti-aliasing and {INDEXED}"
    )


def _is_plain(drawing: Drawing, values: np.ndarray) -> bool:
    """Whether greys are ids or pencils for certain, and none is an edge."""
    grey = drawing.pixels
    if values.tolist() in ([0], [255], [0, 255]):
        return True
    if not drawing.exact:
        return False
    ids = values[(values > 0) & (values < IGNORE)]
    inside = values_with_inside(grey)
    if ids[-1] <= SMALL_ID or ids.size == ids[-1] <= _MOST_IDS:
        if smoothed_ids(np.where(grey < IGNORE, grey, np.uint8(0))).size:
            return False
        return values[-1] < IGNORE or bool(np.isin(ids, inside).any())
    if values[0] > 0:
        return False
    if ids.size == 1 and values[-1] < IGNORE:
        return True
    is_clean = np.isin(values, inside).all() or not _has_edges(grey, values)
    return bool(is_clean) and _are_far_apart(grey, values)


def _are_far_apart(grey: np.ndarray, values: np.ndarray) -> bool:
    return np.diff(values).min() >= FAR_APART and not blended_values(grey).size


def _has_edges(grey: np.ndarray, values: np.ndarray) -> bool:
    """Whether greys look smoothed or compressed: without an inside or in pieces."""
    thin = np.setdiff1d(values[values > 0], values_with_inside(grey))
    if thin.size and (2 * thin.size > values.size or not _are_far_apart(grey, values)):
        return True
    return any(count_pieces(grey, value) > _MANY_PIECES for value in values[1:])


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
