"""What a mask file shows: object ids, greys or colours.

People save masks with all kinds of programs, and a file does not tell what its numbers
are. Where the colours of a palette agree with its indices, or say nothing, indices are
ids. Programs that reduce colours order them by frequency or at random: then index 0 is
not the black ground, and it is the colours that were painted.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media.images import load_image
from vos_jax.media.masks import INDEXED, davis_palette
from vos_jax.media.soft_edges import (
    WHITE,
    black_and_white,
    blended_values,
    count_pieces,
    values_of,
    values_with_inside,
)
from vos_jax.types import IGNORE, MAX_OBJECTS

__all__ = [
    "REDRAW",
    "SMALL_ID",
    "Drawing",
    "border_share",
    "hex_colour",
    "is_black",
    "read_drawing",
]

Kind = Literal["ids", "grey", "colour"]
"""What the values of a mask file are."""

SMALL_ID = 20
"""Nobody paints in greys up to this, and most label maps end here."""

_BLACK = 4
# How far the channels of a grey pixel may differ after compression.
_GREY_SPREAD = 12
_CLOSE_GREYS = 8
# More pieces than a thin object has; dithering makes very many.
_MANY_PIECES = 8
_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_MANY_PICTURES = frozenset({"GIF", "TIFF", "WEBP", "PNG"})
REDRAW = f"paint the objects white, or each in its own colour, on black, or {INDEXED}"
"""What to do about a mask that cannot be understood."""


class Drawing(NamedTuple):
    """A mask file before it is decided what it means.

    Attributes:
      path: The file.
      kind: Whether `pixels` are object ids, greys, or indices into `colours`.
      pixels: uint8 `[H, W]`.
      colours: The colour of each value in `pixels`, uint8 `[256, 3]`; None where
        values have no colour.
      exact: Whether values are as they were drawn; False after lossy compression.
      note: How the file was taken where that is not plain, to be told.
    """

    path: Path
    kind: Kind
    pixels: np.ndarray
    colours: np.ndarray | None
    exact: bool = True
    note: str = ""


def read_drawing(path: str | Path) -> Drawing:
    """Reads an image file.

    Raises:
      InputError: The file is missing or damaged, holds several pictures, has more
        than 256 colours, or can be read in two ways.
    """
    path = Path(path)
    image = load_image(path)
    _refuse_many_pictures(path, image.format)
    if image.mode == "P":
        return _read_palette(path, image)
    if image.mode in {"1", "L"} or image.mode.startswith(("I", "F")):
        return _grey(path, *_eight_bits(path, np.asarray(image)), image.format)
    if image.mode in {"LAB", "HSV"}:
        raise InputError(f"{path} has the pixel format {image.mode}; {INDEXED}")
    pixels, note = _over_black(path, np.asarray(image.convert("RGBA")))
    spread = int(np.ptp(pixels, axis=-1).max(initial=0))
    if spread == 0:
        return _grey(path, pixels[..., 0], True, note, image.format)
    if spread <= _GREY_SPREAD:
        grey = np.rint(pixels.mean(axis=-1)).astype(np.uint8)
        return _grey(path, grey, False, note, image.format)
    return _read_colours(path, pixels)._replace(note=note)


def is_black(colours: np.ndarray) -> np.ndarray:
    """Whether colours, uint8 `[..., 3]`, are black to the eye."""
    return np.asarray(colours.max(axis=-1) <= _BLACK)


def border_share(mask: np.ndarray) -> float:
    """The part of the border of a picture that a mask, bool `[H, W]`, covers."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return float(np.concatenate(sides).mean())


def _grey(
    path: Path, grey: np.ndarray, exact: bool, note: str, file_format: str | None
) -> Drawing:
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    exact = exact and not _is_lossy(path, file_format)
    return Drawing(path, "grey", grey, ramp, exact, note)


def _is_lossy(path: Path, file_format: str | None) -> bool:
    if file_format != "WEBP":
        return file_format in _LOSSY_FORMATS
    with path.open("rb") as file:
        # The chunk of a lossless picture; it stands behind a header and a profile.
        return b"VP8L" not in file.read(1 << 16)


def _refuse_many_pictures(path: Path, file_format: str | None) -> None:
    if file_format not in _MANY_PICTURES:
        return
    with Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
    if count > 1:
        raise InputError(f"{path} holds {count} pictures; save one mask in each file")


def _eight_bits(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, bool, str]:
    """Greys of any depth as uint8, whether they are exact, and what was done."""
    if pixels.dtype == np.bool_:
        return pixels * np.uint8(255), True, ""
    if pixels.dtype == np.uint8 or not pixels.size:
        return pixels.astype(np.uint8), True, ""
    if not (np.isfinite(pixels).all() and pixels.min() >= 0):
        raise InputError(f"{path} has values below 0 or none; {INDEXED}")
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        if pixels.max() > 1:
            raise InputError(f"{path} has fractional values; {INDEXED}")
        return np.rint(255 * pixels).astype(np.uint8), False, ""
    if pixels.max() <= IGNORE:
        return pixels.astype(np.uint8), True, ""
    values = np.unique(pixels)
    if not (values % 257).any() and values.max() <= 65535:
        note = "its 16-bit values are taken as 8-bit values times 257"
        plain = values.tolist() == [0, 65535]
        return (pixels // 257).astype(np.uint8), True, "" if plain else note
    raise InputError(
        f"{path} has values up to {pixels.max():g}; object ids go from 1 to "
        f"{MAX_OBJECTS}: {INDEXED}"
    )


def _over_black(path: Path, rgba: np.ndarray) -> tuple[np.ndarray, str]:
    """The picture as it looks on black, uint8 `[H, W, 3]`, and what was done."""
    colours, alpha = rgba[..., :3], rgba[..., 3:]
    if (alpha == 255).all():
        return colours, ""
    shown = _blend_with_black(colours, alpha)
    clear = alpha[..., 0] == 0
    black = (alpha[..., 0] == 255) & is_black(colours)
    if not shown.any() and colours.size and (~clear).any():
        raise InputError(
            f"{path} has its shape in the transparency instead of in labels; {REDRAW}"
        )
    if clear.any() and black.any() and not is_black(colours[clear]).all():
        raise InputError(
            f"{path} has transparent and black parts, and both look like background;"
            f" {REDRAW}"
        )
    changed = np.abs(shown.astype(np.int16) - colours).max(initial=0) > 0
    return shown, "its transparent parts are taken as background" if changed else ""


def _blend_with_black(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(colours * (alpha / 255.0)).astype(np.uint8)


def _read_colours(path: Path, pixels: np.ndarray) -> Drawing:
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    values, index = np.unique(packed, return_inverse=True)
    if values.size > 256:
        raise InputError(
            f"{path} has {values.size} distinct colours instead of labels; {REDRAW}"
        )
    colours = np.zeros((256, 3), np.uint8)
    colours[: values.size] = values[:, None] >> np.array([16, 8, 0]) & 255
    return Drawing(
        path, "colour", index.reshape(packed.shape).astype(np.uint8), colours
    )


def _read_palette(path: Path, image: Image.Image) -> Drawing:
    indices = np.asarray(image)
    colours, entries = _shown_colours(image)
    used = values_of(indices)
    shown = colours[used]
    ids = Drawing(path, "ids", indices.copy(), colours)
    says_nothing = used.size > 1 and (shown == shown[0]).all()
    if says_nothing or not entries:
        return ids._replace(colours=None)
    if (shown == davis_palette()[used]).all() and is_black(colours[0]):
        return ids
    if (shown == used[:, None]).all():
        return ids._replace(kind="grey")
    has_no_colour = used > _last_own_colour(colours, entries)
    black = used[is_black(shown) & ~has_no_colour & (used > 0)]
    if is_black(colours[0]):
        if not black.size:
            return _read_ids(ids)
        if indices.min() == 0 and (colours[black] == colours[0]).all(axis=-1).any():
            twin = black[(colours[black] == colours[0]).all(axis=-1)][0]
            raise InputError(
                f"{path} has the same black at index 0 and at index {twin}, so that it"
                f" is unclear what is background; {REDRAW}"
            )
        return _read_ids(ids) if _rise(shown) else _as_painted(ids)
    return _without_black_index_0(ids, black)


def _without_black_index_0(ids: Drawing, black: np.ndarray) -> Drawing:
    """A palette file whose index 0 is not black."""
    assert ids.colours is not None
    zero = ids.pixels == 0
    is_ground = border_share(zero) == 1 or (
        not black.size and border_share(zero) >= 0.5 and not _is_grey(ids)
    )
    if is_ground and not zero.all():
        return ids._replace(
            note=f"index 0, {hex_colour(ids.colours[0])}, is taken as background"
        )
    if _is_grey(ids) and not zero.all():
        return _as_painted(ids)
    if black.size == 1:
        return _as_painted(ids)
    raise InputError(
        f"{ids.path} does not show which index is background: index 0 is "
        f"{hex_colour(ids.colours[0])} and {'more than one is' if black.size else 'no'}"
        f" {'' if black.size else 'index is '}black; {REDRAW}"
    )


def _read_ids(ids: Drawing) -> Drawing:
    """A palette file whose index 0 alone is black: ids, if no index is an edge."""
    assert ids.colours is not None
    used = values_of(ids.pixels)
    objects = used[used > 0]
    if _is_grey(ids):
        painted = _as_painted(ids)
        if objects.tolist() == [IGNORE]:
            return painted if ids.colours[IGNORE].min() >= WHITE else ids
        if objects.size > 1 and _has_soft_greys(painted.pixels):
            return painted
    elif _has_soft_colours(ids, objects):
        raise InputError(
            f"{ids.path} has soft (anti-aliased) edges: {used.size} distinct colours, "
            f"most of them on edges; draw it without anti-aliasing and {INDEXED}"
        )
    if objects.size > 1 and objects[-1] == IGNORE and objects[-2] > SMALL_ID:
        return _as_painted(ids)
    return ids


def _has_soft_greys(grey: np.ndarray) -> bool:
    """Whether some greys are edges of others, or noise in them."""
    if blended_values(grey).size:
        return True
    levels = values_of(grey)
    thin = np.setdiff1d(levels, values_with_inside(grey))
    if thin.size == levels.size - 1 and any(count_pieces(grey, v) > 2 for v in thin):
        return True
    is_noise = np.diff(levels).min() <= _CLOSE_GREYS
    return (thin.size > 0 or is_noise) and black_and_white(grey) is not None


def _has_soft_colours(ids: Drawing, objects: np.ndarray) -> bool:
    """Whether some colours have no inside and are blends of others, or dithered."""
    assert ids.colours is not None
    thin = np.setdiff1d(objects, values_with_inside(ids.pixels))
    if any(count_pieces(ids.pixels, value) > _MANY_PIECES for value in thin):
        return True
    luma = (ids.colours @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    blended = np.isin(luma[thin], blended_values(luma[ids.pixels]))
    return any(_is_blend(ids, value) for value in thin[blended])


def _is_blend(ids: Drawing, value: int) -> bool:
    """Whether a colour lies between two others of larger areas, in each channel."""
    assert ids.colours is not None
    colour = ids.colours[value].astype(int)
    solid = ids.colours[values_with_inside(ids.pixels)].astype(int)
    low = np.minimum(solid[:, None], solid) - _CLOSE_GREYS
    high = np.maximum(solid[:, None], solid) + _CLOSE_GREYS
    return bool(((low <= colour) & (colour <= high)).all(axis=-1).any())


def _as_painted(ids: Drawing) -> Drawing:
    """The same file by what its palette shows, and not by its indices."""
    assert ids.colours is not None
    note = "the colours of its palette are taken, not their order in the file"
    if not _is_grey(ids):
        return ids._replace(kind="colour", note=note)
    grey = np.rint(ids.colours.mean(axis=-1)).astype(np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    return ids._replace(kind="grey", pixels=grey[ids.pixels], colours=ramp, note=note)


def _is_grey(ids: Drawing) -> bool:
    assert ids.colours is not None
    return bool(np.ptp(ids.colours[values_of(ids.pixels)], axis=-1).max() <= 2)


def _rise(colours: np.ndarray) -> bool:
    """Whether colours get brighter from one to the next."""
    return bool((np.diff(colours.astype(int).sum(axis=-1)) > 0).all())


def _shown_colours(image: Image.Image) -> tuple[np.ndarray, int]:
    """Colours of all 256 indices on black, and of how many the file has one."""
    given = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)[:256]
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(given)] = given
    alpha = np.full((256, 1), 255, np.uint8)
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        alpha[: len(transparency), 0] = np.frombuffer(transparency, np.uint8)[:256]
    elif isinstance(transparency, int):
        alpha[transparency] = 0
    return _blend_with_black(colours, alpha), len(given)


def _last_own_colour(colours: np.ndarray, entries: int) -> int:
    """The last index with a colour of its own; what follows repeats one as filler."""
    differs = np.flatnonzero((colours[:entries] != colours[entries - 1]).any(axis=-1))
    first_filler = int(differs[-1]) + 1 if differs.size else 0
    if first_filler == entries - 1:
        return entries - 1
    is_black_again = is_black(colours[0]) and is_black(colours[entries - 1])
    return first_filler - 1 if is_black_again else first_filler


def hex_colour(colour: np.ndarray) -> str:
    """Names a colour as paint programs do."""
    return "#" + bytes(colour).hex()
