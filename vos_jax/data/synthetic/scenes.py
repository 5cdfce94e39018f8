"""What is in a scene, and what does a camera see of it at a time?

A scene is drawn once for each clip; every frame is then a pure function of the scene
and the time. So a clip may be of any length and its frames do not depend on it.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from vos_jax.errors import InputError
from vos_jax.types import MAX_OBJECTS

_MIN_SIDE = 32
_MIN_PIXELS_PER_OBJECT = 64


class Clip(NamedTuple):
    """A video and its masks.

    Attributes:
      frames: uint8 [T, H, W, 3], RGB.
      labels: uint8 [T, H, W]; 0 is background, 1 to O the objects.
    """

    frames: Bytes
    labels: Bytes


class _Scene(NamedTuple):
    size: tuple[int, int]
    objects: tuple[Object, ...]  # from the farthest to the nearest
    background: Texture
    pan: NDArray[np.float64]  # [3]: x, y (texels a frame), angle
    camera: Wave  # [4]: x, y (texels), angle, log zoom
    shake: Wave  # [2]: x, y (pixels)
    light: Wave  # [5]: gains of R, G, B, slopes along x, y
    sun: tuple[float, float]
    blur: float
    noise: Floats


def generate_clip(
    seed: int | Sequence[int],
    frames: int,
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
    stride: int = 1,
) -> Clip:
    """Draws a clip: the frames 0, `stride`, 2 `stride`, ... of the scene of `seed`.

    Frame t is the same whatever `frames` and equals the t-th item of `iterate_clip`.
    In frame 0 every object shows at least 1 % of the pixels (0.1 / `objects` with more
    than ten) and a third of itself.

    Args:
      seed: One or several non-negative integers; equal arguments give equal bytes.
      frames: Number of frames, at least 1.
      size: Height and width, each at least 32.
      objects: Number of labelled objects, 1 to 254, with 64 pixels or more for each.
      difficulty: 0 to 3. Scales speeds, deformation, noise, illumination changes and
        the number of distractors and lookalikes.
      stride: Time between frames, at least 1.

    Raises:
      InputError: An argument is out of its range.
    """
    if frames < 1:
        raise InputError(f"frames={frames} gives no clip; use at least 1.")
    if stride < 1:
        raise InputError(f"stride={stride} does not go forward; use at least 1.")
    times = [index * stride for index in range(frames)]
    return generate_frames(seed, times, size, objects, difficulty)


def generate_frames(
    seed: int | Sequence[int],
    times: Sequence[int],
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
) -> Clip:
    """Draws the frames at `times`, in any order, of the scene of `seed`.

    The other arguments are those of `generate_clip`, whose frames these are.

    Raises:
      InputError: An argument is out of its range.
    """
    if len(times) == 0 or min(times) < 0:
        raise InputError(f"times={list(times)} gives no frames; use 0 or later.")
    scene = _draw_scene(seed, size, objects, difficulty)
    shape = (len(times), *size)
    clip = Clip(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8))
    for index, time in enumerate(times):
        clip.frames[index], clip.labels[index] = _render(scene, time)
    return clip


def iterate_clip(
    seed: int | Sequence[int],
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
) -> Iterator[tuple[Bytes, Bytes]]:
    """Yields (frame uint8 [H, W, 3], labels uint8 [H, W]) without end.

    The arguments are those of `generate_clip`. Memory does not grow with time: a
    scene takes some 2 MB at 128 x 128 pixels, 6 MB at 240 x 432.

    Raises:
      InputError: An argument is out of its range; raised at once, not at the first
        item.
    """
    scene = _draw_scene(seed, size, objects, difficulty)
    return (_render(scene, time) for time in itertools.count())


def _draw_scene(
    seed: int | Sequence[int], size: tuple[int, int], objects: int, difficulty: float
) -> _Scene:
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not seeds or min(seeds) < 0:
        raise InputError(f"seed={seed} is not a seed; use integers of 0 or more.")
    _check(size, objects, difficulty)
    # With their number in front, for NumPy takes [1] and [1, 0] for the same seed.
    rng = np.random.default_rng([len(seeds), *seeds])
    height, width = size
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
    return _Scene(
        size=size,
        objects=_place(rng, things, size),
        background=_draw_background(rng, size, palette),
        pan=pan,
        camera=camera,
        shake=draw_wave(rng, np.full(2, rng.uniform(0, 0.8) * side * energy), 5, 15),
        light=draw_wave(rng, np.array([0.06, 0.06, 0.06, 0.1, 0.1]) * energy, 30, 300),
        sun=(math.cos(sun), math.sin(sun)),
        blur=rng.choice([0.0, 0.12, 0.25]),
        noise=rng.standard_normal(height * width * 3 + 9973, np.float32)
        * np.float32(grain),
    )


def _check(size: tuple[int, int], objects: int, difficulty: float) -> None:
    if not 1 <= objects <= MAX_OBJECTS:
        raise InputError(f"objects={objects} is out of range; use 1 to {MAX_OBJECTS}.")
    if len(size) != 2 or min(size) < _MIN_SIDE:
        raise InputError(
            f"size={size} is too small; use a height and width of at least {_MIN_SIDE}."
        )
    if size[0] * size[1] < objects * _MIN_PIXELS_PER_OBJECT:
        raise InputError(
            f"size={size} is too small for objects={objects}; "
            f"use {_MIN_PIXELS_PER_OBJECT} pixels or more for each object."
        )
    if not 0 <= difficulty <= 3:
        raise InputError(f"difficulty={difficulty} is out of range; use 0 to 3.")


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


def _render(scene: _Scene, time: int) -> tuple[Bytes, Bytes]:
    """Returns the frame [H, W, 3] and labels [H, W] at `time`."""
    shake = scene.shake.at(time)
    canvas = _render_background(scene, time, shake)
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
    return _expose(scene, time, canvas), labels


def _render_background(scene: _Scene, time: int, shake: NDArray[np.float64]) -> Floats:
    height, width = scene.size
    sway = scene.camera.at(time)
    angle = scene.pan[2] * time + sway[2]
    zoom = TEXELS_PER_PIXEL * math.exp(sway[3])
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    # Wrapped before float32, which has no fraction left after a long pan.
    left, top = (scene.pan[:2] * time + sway[:2]) % scene.background.size
    x = np.arange(width) - (width / 2 + shake[0])
    y = (np.arange(height) - (height / 2 + shake[1]))[:, None]
    u = (left + cos * x).astype(np.float32) + (sin * y).astype(np.float32)
    v = (top - sin * x).astype(np.float32) + (cos * y).astype(np.float32)
    return scene.background.sample(u, v).astype(np.float32)


def _expose(scene: _Scene, time: int, canvas: Floats) -> Bytes:
    """Turns radiance into a picture: optical blur, illumination, sensor noise."""
    height, width = scene.size
    if scene.blur:
        side, middle = np.float32(scene.blur), np.float32(1 - 2 * scene.blur)
        soft = canvas * middle
        soft[1:-1] += side * (canvas[:-2] + canvas[2:])
        soft[[0, -1]] += 2 * side * canvas[[0, -1]]
        canvas = soft * middle
        canvas[:, 1:-1] += side * (soft[:, :-2] + soft[:, 2:])
        canvas[:, [0, -1]] += 2 * side * soft[:, [0, -1]]
    light = scene.light.at(time)
    slope_x = np.linspace(-light[3], light[3], width, dtype=np.float32)
    slope_y = np.linspace(-light[4], light[4], height, dtype=np.float32)
    gain = (1 + slope_x + slope_y[:, None])[..., None]
    canvas *= gain * (1 + light[:3]).astype(np.float32)
    # A different window of one field of noise; a fresh field costs a third of a frame.
    start = time * 7621 % 9973
    canvas += scene.noise[start : start + canvas.size].reshape(canvas.shape)
    # Half up: the cast drops the fraction.
    canvas += np.float32(0.5)
    return canvas.clip(0, 255, out=canvas).astype(np.uint8)
