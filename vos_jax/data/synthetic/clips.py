"""Clips of a theme, drawn from seeds.

A scene is drawn once for each clip; every frame is then a pure function of the scene
and the time. So a clip may be of any length and its frames do not depend on it.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from vos_jax.data.synthetic.actors import WORLDS
from vos_jax.data.synthetic.scenes import draw_scene
from vos_jax.data.synthetic.textures import Bytes
from vos_jax.data.synthetic.worlds import draw_world
from vos_jax.errors import InputError
from vos_jax.types import MAX_OBJECTS

THEMES = ("shapes", *WORLDS)
"""What clips can show. Those of a seed of one theme stay as they are."""

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


class _Scene(Protocol):
    def render(self, time: int) -> tuple[Bytes, Bytes]: ...


def generate_clip(
    seed: int | Sequence[int],
    frames: int,
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
    stride: int = 1,
    theme: str = "shapes",
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
      theme: "shapes": textured shapes. "world": people, animals, vehicles and things
        of several parts in landscapes, as cameras see them. "lookalikes": each has a
        twin, and they cross. "thin": limbs and tools of few pixels. "slow": looks,
        light and view change over hundreds of frames. "leaving": objects leave and
        come back, and their likes stay.

    Raises:
      InputError: An argument is out of its range.
    """
    if frames < 1:
        raise InputError(f"frames={frames} gives no clip; use at least 1.")
    if stride < 1:
        raise InputError(f"stride={stride} does not go forward; use at least 1.")
    times = [index * stride for index in range(frames)]
    return generate_frames(seed, times, size, objects, difficulty, theme)


def generate_frames(
    seed: int | Sequence[int],
    times: Sequence[int],
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
    theme: str = "shapes",
) -> Clip:
    """Draws the frames at `times`, in any order, of the scene of `seed`.

    The other arguments are those of `generate_clip`, whose frames these are.

    Raises:
      InputError: An argument is out of its range.
    """
    if len(times) == 0 or min(times) < 0:
        raise InputError(f"times={list(times)} gives no frames; use 0 or later.")
    scene = _draw(seed, size, objects, difficulty, theme)
    shape = (len(times), *size)
    clip = Clip(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8))
    for index, time in enumerate(times):
        clip.frames[index], clip.labels[index] = scene.render(time)
    return clip


def iterate_clip(
    seed: int | Sequence[int],
    size: tuple[int, int],
    objects: int,
    difficulty: float = 1.0,
    theme: str = "shapes",
) -> Iterator[tuple[Bytes, Bytes]]:
    """Yields (frame uint8 [H, W, 3], labels uint8 [H, W]) without end.

    The arguments are those of `generate_clip`. Memory does not grow with time: a
    scene takes some 2 MB at 128 x 128 pixels, 8 MB at 240 x 432.

    Raises:
      InputError: An argument is out of its range; raised at once, not at the first
        item.
    """
    scene = _draw(seed, size, objects, difficulty, theme)
    return (scene.render(time) for time in itertools.count())


def _draw(
    seed: int | Sequence[int],
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    theme: str,
) -> _Scene:
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not seeds or min(seeds) < 0:
        raise InputError(f"seed={seed} is not a seed; use integers of 0 or more.")
    _check(size, objects, difficulty, theme)
    # With their number in front, for NumPy takes [1] and [1, 0] for the same seed.
    seeds = [len(seeds), *seeds]
    if theme == "shapes":
        return draw_scene(np.random.default_rng(seeds), size, objects, difficulty)
    # What one theme shows under a seed is no hint at what another does.
    rng = np.random.default_rng([*seeds, *theme.encode()])
    return draw_world(rng, size, objects, difficulty, WORLDS[theme])


def _check(size: tuple[int, int], objects: int, difficulty: float, theme: str) -> None:
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
    if theme not in THEMES:
        raise InputError(f"theme={theme!r} is unknown; use {', '.join(THEMES)}.")
