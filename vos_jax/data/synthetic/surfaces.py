"""What are things of the world made of? Skin, fur, leaves, wood, stone, cloth.

Natural pictures have spectra that fall as 1/f, edges of things that hide one another
("dead leaves") and colours that vary little within a material. Networks that were shown
such procedural pictures alone see real ones better than after stripes and spots
(Baradad et al., Learning to See by Looking at Noise, NeurIPS 2021).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vos_jax.data.synthetic.textures import (
    Floats,
    Texture,
    colour,
    draw_noise,
    draw_palette,
    draw_pattern,
)


class _Material(NamedTuple):
    """Ranges of hue (turns), saturation and value, and the patterns that it shows."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]
    patterns: tuple[str, ...]


_MATERIALS = {
    "skin": _Material((0.02, 0.09), (0.2, 0.6), (0.3, 0.95), ("plain", "cloud")),
    "hair": _Material((0.02, 0.12), (0.1, 0.7), (0.05, 0.7), ("grain", "cloud")),
    "fur": _Material(
        (0.03, 0.13), (0.0, 0.7), (0.1, 0.95), ("grain", "cells", "cloud")
    ),
    "feather": _Material((0.0, 1.0), (0.0, 0.7), (0.05, 0.95), ("grain", "leaves")),
    "cloth": _Material(
        (0.0, 1.0), (0.0, 0.95), (0.1, 1.0), ("plain", "plain", "woven", "cloud")
    ),
    "paint": _Material((0.0, 1.0), (0.0, 1.0), (0.1, 1.0), ("plain", "plain", "woven")),
    "metal": _Material((0.5, 0.7), (0.0, 0.2), (0.2, 0.9), ("plain", "grain")),
    "rubber": _Material((0.0, 1.0), (0.0, 0.2), (0.02, 0.3), ("plain", "cells")),
    "leaf": _Material((0.16, 0.4), (0.2, 0.9), (0.1, 0.75), ("leaves", "cells")),
    "grass": _Material(
        (0.13, 0.36), (0.2, 0.8), (0.15, 0.8), ("grain", "cloud", "leaves")
    ),
    "earth": _Material(
        (0.03, 0.13), (0.1, 0.6), (0.2, 0.8), ("cells", "cloud", "leaves")
    ),
    "stone": _Material(
        (0.0, 1.0), (0.0, 0.15), (0.2, 0.9), ("cells", "cloud", "leaves")
    ),
    "wood": _Material((0.03, 0.12), (0.2, 0.7), (0.1, 0.7), ("grain",)),
    "sky": _Material((0.5, 0.65), (0.0, 0.6), (0.5, 1.0), ("cloud", "plain")),
    "water": _Material((0.4, 0.65), (0.1, 0.7), (0.15, 0.8), ("grain", "ridges")),
    "wall": _Material((0.0, 1.0), (0.0, 0.4), (0.3, 1.0), ("woven", "plain", "cells")),
}


def draw_colours(rng: np.random.Generator, material: str) -> Floats:
    """Draws 3 to 5 colours [n, 3], 0 to 255, of a material."""
    hue, saturation, value, _ = _MATERIALS[material]
    count = rng.integers(3, 6)
    centre = [rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)]
    # Shades of one surface differ in brightness, then in saturation, least in hue.
    spread = np.array([0.015, 0.07, 0.11]) * rng.uniform(0.4, 1.6)
    return _rgb(centre + spread * rng.standard_normal((count, 3)))


def draw_surface(
    rng: np.random.Generator,
    material: str,
    size: int,
    colours: Floats | None = None,
) -> Texture:
    """Draws a surface of a material, `size` texels a side, a power of two from 64.

    Args:
      rng: Where all randomness comes from.
      material: Its name; "any" has patterns and colours of no material at all.
      size: Texels a side.
      colours: [n, 3]; those of something else, for things that look alike.
    """
    if material == "any":
        palette = draw_palette(rng) if colours is None else colours
        return colour(rng, draw_pattern(rng, size, 12), palette)
    palette = draw_colours(rng, material) if colours is None else colours
    kinds = _MATERIALS[material].patterns
    return colour(rng, _PATTERNS[kinds[rng.integers(len(kinds))]](rng, size), palette)


def _plain(rng: np.random.Generator, size: int) -> Floats:
    return 0.5 + np.float32(rng.uniform(0.02, 0.1)) * draw_noise(rng, size, 0.8)


def _cloud(rng: np.random.Generator, size: int) -> Floats:
    return 0.5 + np.float32(0.22) * draw_noise(rng, size, rng.uniform(0.4, 0.75))


def _ridges(rng: np.random.Generator, size: int) -> Floats:
    noise = draw_noise(rng, size, rng.uniform(0.4, 0.7))
    return np.float32(1) - np.float32(0.6) * np.abs(noise)


def _grain(rng: np.random.Generator, size: int) -> Floats:
    """Streaks: noise that is finer across than along, sometimes in bent rings."""
    factor = int(rng.choice([4, 8, 16]))
    noise = draw_noise(rng, size, rng.uniform(0.6, 0.9))
    streaks = np.tile(noise[:, ::factor], (1, factor))
    if rng.random() < 0.4:
        axis = np.arange(size, dtype=np.float32) * np.float32(2 * np.pi / size)
        rings = np.sin(np.float32(rng.integers(3, 9)) * axis + 1.5 * noise)
        streaks = 0.6 * streaks + rings.astype(np.float32)
    streaks = streaks.T if rng.random() < 0.5 else streaks
    return np.ascontiguousarray(0.5 + np.float32(0.2) * streaks)


def _cells(rng: np.random.Generator, size: int) -> Floats:
    """Cells around points of a jittered grid, dark where two of them meet."""
    grid = int(rng.choice([4, 8, 16]))
    pitch = size // grid
    points = rng.random((2, grid, grid), np.float32) * np.float32(0.9)
    shades = rng.random((grid, grid), np.float32)
    axis = np.arange(size, dtype=np.float32) / np.float32(pitch)
    fraction = axis % 1
    nearest = np.full((size, size), np.inf, np.float32)
    second = nearest.copy()
    shade = np.zeros_like(nearest)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            moved = np.roll(points, (-down, -right), (1, 2)).repeat(pitch, 1)
            moved = moved.repeat(pitch, 2)
            far = (moved[0] + down - fraction[:, None]) ** 2
            far += (moved[1] + right - fraction) ** 2
            own = np.roll(shades, (-down, -right), (0, 1)).repeat(pitch, 0)
            closer = far < nearest
            second = np.minimum(second, np.maximum(far, nearest))
            nearest = np.where(closer, far, nearest)
            shade = np.where(closer, own.repeat(pitch, 1), shade)
    seam = np.minimum(4 * (np.sqrt(second) - np.sqrt(nearest)), 1)
    depth = np.float32(rng.uniform(0.0, 0.8))
    return shade * (1 - depth + depth * seam) + 0.06 * draw_noise(rng, size, 0.8)


def _leaves(rng: np.random.Generator, size: int) -> Floats:
    """Dead leaves: flat shapes of all sizes that hide one another."""
    coarse = size // 2
    picture = np.full((coarse, coarse), np.float32(0.5))
    largest, stretch = rng.uniform(0.08, 0.2) * coarse, rng.uniform(1, 3)
    radii = largest * rng.power(2, 120) ** 2 + 1.5
    for radius in np.sort(radii)[::-1]:
        reach = int(radius) + 1
        axis = np.arange(-reach, reach + 1, dtype=np.float32)
        angle = rng.uniform(0, np.pi)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along, beside = cos * axis + (sin * axis)[:, None], (cos * axis)[:, None]
        beside = (beside - sin * axis) * np.float32(stretch)
        rows, columns = np.nonzero(along**2 + beside**2 < radius**2)
        down, right = rng.integers(0, coarse, 2)
        # Rounded like a leaf: one of its halves lies in the shade of the other.
        shade = np.float32(rng.random()) + np.float32(0.1) * np.sign(
            beside[rows, columns]
        )
        picture[(rows + down) % coarse, (columns + right) % coarse] = shade
    return picture.repeat(2, 0).repeat(2, 1) + 0.05 * draw_noise(rng, size, 0.85)


def _woven(rng: np.random.Generator, size: int) -> Floats:
    return draw_pattern(rng, size, 10)


_PATTERNS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "plain": _plain,
    "cloud": _cloud,
    "ridges": _ridges,
    "grain": _grain,
    "cells": _cells,
    "leaves": _leaves,
    "woven": _woven,
}


def _rgb(hsv: np.ndarray) -> Floats:
    """Colours [n, 3] of 0 to 255 from hue (turns), saturation and value of 0 to 1."""
    hue = hsv[:, :1] * 6 + np.array([0.0, 4.0, 2.0])
    pure = (np.abs(hue % 6 - 3) - 1).clip(0, 1)
    saturation, value = hsv[:, 1:2].clip(0, 1), hsv[:, 2:].clip(0.02, 1)
    return (255 * value * (1 - saturation + saturation * pure)).astype(np.float32)
