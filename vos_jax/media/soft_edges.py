"""Black-and-white drawings whose edges were smoothed, compressed or scaled.

A drawing has two levels, black and white. What lies between them is an edge if it lies
along the outline and nowhere forms an area of its own; then the middle between the
levels is where the pencil went. Whatever else lies between is something that was
drawn, and no threshold may lose it.

SciPy is imported where it is used: label maps, the usual masks, do without.
"""

import numpy as np

__all__ = [
    "WHITE",
    "black_and_white",
    "blended_values",
    "count_pieces",
    "smoothed_ids",
    "values_of",
    "values_with_inside",
]

WHITE = 224
"""What is at least as bright is white: video range, 16 to 235, is the narrowest."""

# What is at most as bright is black.
_BLACKEST = 32
# How far, in pixels, an edge reaches: half of it, and the block of a JPEG file.
_EDGE_REACH, _BLOCK_REACH = 8, 16
# What compression leaves in an even area, in grey levels.
_NOISE = 8
# An area is flat where 5 x 5 pixels differ by no more than this.
_FLAT = 6
_LEVEL_TOLERANCE = 10
# What the brightest pixel of every piece reaches, from 0 for black to 1 for white.
_LEAST_WHITE = 0.85
# Least IoU of the drawing thresholded a tenth above and a tenth below the middle.
_LEAST_AGREEMENT = 0.85
# The same a quarter above and a quarter below.
_LEAST_LOOSE_AGREEMENT = 0.5


def values_of(pixels: np.ndarray) -> np.ndarray:
    """Lists the values of an image, uint8 `[H, W]`, in rising order."""
    return np.flatnonzero(_counts(pixels)).astype(np.uint8)


def values_with_inside(values: np.ndarray) -> np.ndarray:
    """Finds which values of an image, uint8 `[H, W]`, fill 3 x 3 pixels somewhere."""
    inside = _lowest(values, 3) == _highest(values, 3)
    return values_of(values[inside])


def blended_values(grey: np.ndarray) -> np.ndarray:
    """Finds the values that look like blends of their neighbours, uint8 `[H, W]`.

    Such a value has no inside, and most of its pixels have a darker and a brighter
    neighbour. A thin line has only neighbours of one kind.
    """
    between = (_lowest(grey, 3) < grey) & (grey < _highest(grey, 3))
    share = _counts(grey[between]) / np.maximum(_counts(grey), 1)
    blended = np.flatnonzero(share > 0.5)
    return np.setdiff1d(blended, values_with_inside(grey))


def smoothed_ids(labels: np.ndarray) -> np.ndarray:
    """Finds the ids that scaling a label map with smoothing made up.

    They are blends beside a greater id that has an inside, blends in many pieces, or,
    where ids have gaps, three and more ids without an inside if most are so, or fewer
    in many pieces. A row of tiny objects is nothing of that.
    """
    inside = values_with_inside(labels)
    ids = values_of(labels[labels > 0])
    thin = np.setdiff1d(ids, inside)
    if 1 < ids.size < ids[-1] and 2 * thin.size > ids.size:
        in_pieces = any(count_pieces(labels, value) > 2 for value in thin)
        if thin.size > 2 or (thin.size == ids.size and in_pieces):
            return thin
    largest = inside.max(initial=0)
    blended = blended_values(labels)
    is_made_up = [v < largest or count_pieces(labels, v) > 2 for v in blended]
    return blended[np.array(is_made_up, bool)]


def count_pieces(values: np.ndarray, value: int) -> int:
    """Counts the connected parts of an image, `[H, W]`, that have one value."""
    from scipy import ndimage

    return int(ndimage.label(values == value, np.ones((3, 3)))[1])


def black_and_white(grey: np.ndarray) -> np.ndarray | None:
    """Separates white from black where it is sure that there is nothing else.

    Args:
      grey: uint8 `[H, W]`.

    Returns:
      True where white, bool `[H, W]`; None for anything else than one black-and-white
      drawing.
    """
    counts = _counts(grey)
    if not (counts[: _BLACKEST + 1].any() and counts[WHITE:].any()):
        return None
    black = int(counts[: _BLACKEST + 1].argmax())
    white = _white_level(counts)
    # 0 for black, 1 for white.
    level = (np.arange(256) - black) / (white - black)
    drawn = level[grey] >= 0.5
    if _has_grey_area(grey, black, white) or not _agrees(grey, level):
        return None
    if _has_grey_piece(drawn, level[grey]):
        return None
    tone = np.abs(level - (level >= 0.5))
    strong = (tone > 0.25)[grey]
    faint = (tone * (white - black) > _NOISE)[grey]
    if (strong & ~_near_outline(drawn, _EDGE_REACH)).any():
        return None
    if (faint & ~_near_outline(drawn, _BLOCK_REACH)).any():
        return None
    return drawn


def _white_level(counts: np.ndarray) -> int:
    """The level of white areas; of thin shapes, which have none, full white."""
    level = WHITE + int(counts[WHITE:].argmax())
    return level if 4 * counts[255] < counts[level] else 255


def _has_grey_area(grey: np.ndarray, black: int, white: int) -> bool:
    low, high = _lowest(grey, 5), _highest(grey, 5)
    levels = np.arange(256)
    tone = np.minimum(np.abs(levels - black), np.abs(levels - white))
    return bool(((tone > _LEVEL_TOLERANCE)[grey] & (high - low <= _FLAT)).any())


def _has_grey_piece(drawn: np.ndarray, level: np.ndarray) -> bool:
    """Whether some piece of the drawing is white nowhere."""
    from scipy import ndimage

    pieces, count = ndimage.label(drawn, np.ones((3, 3)))
    brightest = np.asarray(ndimage.maximum(level, pieces, np.arange(1, count + 1)))
    return bool((brightest < _LEAST_WHITE).any())


def _agrees(grey: np.ndarray, level: np.ndarray) -> bool:
    """Whether it hardly matters where exactly the middle is."""
    counts = _counts(grey)
    area = {at: int(counts[level >= at].sum()) for at in (0.25, 0.4, 0.6, 0.75)}
    near = area[0.6] >= _LEAST_AGREEMENT * area[0.4]
    return near and area[0.75] >= _LEAST_LOOSE_AGREEMENT * area[0.25]


def _near_outline(drawn: np.ndarray, reach: int) -> np.ndarray:
    size = 2 * reach + 1
    return _lowest(drawn, size) != _highest(drawn, size)


def _counts(grey: np.ndarray) -> np.ndarray:
    return np.bincount(grey.ravel(), minlength=256)


def _lowest(values: np.ndarray, size: int) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.minimum_filter(values, size))


def _highest(values: np.ndarray, size: int) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.maximum_filter(values, size))
