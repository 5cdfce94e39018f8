"""What lies behind all that acts?"""

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.actors import BACKDROPS, KINDS, Actor
from vos_jax.data.synthetic.bodies import draw_figure
from vos_jax.data.synthetic.camera import blur
from vos_jax.data.synthetic.figures import Figure, Pose
from vos_jax.data.synthetic.painting import Canvas, Lamp, paint
from vos_jax.data.synthetic.surfaces import draw_surface
from vos_jax.data.synthetic.textures import (
    TEXELS_PER_PIXEL,
    Bytes,
    Floats,
    Texture,
    draw_noise,
    power_of_two,
)

_STILL = ("plant", "post", "house", "thing", *KINDS)
"""Kinds of what stands there."""

_GROUNDS = ("grass", "earth", "stone", "water", "wood", "any")


def draw_backdrop(
    rng: np.random.Generator,
    size: tuple[int, int],
    lamp: Lamp,
    hiding: tuple[Actor, ...] = (),
) -> Texture:
    """A surface, often out of focus, with still figures on it.

    Args:
      rng: Where all randomness comes from.
      size: Of the frame.
      lamp: How figures are lit.
      hiding: Actors that it makes hard to find: it is a patchwork then, with a crowd in
        it, and much has their colours.
    """
    period = power_of_two(TEXELS_PER_PIXEL * 1.3 * max(size), 1024)
    draw = _draw_patchwork if hiding else _draw_picture
    picture = draw(rng, period, BACKDROPS).astype(np.float32)
    canvas = Canvas.of(picture)
    if hiding:
        _paint_crowd(rng, canvas, size, lamp, hiding)
    for _ in range(rng.integers(0, 16)):
        unit = TEXELS_PER_PIXEL * min(size) * rng.uniform(0.05, 0.3)
        kind = _STILL[rng.integers(len(_STILL))]
        figure = draw_figure(rng, kind, unit, 1.0)
        x, y = rng.uniform(0.15, 0.85, 2) * period
        pose = Pose((x, y), unit, rng.uniform(0, 6), rng.normal(0, 0.1), 0.0)
        paint(canvas, figure, pose, lamp, 0, unit)
    out_of_focus = rng.choice([0, 0, 2, 4])
    if out_of_focus:
        half = picture.reshape(period // 2, 2, period // 2, 2, 3).mean((1, 3))
        for _ in range(out_of_focus):
            half = blur(half, 0.25)
        picture = half.repeat(2, 0).repeat(2, 1)
    return Texture(picture.clip(0, 255).astype(np.uint8).reshape(-1, 3), period)


def draw_ground(rng: np.random.Generator, size: tuple[int, int], busy: bool) -> Texture:
    """What figures stand on; a `busy` one is a patchwork half of the time."""
    period = power_of_two(2 * max(size), 256)
    if busy and rng.random() < 0.5:
        texels = _draw_patchwork(rng, period, _GROUNDS).clip(0, 255).astype(np.uint8)
        return Texture(texels.reshape(-1, 3), period)
    return draw_surface(rng, _GROUNDS[rng.integers(len(_GROUNDS))], period)


def _draw_picture(
    rng: np.random.Generator, period: int, materials: tuple[str, ...]
) -> Bytes:
    material = materials[rng.integers(len(materials))]
    return draw_surface(rng, material, period).texels.reshape(period, period, 3)


def _draw_patchwork(
    rng: np.random.Generator, period: int, materials: tuple[str, ...]
) -> Floats:
    """Surfaces beside and before one another, in light that falls through leaves."""
    half = period // 2
    tiles = np.empty((2, half, 2, half, 3), np.uint8)
    tiles[:] = _draw_picture(rng, half, materials)[:, None]
    for _ in range(rng.integers(2, 6)):
        region = _draw_region(rng, period).reshape(2, half, 2, half, 1)
        surface = _draw_picture(rng, half, materials)[:, None]
        np.copyto(tiles, surface, where=region)
    picture = tiles.reshape(period, period, 3).astype(np.float32)
    if rng.random() < 0.5:
        # Soft at the border, as the sun is no point.
        light = (draw_noise(rng, half, 0.7) * np.float32(4)).clip(-1, 1)
        light *= np.float32(rng.uniform(0.1, 0.4))
        quarters = picture.reshape(half, 2, half, 2, 3)
        quarters *= 1 + light[:, None, :, None, None]
    return picture


def _draw_region(rng: np.random.Generator, period: int) -> NDArray[np.bool_]:
    """Patches as noise has them, a band across, or boxes."""
    kind = rng.integers(3)
    if kind == 0:
        noise = draw_noise(rng, period // 2, rng.uniform(0.4, 0.8))
        patches = noise > np.float32(rng.uniform(0.0, 1.0))
        return patches.repeat(2, 0).repeat(2, 1)
    region = np.zeros((period, period), bool)
    if kind == 1:
        rough = draw_noise(rng, period // 2, rng.uniform(0.4, 0.9))[:2].repeat(2, 1)
        edges = np.sort(rng.uniform(0.1, 0.9, 2)) * period
        edges = edges[:, None] + rough * rng.uniform(0, 0.03) * period
        rows = np.arange(period)[:, None]
        return (rows > edges[0]) & (rows < edges[1])
    for _ in range(rng.integers(1, 8)):
        high, wide = (rng.uniform(0.02, 0.25, 2) * period).astype(int)
        row, column = rng.integers(0, period, 2)
        region[row : row + high, column : column + wide] = True
    return region


def _paint_crowd(
    rng: np.random.Generator,
    canvas: Canvas,
    size: tuple[int, int],
    lamp: Lamp,
    hiding: tuple[Actor, ...],
) -> None:
    """Small figures of a few kinds, each of them there several times."""
    for _ in range(rng.integers(2, 9)):
        unit = TEXELS_PER_PIXEL * min(size) * rng.uniform(0.03, 0.15)
        kind = _STILL[rng.integers(len(_STILL))]
        colours = None
        if rng.random() < 0.6:
            colours = _colours_of(rng, hiding[rng.integers(len(hiding))].figure)
        figure = draw_figure(rng, kind, unit, 1.0, 1.0, colours)
        for _ in range(rng.integers(1, 6)):
            x, y = rng.uniform(0.0, 1.0, 2) * canvas.size
            pose = Pose((x, y), unit, rng.uniform(0, 6), rng.normal(0, 0.1), 0.0)
            paint(canvas, figure, pose, lamp, 0, unit)


def _colours_of(rng: np.random.Generator, figure: Figure) -> Floats:
    """Colours [4, 3] from the surface of one of its parts."""
    texels = figure.parts[rng.integers(len(figure.parts))].surface.texels
    return texels[rng.integers(0, len(texels), 4)].astype(np.float32)
