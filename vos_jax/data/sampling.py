"""What a training example is made of: pure functions of seed, step and index.

Every example draws from a generator of its own, so that any batch can be made again,
by any number of hosts and workers and in any order. NumPy alone: no pixel is read here.
The numbers stay the same as long as NumPy's generators do.

A `Recipe` says which choices there are.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from vos_jax.data.recipes import Recipe
from vos_jax.errors import InputError
from vos_jax.types import IGNORE

_EXAMPLE, _ORDER = 0, 1
_LIMIT = 1 << 32


def example_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """Returns the generator of example `index` of the global batch of a step.

    Raises:
      InputError: A number is negative or above 2**32 - 1.
    """
    for name, value in (("seed", seed), ("step", step), ("index", index)):
        # Larger ones take several words, and different triples could be equal.
        if not 0 <= value < _LIMIT:
            raise InputError(f"{name}={value}: use a number from 0 to {_LIMIT - 1}")
    return np.random.default_rng([_EXAMPLE, seed, step, index])


def shuffled(seed: int, number: int, count: int) -> int:
    """Returns which of `count` videos example `number` of a run is from.

    Each epoch of `count` examples has every video once, in an order of its own.
    """
    epoch, place = divmod(number, count)
    return int(_order(seed, epoch, count)[place])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


def draw_crop(
    labels: np.ndarray, recipe: Recipe, size: tuple[int, int], rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Draws the window of a clip: where it is cut out, how large it is.

    Args:
      labels: uint8 `[T, H, W]`, as stored.
      recipe: Says how large, and around what.
      size: (height, width) of the clip.
      rng: Where from.

    Returns:
      (x, y) of its upper left corner and its (height, width), in pixels of the labels;
      None where they show nothing to put it around.
    """
    if recipe.window == "objects":
        window = _draw_size(labels.shape[1:], recipe, size, rng)
        ids = possible_objects(labels, recipe, math.prod(window))
        if not ids.size:
            return None
        return draw_window_around(labels, ids, window, rng), window
    shown = object_ids(labels[0])
    if not shown.size:
        return None
    target = int(rng.choice(shown))
    window = _draw_size(labels.shape[1:], recipe, size, rng)
    return draw_window(labels, target, window, rng), window


def _draw_size(
    picture: Sequence[int],
    recipe: Recipe,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[float, float]:
    if recipe.short_side is not None:
        # Multiplied first: exact where the picture has that resolution.
        height, width = (side * min(picture) / recipe.short_side for side in size)
    else:
        largest = largest_window(picture, size)
        height, width = np.multiply(largest, rng.uniform(*recipe.cover)).tolist()
    return height, width


def draw_window(
    labels: np.ndarray,
    target: int,
    window: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Draws where a window is cut out so that it holds the target.

    Along each axis it holds as much as fits of: all objects of the first frame in all
    frames; the target in all frames; the target in the first frame. If not even that
    fits, the window lies within the target.

    Args:
      labels: uint8 `[T, H, W]`.
      target: An id that the first frame shows.
      window: (height, width), which may be larger than the picture.
      rng: Where from.

    Returns:
      (x, y) of its upper left corner: whole pixels where there is a choice.
    """
    shown = np.isin(np.arange(256), object_ids(labels[0]))[labels].any(axis=0)
    every = (labels == target).any(axis=0)
    return _draw_corner((shown, every, labels[0] == target), window, rng)


def draw_window_around(
    labels: np.ndarray,
    ids: np.ndarray,
    window: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Draws where a window is cut out so that it holds all of `ids` in all frames.

    Along an axis where they do not fit, the window lies within their common box.

    Args:
      labels: uint8 `[T, H, W]`.
      ids: At least one that a frame shows.
      window: (height, width), which may be larger than the picture.
      rng: Where from.

    Returns:
      (x, y) of its upper left corner: whole pixels where there is a choice.
    """
    shown = np.isin(np.arange(256), ids)[labels].any(axis=0)
    return _draw_corner((shown,), window, rng)


def _draw_corner(
    masks: Sequence[np.ndarray],
    window: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Draws (x, y) so that the first of the masks `[H, W]` that fits is inside."""
    y, x = (
        _draw_offset(
            [_extent(mask.any(axis=1 - axis)) for mask in masks],
            masks[0].shape[axis],
            window[axis],
            rng,
        )
        for axis in (0, 1)
    )
    return x, y


def _extent(line: ArrayLike) -> tuple[int, int]:
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


def _draw_offset(
    extents: Sequence[tuple[int, int]],
    side: int,
    window: float,
    rng: np.random.Generator,
) -> float:
    """Draws where a window begins along one axis; the widest extents come first."""
    low, high = min(0.0, side - window), max(0.0, side - window)
    for begin, end in extents:
        if end - begin <= window:
            low, high = max(low, end - window), min(high, begin)
            break
    else:
        low, high = begin, end - window
    offset = rng.uniform(low, high)
    # A window that needs no scaling keeps its pixels as they are.
    return float(round(offset)) if low <= round(offset) <= high else offset


def largest_window(
    picture: Sequence[int], size: tuple[int, int]
) -> tuple[float, float]:
    """Returns the largest (height, width) of the shape of `size` in a picture."""
    scale = min(picture[0] / size[0], picture[1] / size[1])
    return scale * size[0], scale * size[1]


def object_ids(labels: np.ndarray, pixels: float = 1) -> np.ndarray:
    """Returns the ids, neither background nor ignored, with at least `pixels` pixels.

    Args:
      labels: uint8 `[H, W]`.
      pixels: Least number.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[[0, IGNORE]] = 0
    return np.flatnonzero(counts >= max(pixels, 1))


def possible_objects(labels: np.ndarray, recipe: Recipe, area: float) -> np.ndarray:
    """Returns the ids of a clip's labels that the recipe may ask for.

    Args:
      labels: uint8 `[T, H, W]`.
      recipe: Says how large, and whether they show in every frame.
      area: Pixels that will be seen of a frame.
    """
    ids = object_ids(labels[0], math.ceil(recipe.min_share * area))
    if recipe.needs_all:
        for later in labels[1:]:
            ids = np.intersect1d(ids, object_ids(later))
    return ids


def draw_objects(
    labels: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> np.ndarray:
    """Draws which ids of a clip's labels are its objects, in ascending order.

    Args:
      labels: uint8 `[T, H, W]`, as they will be seen.
      recipe: Says how many and how large.
      rng: Where from.

    Returns:
      At most O ids, none if no object is large enough in the first frame.
    """
    ids = possible_objects(labels, recipe, labels[0].size)
    return np.sort(rng.permutation(ids)[: recipe.objects])


def renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Makes `ids` 1, 2, ... in their order, others background; 255 stays."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    table[IGNORE] = IGNORE
    return table[labels]
