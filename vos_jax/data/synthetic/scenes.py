"""What is in a scene of shapes, and what does a camera see of it at a time?

A scene is drawn once for each clip; every frame is then a pure function of the scene
and the time. So a clip may be of any length and its frames do not depend on it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.camera import Sensor, draw_sensor, expose, look_at
from vos_jax.data.synthetic.objects import (
    Object,
    Wave,
    angle_index,
    draw_objects,
    draw_outline,
    draw_wave,
    energy_of,
    lay_object,
)
from vos_jax.data.synthetic.textures import (
    TEXELS_PER_PIXEL,
    Bytes,
    Floats,
    Texture,
    draw_palette,
    draw_texture,
    power_of_two,
)


class Scene(NamedTuple):
    """Shapes over a background, and the camera that looks at them."""

    size: tuple[int, int]
    objects: tuple[Object, ...]  # from the farthest to the nearest
    background: Texture
    pan: NDArray[np.float64]  # [3]: x, y (texels a frame), angle
    camera: Wave  # [4]: x, y (texels), angle, log zoom
    shake: Wave  # [2]: x, y (pixels)
    sun: tuple[float, float]
    sensor: Sensor

    def render(self, time: int) -> tuple[Bytes, Bytes]:
        """Returns the frame [H, W, 3] and labels [H, W] at `time`."""
        canvas, labels = _paint(self, time)
        return expose(self.sensor, time, canvas), labels


def draw_scene(
    rng: np.random.Generator, size: tuple[int, int], objects: int, difficulty: float
) -> Scene:
    """Draws a scene of shapes; the arguments are those of `generate_clip`."""
    energy = energy_of(difficulty)
    palette = draw_palette(rng)
    things = draw_objects(rng, size, objects, difficulty, palette)
    moving = energy * (rng.random() < 0.75)
    side = min(size) / 128
    pan = rng.normal(0, [0.9 * side, 0.6 * side, 0.002]) * moving
    travel = np.array([8 * side, 6 * side, 0.04, 0.08]) * moving
    camera = draw_wave(rng, travel, 40, 200)
    sun = rng.uniform(0, 2 * np.pi)
    grain = rng.uniform(0.5, 5.0) * energy
    return Scene(
        size=size,
        objects=_place(rng, things, size),
        background=_draw_background(rng, size, palette),
        pan=pan,
        camera=camera,
        shake=draw_wave(rng, np.full(2, rng.uniform(0, 0.8) * side * energy), 5, 15),
        sun=(math.cos(sun), math.sin(sun)),
        sensor=draw_sensor(rng, size, 0.06 * energy, 0.1 * energy, grain),
    )


def _draw_background(
    rng: np.random.Generator, size: tuple[int, int], palette: Floats
) -> Texture:
    """Draws the background: a texture with still clutter shaped like the objects."""
    period = power_of_two(TEXELS_PER_PIXEL * 1.5 * max(size), 1024)
    ground = draw_texture(rng, period, 24, palette)
    picture = ground.texels.reshape(period, period, 3)
    unit = TEXELS_PER_PIXEL * min(size)
    for _ in range(rng.integers(0, 9)):
        radius = min(rng.uniform(0.05, 0.3) * unit, period / 5)
        outline = draw_outline(rng)
        patch = draw_texture(rng, power_of_two(2 * radius, 256), 8, draw_palette(rng))
        reach = int(radius * outline.max()) + 1
        axis = np.arange(-reach, reach + 1, dtype=np.float32)
        inside = np.hypot(axis, axis[:, None]) < radius * outline.take(
            angle_index(axis[None], axis[:, None])
        )
        rows, columns = np.nonzero(inside)
        corner = rng.integers(0, period, 2)
        colours = patch.sample(columns.astype(np.float32), rows.astype(np.float32))
        wrap = period - 1
        picture[(rows + corner[0]) & wrap, (columns + corner[1]) & wrap] = colours
    return ground


def _place(
    rng: np.random.Generator, things: list[Object], size: tuple[int, int]
) -> tuple[Object, ...]:
    """Draws where the objects start, so that every labelled one can be seen.

    Those that cannot are drawn again, and all shrink a little, towards sizes that fit
    with room to spare.
    """
    count = sum(thing.label > 0 for thing in things)
    least = max(1.0, min(0.01, 0.1 / count) * size[0] * size[1])
    # Twice the pixels that must show, or else shrinking could defeat itself.
    floor = math.sqrt(2 * least / math.pi)
    centres = np.full((len(things), 2), np.inf)
    hidden = list(range(len(things)))
    shrink = 1.0
    while True:
        for index in hidden:
            centres[index] = np.inf
            centres[index] = _free_point(rng, centres, size)
        placed = tuple(
            thing._replace(centre=(x, y), radius=max(thing.radius * shrink, floor))
            for thing, (x, y) in zip(things, centres.tolist(), strict=True)
        )
        own, seen = _areas(placed, size)
        hidden = [
            index
            for index, thing in enumerate(things)
            if thing.label and seen[thing.label] < max(least, own[thing.label] / 3)
        ]
        if not hidden:
            return placed
        shrink *= 0.96


def _free_point(
    rng: np.random.Generator, taken: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Draws a point (x, y) in the frame, the farthest of a few from the `taken` ones.

    Few candidates let a few objects overlap; many objects need many candidates.
    """
    count = len(taken)
    border = 0.22 if count < 8 else 0.05
    extent = np.array([size[1], size[0]], float)
    points = rng.uniform(border, 1 - border, (2 + count // 4, 2)) * extent
    apart = np.hypot(*(points[:, None] - taken).transpose(2, 0, 1))
    return points[apart.min(axis=1).argmax()]


def _areas(
    things: Sequence[Object], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts the pixels of each label in frame 0: [256] alone, and [256] in sight."""
    own = np.zeros(256, np.int64)
    labels = np.zeros(size, np.uint8)
    for thing in things:
        patch = lay_object(thing, 0, size, (0.0, 0.0))
        if patch is not None:
            inside = patch.distance > 0
            own[thing.label] = np.count_nonzero(inside)
            labels[patch.box][inside] = thing.label
    return own, np.bincount(labels.ravel(), minlength=256)


def _paint(scene: Scene, time: int) -> tuple[Floats, Bytes]:
    """Returns the radiance [H, W, 3] and labels [H, W] at `time`."""
    shake = scene.shake.at(time)
    sway = scene.camera.at(time)
    pan = scene.pan * time + sway[:3]
    canvas = look_at(scene.background, scene.size, pan[:2], pan[2], sway[3], shake)
    labels = np.zeros(scene.size, np.uint8)
    for thing in scene.objects:
        patch = lay_object(thing, time, scene.size, (float(shake[0]), float(shake[1])))
        if patch is None:
            continue
        sun_x, sun_y = (np.float32(thing.shade * part) for part in scene.sun)
        colours = thing.texture.sample(patch.u, patch.v).astype(np.float32)
        colours *= (1 + sun_x * patch.across[0] + sun_y * patch.across[1])[..., None]
        # The image's edge is as soft as a pixel's footprint; labels take its centre.
        cover = (patch.distance + np.float32(0.5)).clip(0, 1)[..., None]
        region = canvas[patch.box]
        colours -= region
        colours *= cover
        region += colours
        labels[patch.box][patch.distance > 0] = thing.label
    return canvas, labels
