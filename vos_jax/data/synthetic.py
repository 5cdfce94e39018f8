"""Synthetic videos with exact masks, drawn from a seed: NumPy only, no download.

Textured objects deform, turn and occlude one another over a moving, cluttered
background. Background, clutter, objects and unlabelled distractors take their
textures and outlines from the same families, so neither motion, contrast nor outline
alone tells an object: its appearance in the first frame does.

A scene is drawn once for each clip; every frame is then a pure function of the scene
and the time, whose motions are sums of sinusoids. So a clip may be of any length and
its frames do not depend on it.

Units: pixels for positions, frames for times, radians for angles. An object's own
frame has its mean radius as the unit of length.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.errors import InputError

_Floats = NDArray[np.float32]
_Bytes = NDArray[np.uint8]

_MIN_SIDE = 32
_MIN_PIXELS_PER_OBJECT = 64
_MAX_OBJECTS = 254
# Textures are finer than the frame, so that taking the nearest texel is off by no more
# than a quarter of a pixel; interpolation would take ten times longer.
_TEXELS_PER_PIXEL = 2
_ANGLES = 1024
_HARMONICS = 4
_ROUND = 0.95
_TINTS = 64
_THETA = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
_BASIS = np.concatenate(
    [[np.cos(k * _THETA), np.sin(k * _THETA)] for k in range(2, 2 + _HARMONICS)]
)


class Clip(NamedTuple):
    """A video and its masks.

    Attributes:
      frames: uint8 [T, H, W, 3], RGB.
      labels: uint8 [T, H, W]; 0 is background, 1 to O the objects.
    """

    frames: _Bytes
    labels: _Bytes


class _Wave(NamedTuple):
    """A sum of sinusoids for each of N quantities; the fields are [N, terms]."""

    amplitude: NDArray[np.float64]
    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]

    def at(self, time: int) -> NDArray[np.float64]:
        """Returns the values [N] at `time`."""
        turns = np.sin(self.frequency * time + self.phase)
        return (self.amplitude * turns).sum(axis=-1)


class _Texture(NamedTuple):
    """A periodic picture: uint8 [size * size, 3], `size` a power of two."""

    texels: _Bytes
    size: int

    def sample(self, u: _Floats, v: _Floats) -> _Bytes:
        """Returns the nearest texels at the coordinates `u`, `v`."""
        mask = self.size - 1
        rows = np.floor(v).astype(np.int32) & mask
        columns = np.floor(u).astype(np.int32) & mask
        return self.texels.take(rows * self.size + columns, axis=0)


class _Limb(NamedTuple):
    """A capsule that swings at a joint of the body, in the object's frame."""

    direction: float
    joint: float
    length: float
    width: float


class _Object(NamedTuple):
    """One moving thing; `label` is 0 for a distractor."""

    label: int
    texture: _Texture
    radius: float
    centre: tuple[float, float]
    span: float
    drift: NDArray[np.float64]  # [3]: x, y (radians of the sway), angle
    motion: _Wave  # [5]: x, y, angle, log scale, log aspect
    outline: _Floats  # [_ANGLES], mean square 1
    bend: NDArray[np.float64]  # [2 * _HARMONICS]
    deform: _Wave
    limbs: tuple[_Limb, ...]
    swing: _Wave
    shade: float


class _Scene(NamedTuple):
    size: tuple[int, int]
    objects: tuple[_Object, ...]  # from the farthest to the nearest
    background: _Texture
    pan: NDArray[np.float64]  # [3]: x, y (texels a frame), angle
    camera: _Wave  # [4]: x, y (texels), angle, log zoom
    shake: _Wave  # [2]: x, y (pixels)
    light: _Wave  # [5]: gains of R, G, B, slopes along x, y
    sun: tuple[float, float]
    blur: float
    noise: _Floats


class _Patch(NamedTuple):
    """An object in one frame, on the part of the frame that its box covers."""

    box: tuple[slice, slice]
    distance: _Floats  # pixels from the outline, positive inside
    u: _Floats
    v: _Floats
    across: tuple[_Floats, _Floats]  # offset from the centre over the radius, x, y


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
    scene = _scene(seed, size, objects, difficulty)
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
) -> Iterator[tuple[_Bytes, _Bytes]]:
    """Yields (frame uint8 [H, W, 3], labels uint8 [H, W]) without end.

    The arguments are those of `generate_clip`. Memory does not grow with time: a
    scene takes some 2 MB at 128 x 128 pixels, 6 MB at 240 x 432.

    Raises:
      InputError: An argument is out of its range; raised at once, not at the first
        item.
    """
    scene = _scene(seed, size, objects, difficulty)
    return (_render(scene, time) for time in itertools.count())


def _scene(
    seed: int | Sequence[int], size: tuple[int, int], objects: int, difficulty: float
) -> _Scene:
    _check(seed, size, objects, difficulty)
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    # With their number in front, for NumPy takes [1] and [1, 0] for the same seed.
    rng = np.random.default_rng([len(seeds), *seeds])
    height, width = size
    energy = 0.3 + 0.7 * difficulty
    palette = _palette(rng)
    things = _draw_objects(rng, size, objects, difficulty, palette)
    moving = energy * (rng.random() < 0.75)
    side = min(size) / 128
    pan = rng.normal(0, [0.9 * side, 0.6 * side, 0.002]) * moving
    camera = _wave(rng, np.array([8 * side, 6 * side, 0.04, 0.08]) * moving, 40, 200)
    sun = rng.uniform(0, 2 * np.pi)
    grain = rng.uniform(0.5, 5.0) * energy
    return _Scene(
        size=size,
        objects=_place(rng, things, size),
        background=_background(rng, size, palette),
        pan=pan,
        camera=camera,
        shake=_wave(rng, np.full(2, rng.uniform(0, 0.8) * side * energy), 5, 15),
        light=_wave(rng, np.array([0.06, 0.06, 0.06, 0.1, 0.1]) * energy, 30, 300),
        sun=(math.cos(sun), math.sin(sun)),
        blur=rng.choice([0.0, 0.12, 0.25]),
        noise=rng.standard_normal(height * width * 3 + 9973, np.float32)
        * np.float32(grain),
    )


def _check(
    seed: int | Sequence[int], size: tuple[int, int], objects: int, difficulty: float
) -> None:
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    if not seeds or min(seeds) < 0:
        raise InputError(f"seed={seed} is not a seed; use integers of 0 or more.")
    if not 1 <= objects <= _MAX_OBJECTS:
        raise InputError(f"objects={objects} is out of range; use 1 to {_MAX_OBJECTS}.")
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


def _wave(
    rng: np.random.Generator,
    amplitude: NDArray[np.float64],
    shortest: float,
    longest: float,
) -> _Wave:
    """Draws a wave of RMS about `amplitude` [N] with periods log-uniform in a range."""
    shape = (len(amplitude), 3)
    period = np.exp(rng.uniform(math.log(shortest), math.log(longest), shape))
    size = amplitude[:, None] * rng.uniform(0.2, 1.3, shape)
    return _Wave(size, 2 * np.pi / period, rng.uniform(0, 2 * np.pi, shape))


# Textures


def _noise(rng: np.random.Generator, size: int, detail: float) -> _Floats:
    """Draws periodic noise [size, size], octave by octave, of mean 0 and deviation 1.

    `detail` is the amplitude of an octave over that of the coarser one.
    """
    field = np.zeros((4, 4), np.float32)
    amplitude = np.float32(1)
    while len(field) < size:
        # Finer octaves would alias where the nearest texel is taken.
        if len(field) <= size // 4:
            field += amplitude * rng.standard_normal(field.shape, np.float32)
        amplitude *= np.float32(detail)
        field = _double(np.ascontiguousarray(_double(field).T))
    field -= field.mean()
    field /= field.std()
    return field


def _double(field: _Floats) -> _Floats:
    """Doubles the rows of a periodic field by quadratic B-spline subdivision."""
    quarter = np.concatenate([field[-1:], field, field[:1]]) * np.float32(0.25)
    most = field * np.float32(0.75)
    finer = np.empty((2 * len(field), field.shape[1]), np.float32)
    np.add(most, quarter[:-2], out=finer[0::2])
    np.add(most, quarter[2:], out=finer[1::2])
    return finer


def _pattern(rng: np.random.Generator, size: int, busy: int) -> _Floats:
    """Draws a periodic pattern [size, size] of values around 0 to 1.

    `busy` is the largest number of stripes or spots over the period.
    """
    noise = _noise(rng, size, rng.uniform(0.4, 0.85))
    kind = rng.choice(["noise", "ridges", "stripes", "spots", "checks"])
    if kind == "noise":
        return 0.5 + 0.25 * noise
    if kind == "ridges":
        return np.float32(1) - np.float32(0.6) * np.abs(noise)
    axis = np.arange(size, dtype=np.float32) * np.float32(2 * np.pi / size)
    across, down = (float(n) for n in rng.integers(2, busy + 1, 2))
    across *= rng.choice([-1.0, 1.0])
    warp = np.float32(rng.uniform(0.05, 0.9)) * noise
    if kind == "stripes":
        # Whole numbers of waves along both axes keep the pattern periodic.
        across *= float(rng.integers(0, 2))
        return 0.5 + 0.5 * np.sin(across * axis + (down * axis)[:, None] + warp)
    waves = np.sin(across * axis + warp) * np.sin((down * axis)[:, None] + warp)
    if kind == "spots":
        return 3 * waves - 0.8 + 0.1 * noise
    return 0.5 + 4 * waves + 0.1 * noise


def _palette(rng: np.random.Generator) -> _Floats:
    """Draws 2 to 5 colours [n, 3], 0 to 255, often of one hue, sometimes of any."""
    count = rng.integers(2, 6)
    # Most surfaces are dull: vivid ones alone would make colour a sufficient cue.
    chroma = rng.normal(0, rng.choice([10.0, 30.0, 65.0]), 3)
    spread = rng.choice([8.0, 20.0, 60.0], p=[0.35, 0.4, 0.25])
    grey = rng.uniform(30, 225) + rng.normal(0, 40, (count, 1))
    colours = grey + chroma + rng.normal(0, spread, (count, 3))
    return colours.clip(5, 250).astype(np.float32)


def _texture(
    rng: np.random.Generator, size: int, busy: int, palette: _Floats
) -> _Texture:
    """Draws a texture: a pattern seen through a palette, soft or in steps."""
    pattern = _pattern(rng, size, busy)
    place = np.linspace(0, len(palette) - 1, 256)
    if rng.random() < 0.35:
        place = np.rint(place)
    stops = np.arange(len(palette))
    ramp = np.stack([np.interp(place, stops, channel) for channel in palette.T], -1)
    # A broad change of brightness, for no surface is evenly lit or evenly dirty. It is
    # a second index of the table of colours: adding it to them takes twice as long.
    tint = np.linspace(-3, 3, _TINTS) * rng.uniform(4, 20)
    table = (ramp[:, None] + tint[:, None]).clip(0, 255).astype(np.uint8)
    level = (_noise(rng, size // 4, 0.5) * (_TINTS / 6) + _TINTS / 2).astype(np.intp)
    level = level.clip(0, _TINTS - 1).repeat(4, axis=0).repeat(4, axis=1)
    index = (pattern * 255).clip(0, 255).astype(np.intp) * _TINTS
    index += level
    texels = table.reshape(-1, 3).take(index.ravel(), axis=0)
    return _Texture(texels, size)


def _background(
    rng: np.random.Generator, size: tuple[int, int], palette: _Floats
) -> _Texture:
    """Draws the background: a texture with still clutter shaped like the objects."""
    period = _power_of_two(_TEXELS_PER_PIXEL * 1.5 * max(size), 1024)
    ground = _texture(rng, period, 24, palette)
    picture = ground.texels.reshape(period, period, 3)
    unit = _TEXELS_PER_PIXEL * min(size)
    for _ in range(rng.integers(0, 9)):
        radius = min(rng.uniform(0.05, 0.3) * unit, period / 5)
        outline = _outline(rng)
        patch = _texture(rng, _power_of_two(2 * radius, 256), 8, _palette(rng))
        reach = int(radius * outline.max()) + 1
        axis = np.arange(-reach, reach + 1, dtype=np.float32)
        inside = np.hypot(axis, axis[:, None]) < radius * outline.take(
            _angle_index(axis[None], axis[:, None])
        )
        rows, columns = np.nonzero(inside)
        corner = rng.integers(0, period, 2)
        colours = patch.sample(columns.astype(np.float32), rows.astype(np.float32))
        wrap = period - 1
        picture[(rows + corner[0]) & wrap, (columns + corner[1]) & wrap] = colours
    return ground


def _power_of_two(least: float, most: int) -> int:
    # 64 leaves an octave of noise to the tint, which is drawn at a quarter of the size.
    return min(most, 1 << math.ceil(math.log2(max(least, 64))))


# Objects


def _outline(rng: np.random.Generator) -> _Floats:
    """Draws a closed outline: radius by angle [_ANGLES], of mean square 1."""
    kind = rng.choice(["blob", "box", "star", "oval"], p=[0.5, 0.2, 0.15, 0.15])
    if kind == "blob":
        decay = np.repeat(np.arange(2.0, 2 + _HARMONICS), 2)
        radius = 1 + (rng.normal(0, 0.38, 2 * _HARMONICS) / decay) @ _BASIS
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


def _draw_objects(
    rng: np.random.Generator,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    background: _Floats,
) -> list[_Object]:
    """Draws the objects and distractors in random depth order, not yet placed.

    Some take the palette of another or of the `background`, under another pattern.
    """
    distractors = int(rng.binomial(3, min(0.9, 0.3 * difficulty)))
    labels = [*range(1, objects + 1), *[0] * distractors]
    palettes = [background]
    things = []
    for label in labels:
        palette = _palette(rng)
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
    palette: _Floats,
) -> _Object:
    energy = 0.3 + 0.7 * difficulty
    share = min(0.13, 0.45 / objects) * rng.uniform(0.4, 1.6)
    radius = math.sqrt(size[0] * size[1] * share / math.pi)
    softness = energy * rng.choice([0.1, 0.6, 1.0])
    speed = energy * rng.uniform([0.008, 0.004], [0.04, 0.03])
    drift = np.append(speed * rng.choice([-1, 1], 2), energy * rng.normal(0, 0.012))
    sway = np.array([0.1, 0.08, 0.15, 0.07, 0.1 * min(softness, 1.2)])
    harmonics = np.repeat(np.arange(2.0, 2 + _HARMONICS), 2)
    limbs = _draw_limbs(rng) if rng.random() < 0.4 else ()
    if limbs:
        radius *= 0.8
    texels = _power_of_two(2.6 * _TEXELS_PER_PIXEL * radius, 512)
    return _Object(
        label=label,
        texture=_texture(rng, texels, 12, palette),
        radius=radius,
        centre=(0.0, 0.0),
        span=rng.uniform(0.6, 1.0),
        drift=drift,
        motion=_wave(rng, sway * energy, 25, 120),
        outline=_outline(rng),
        bend=rng.normal(0, 0.1, 2 * _HARMONICS) / harmonics,
        deform=_wave(rng, 0.13 * softness / harmonics, 15, 90),
        limbs=limbs,
        swing=_wave(rng, np.full(len(limbs), 0.35 * energy), 15, 60),
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


def _place(
    rng: np.random.Generator, things: list[_Object], size: tuple[int, int]
) -> tuple[_Object, ...]:
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
    things: Sequence[_Object], size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts the pixels of each label in frame 0: [256] alone, and [256] in sight."""
    own = np.zeros(256, np.int64)
    labels = np.zeros(size, np.uint8)
    for thing in things:
        patch = _patch(thing, 0, size, (0.0, 0.0))
        if patch is not None:
            inside = patch.distance > 0
            own[thing.label] = np.count_nonzero(inside)
            labels[patch.box][inside] = thing.label
    return own, np.bincount(labels.ravel(), minlength=256)


# Frames


def _angle_index(x: _Floats, y: _Floats) -> NDArray[np.int32]:
    turns = np.arctan2(y, x) * np.float32(_ANGLES / (2 * np.pi))
    return turns.astype(np.int32) & (_ANGLES - 1)


def _patch(
    thing: _Object, time: int, size: tuple[int, int], shake: tuple[float, float]
) -> _Patch | None:
    """Lays an object on the frame at `time`; None when it is all outside."""
    sway = thing.motion.at(time) - thing.motion.at(0)
    centre = []
    for axis, extent in enumerate((size[1], size[0])):
        # To and fro for ever: a triangle wave with round corners, since a sinusoid
        # would dwell at the border.
        limit = math.asin(_ROUND)
        reach = thing.span * extent / 2 / limit
        start = min(max((thing.centre[axis] - extent / 2) / reach, -limit), limit)
        turn = math.asin(min(max(math.sin(start) / _ROUND, -1.0), 1.0))
        turn += thing.drift[axis] * time + sway[axis]
        centre.append(
            extent / 2 + reach * math.asin(_ROUND * math.sin(turn)) + shake[axis]
        )
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

    radius = outline.take(_angle_index(p, q))
    distance = radius - np.sqrt(p * p + q * q)
    # Over the radius: the texture stretches with the outline.
    u, v = p / radius, q / radius
    swings = thing.swing.at(time)
    for limb, swing in zip(thing.limbs, swings, strict=True):
        distance, u, v = _add_limb(limb, float(swing), (p, q), (distance, u, v))
    texel = np.float32(_TEXELS_PER_PIXEL * thing.radius)
    across = (x / np.float32(scale), y / np.float32(scale))
    return _Patch(
        (box[0], box[1]), distance * np.float32(scale), u * texel, v * texel, across
    )


def _add_limb(
    limb: _Limb,
    swing: float,
    point: tuple[_Floats, _Floats],
    body: tuple[_Floats, _Floats, _Floats],
) -> tuple[_Floats, _Floats, _Floats]:
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


def _render(scene: _Scene, time: int) -> tuple[_Bytes, _Bytes]:
    """Returns the frame [H, W, 3] and labels [H, W] at `time`."""
    shake = scene.shake.at(time)
    canvas = _render_background(scene, time, shake)
    labels = np.zeros(scene.size, np.uint8)
    for thing in scene.objects:
        patch = _patch(thing, time, scene.size, (float(shake[0]), float(shake[1])))
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


def _render_background(scene: _Scene, time: int, shake: NDArray[np.float64]) -> _Floats:
    height, width = scene.size
    sway = scene.camera.at(time)
    angle = scene.pan[2] * time + sway[2]
    zoom = _TEXELS_PER_PIXEL * math.exp(sway[3])
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    # Wrapped before float32, which has no fraction left after a long pan.
    left, top = (scene.pan[:2] * time + sway[:2]) % scene.background.size
    x = np.arange(width) - (width / 2 + shake[0])
    y = (np.arange(height) - (height / 2 + shake[1]))[:, None]
    u = (left + cos * x).astype(np.float32) + (sin * y).astype(np.float32)
    v = (top - sin * x).astype(np.float32) + (cos * y).astype(np.float32)
    return scene.background.sample(u, v).astype(np.float32)


def _expose(scene: _Scene, time: int, canvas: _Floats) -> _Bytes:
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
