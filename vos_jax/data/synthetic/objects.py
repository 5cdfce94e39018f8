"""What is an object, and which part of a frame does it cover at a time?

A body whose outline bends, with limbs that swing, turns and sways to and fro in the
frame. All its motions are sums of sinusoids, and so are those of the camera.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.textures import (
    TEXELS_PER_PIXEL,
    Floats,
    Texture,
    draw_palette,
    draw_texture,
    power_of_two,
)

_ANGLES = 1024
_ROUND = 0.95
_THETA = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
_ORDERS = range(2, 6)
# Each harmonic of an outline has a cosine and a sine.
_HARMONICS = np.repeat(np.array(_ORDERS, float), 2)
_BASIS = np.concatenate([[np.cos(k * _THETA), np.sin(k * _THETA)] for k in _ORDERS])


class Wave(NamedTuple):
    """A sum of sinusoids for each of N quantities; the fields are [N, terms]."""

    amplitude: NDArray[np.float64]
    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]

    def at(self, time: float) -> NDArray[np.float64]:
        """Returns the values [N] at `time`."""
        turns = np.sin(self.frequency * time + self.phase)
        return (self.amplitude * turns).sum(axis=-1)


class _Limb(NamedTuple):
    """A capsule that swings at a joint of the body, in the object's frame."""

    direction: float
    joint: float
    length: float
    width: float


class Object(NamedTuple):
    """One moving thing; `label` is 0 for a distractor."""

    label: int
    texture: Texture
    radius: float
    centre: tuple[float, float]
    span: float
    drift: NDArray[np.float64]  # [3]: x, y (radians of the sway), angle
    motion: Wave  # [5]: x, y, angle, log scale, log aspect
    outline: Floats  # [_ANGLES], mean square 1
    bend: NDArray[np.float64]  # [len(_HARMONICS)]
    deform: Wave
    limbs: tuple[_Limb, ...]
    swing: Wave
    shade: float


class Patch(NamedTuple):
    """An object in one frame, on the part of the frame that its box covers."""

    box: tuple[slice, slice]
    distance: Floats  # pixels from the outline, positive inside
    u: Floats
    v: Floats
    across: tuple[Floats, Floats]  # offset from the centre over the radius, x, y


def draw_wave(
    rng: np.random.Generator,
    amplitude: NDArray[np.float64],
    shortest: float,
    longest: float,
) -> Wave:
    """Draws a wave of RMS about `amplitude` [N] with periods log-uniform in a range."""
    shape = (len(amplitude), 3)
    period = np.exp(rng.uniform(math.log(shortest), math.log(longest), shape))
    size = amplitude[:, None] * rng.uniform(0.2, 1.3, shape)
    return Wave(size, 2 * np.pi / period, rng.uniform(0, 2 * np.pi, shape))


def energy_of(difficulty: float) -> float:
    """Returns what scales speeds, deformation, noise and changes of the light."""
    return 0.3 + 0.7 * difficulty


def draw_objects(
    rng: np.random.Generator,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    background: Floats,
) -> list[Object]:
    """Draws the objects and distractors in random depth order, not yet placed.

    Some take the palette of another or of the `background`, under another pattern.
    """
    distractors = int(rng.binomial(3, min(0.9, 0.3 * difficulty)))
    labels = [*range(1, objects + 1), *[0] * distractors]
    palettes = [background]
    things = []
    for label in labels:
        palette = draw_palette(rng)
        if rng.random() < 0.25 * difficulty:
            palette = palettes[rng.integers(len(palettes))]
        palettes.append(palette)
        things.append(_draw_object(rng, label, size, objects, difficulty, palette))
    return [things[index] for index in rng.permutation(len(things))]


def _draw_object(
    rng: np.random.Generator,
    label: int,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    palette: Floats,
) -> Object:
    energy = energy_of(difficulty)
    share = min(0.13, 0.45 / objects) * rng.uniform(0.4, 1.6)
    radius = math.sqrt(size[0] * size[1] * share / math.pi)
    softness = energy * rng.choice([0.1, 0.6, 1.0])
    speed = energy * rng.uniform([0.008, 0.004], [0.04, 0.03])
    drift = np.append(speed * rng.choice([-1, 1], 2), energy * rng.normal(0, 0.012))
    sway = np.array([0.1, 0.08, 0.15, 0.07, 0.1 * min(softness, 1.2)])
    limbs = _draw_limbs(rng) if rng.random() < 0.4 else ()
    if limbs:
        radius *= 0.8
    texels = power_of_two(2.6 * TEXELS_PER_PIXEL * radius, 512)
    return Object(
        label=label,
        texture=draw_texture(rng, texels, 12, palette),
        radius=radius,
        centre=(0.0, 0.0),
        span=rng.uniform(0.6, 1.0),
        drift=drift,
        motion=draw_wave(rng, sway * energy, 25, 120),
        outline=draw_outline(rng),
        bend=rng.normal(0, 0.1, len(_HARMONICS)) / _HARMONICS,
        deform=draw_wave(rng, 0.13 * softness / _HARMONICS, 15, 90),
        limbs=limbs,
        swing=draw_wave(rng, np.full(len(limbs), 0.35 * energy), 15, 60),
        shade=rng.uniform(0, 0.35),
    )


def _draw_limbs(rng: np.random.Generator) -> tuple[_Limb, ...]:
    directions = rng.uniform(0, 2 * np.pi) + np.cumsum(
        rng.uniform(0.7, 1.9, rng.integers(1, 5))
    )
    return tuple(
        _Limb(
            direction=direction,
            joint=rng.uniform(0.4, 0.8),
            length=rng.uniform(0.6, 1.3),
            width=rng.uniform(0.2, 0.45),
        )
        for direction in directions
    )


def draw_outline(rng: np.random.Generator) -> Floats:
    """Draws a closed outline: radius by angle [_ANGLES], of mean square 1."""
    kind = rng.choice(["blob", "box", "star", "oval"], p=[0.5, 0.2, 0.15, 0.15])
    if kind == "blob":
        radius = 1 + (rng.normal(0, 0.38, len(_HARMONICS)) / _HARMONICS) @ _BASIS
    elif kind == "star":
        radius = 1 + rng.uniform(0.1, 0.3) * np.cos(rng.integers(3, 8) * _THETA)
    else:
        # A superellipse: power 2 is an ellipse, high powers are rounded boxes.
        power = rng.uniform(4, 12) if kind == "box" else 2.0
        aspect = rng.uniform(0.5, 1.0)
        sides = np.abs(np.cos(_THETA)) ** power
        ends = np.abs(np.sin(_THETA) / aspect) ** power
        radius = (sides + ends) ** (-1 / power)
    radius = np.maximum(radius, 0.3)
    return (radius / np.sqrt(np.mean(radius**2))).astype(np.float32)


def lay_object(
    thing: Object, time: int, size: tuple[int, int], shake: tuple[float, float]
) -> Patch | None:
    """Lays an object on the frame at `time`; None when it is all outside."""
    sway = thing.motion.at(time) - thing.motion.at(0)
    turns = thing.drift[:2] * time + sway[:2]
    spans = (thing.span, thing.span)
    centre = wander(thing.centre, spans, turns, size, shake)
    angle = thing.drift[2] * time + sway[2]
    scale = thing.radius * math.exp(sway[3])
    stretch = math.exp(sway[4])
    bend = thing.bend + thing.deform.at(time)
    outline = np.maximum(thing.outline * (1 + bend @ _BASIS), 0.25).astype(np.float32)

    far = max([outline.max(), *(limb.joint + limb.length for limb in thing.limbs)])
    far = 1 + scale * max(stretch, 1 / stretch) * (far + 0.45 * bool(thing.limbs))
    box = []
    for middle, extent in zip(centre[::-1], size, strict=True):
        first, last = max(0, int(middle - far)), min(extent, int(middle + far) + 1)
        if first >= last:
            return None
        box.append(slice(first, last))
    # Pixel centres lie at half-integers.
    x = np.arange(box[1].start, box[1].stop, dtype=np.float32) + (0.5 - centre[0])
    y = np.arange(box[0].start, box[0].stop, dtype=np.float32) + (0.5 - centre[1])
    x, y = x.astype(np.float32), y.astype(np.float32)[:, None]
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    p = (cos / stretch) * x + (sin / stretch) * y
    q = (cos * stretch) * y - (sin * stretch) * x

    radius = outline.take(angle_index(p, q))
    distance = radius - np.sqrt(p * p + q * q)
    # Over the radius: the texture stretches with the outline.
    u, v = p / radius, q / radius
    swings = thing.swing.at(time)
    for limb, swing in zip(thing.limbs, swings, strict=True):
        distance, u, v = _add_limb(limb, float(swing), (p, q), (distance, u, v))
    texel = np.float32(TEXELS_PER_PIXEL * thing.radius)
    across = (x / np.float32(scale), y / np.float32(scale))
    return Patch(
        (box[0], box[1]), distance * np.float32(scale), u * texel, v * texel, across
    )


def wander(
    start: tuple[float, float],
    spans: tuple[float, float],
    turns: NDArray[np.float64],
    size: tuple[int, int],
    shake: Sequence[float] | NDArray[np.float64],
) -> tuple[float, float]:
    """Returns where in the frame a thing is that goes to and fro along both axes.

    Args:
      start: x, y in pixels, where it began.
      spans: Widths of its ways over those of the frame.
      turns: How far it has gone on [2], in radians.
      size: Height and width of the frame.
      shake: x, y in pixels, of the camera.
    """
    x, y = (
        extent / 2 + _to_and_fro(span * extent, at - extent / 2, turn) + float(moved)
        for extent, span, at, turn, moved in zip(
            size[::-1], spans, start, turns, shake, strict=True
        )
    )
    return x, y


def _to_and_fro(width: float, start: float, turn: float) -> float:
    """Returns where a thing is that began at `start` and has gone on by `turn`.

    Places are pixels from the middle of the `width`, in which it stays for ever: a
    triangle wave with round corners, since a sinusoid would dwell at the ends.
    """
    limit = math.asin(_ROUND)
    reach = width / 2 / limit
    start = min(max(start / reach, -limit), limit)
    turn += math.asin(min(max(math.sin(start) / _ROUND, -1.0), 1.0))
    return reach * math.asin(_ROUND * math.sin(turn))


def _add_limb(
    limb: _Limb,
    swing: float,
    point: tuple[Floats, Floats],
    body: tuple[Floats, Floats, Floats],
) -> tuple[Floats, Floats, Floats]:
    """Joins a limb to the distance and texture coordinates of a body."""
    p = point[0] - np.float32(limb.joint * math.cos(limb.direction))
    q = point[1] - np.float32(limb.joint * math.sin(limb.direction))
    cos = np.float32(math.cos(limb.direction + swing))
    sin = np.float32(math.sin(limb.direction + swing))
    along, beside = cos * p + sin * q, cos * q - sin * p
    beyond = along - along.clip(0, limb.length)
    reach = np.float32(limb.width) - np.sqrt(beyond * beyond + beside * beside)
    distance, u, v = body
    nearer = reach > distance
    # Each limb shows its own stretch of the texture, which swings with it.
    shift = np.float32(limb.direction)
    return (
        np.maximum(distance, reach),
        np.where(nearer, along + shift, u),
        np.where(nearer, beside + shift, v),
    )


def angle_index(x: Floats, y: Floats) -> NDArray[np.int32]:
    """Returns where outlines hold the radius at the offsets `x`, `y`."""
    turns = np.arctan2(y, x) * np.float32(_ANGLES / (2 * np.pi))
    return turns.astype(np.int32) & (_ANGLES - 1)
