"""What does a surface look like? Periodic patterns seen through a few colours.

Background, clutter, objects and distractors all draw theirs here.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
"""float32 of any shape."""

Bytes = NDArray[np.uint8]
"""uint8 of any shape."""

# Textures are finer than the frame, so that taking the nearest texel is off by no more
# than a quarter of a pixel; interpolation would take ten times longer.
TEXELS_PER_PIXEL = 2
"""How much finer than the frame textures are, along each axis."""

_TINTS = 64


class Texture(NamedTuple):
    """A periodic picture: uint8 [size * size, 3], `size` a power of two."""

    texels: Bytes
    size: int

    def sample(self, u: Floats, v: Floats) -> Bytes:
        """Returns the nearest texels at the coordinates `u`, `v`."""
        mask = self.size - 1
        rows = np.floor(v).astype(np.int32) & mask
        columns = np.floor(u).astype(np.int32) & mask
        return self.texels.take(rows * self.size + columns, axis=0)


def draw_palette(rng: np.random.Generator) -> Floats:
    """Draws 2 to 5 colours [n, 3], 0 to 255, often of one hue, sometimes of any."""
    count = rng.integers(2, 6)
    # Most surfaces are dull: vivid ones alone would make colour a sufficient cue.
    chroma = rng.normal(0, rng.choice([10.0, 30.0, 65.0]), 3)
    spread = rng.choice([8.0, 20.0, 60.0], p=[0.35, 0.4, 0.25])
    grey = rng.uniform(30, 225) + rng.normal(0, 40, (count, 1))
    colours = grey + chroma + rng.normal(0, spread, (count, 3))
    return colours.clip(5, 250).astype(np.float32)


def draw_texture(
    rng: np.random.Generator, size: int, busy: int, palette: Floats
) -> Texture:
    """Draws a texture: a pattern seen through a palette, soft or in steps."""
    return colour(rng, draw_pattern(rng, size, busy), palette)


def colour(rng: np.random.Generator, pattern: Floats, palette: Floats) -> Texture:
    """Shows a pattern [size, size] of values from 0 to 1 through a palette."""
    size = len(pattern)
    place = np.linspace(0, len(palette) - 1, 256)
    if rng.random() < 0.35:
        place = np.rint(place)
    stops = np.arange(len(palette))
    ramp = np.stack([np.interp(place, stops, channel) for channel in palette.T], -1)
    # A broad change of brightness, for no surface is evenly lit or evenly dirty. It is
    # a second index of the table of colours: adding it to them takes twice as long.
    tint = np.linspace(-3, 3, _TINTS) * rng.uniform(4, 20)
    table = (ramp[:, None] + tint[:, None]).clip(0, 255).astype(np.uint8)
    level = (draw_noise(rng, size // 4, 0.5) * (_TINTS / 6) + _TINTS / 2).astype(
        np.intp
    )
    level = level.clip(0, _TINTS - 1).repeat(4, axis=0).repeat(4, axis=1)
    index = (pattern * 255).clip(0, 255).astype(np.intp) * _TINTS
    index += level
    texels = table.reshape(-1, 3).take(index.ravel(), axis=0)
    return Texture(texels, size)


def power_of_two(least: float, most: int) -> int:
    """Returns the least size of a texture that has `least` texels, up to `most`."""
    # 64 leaves an octave of noise to the tint, which is drawn at a quarter of the size.
    return min(most, 1 << math.ceil(math.log2(max(least, 64))))


def draw_pattern(rng: np.random.Generator, size: int, busy: int) -> Floats:
    """Draws a periodic pattern [size, size] of values around 0 to 1.

    `busy` is the largest number of stripes or spots over the period.
    """
    noise = draw_noise(rng, size, rng.uniform(0.4, 0.85))
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


def draw_noise(rng: np.random.Generator, size: int, detail: float) -> Floats:
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


def _double(field: Floats) -> Floats:
    """Doubles the rows of a periodic field by quadratic B-spline subdivision."""
    quarter = np.concatenate([field[-1:], field, field[:1]]) * np.float32(0.25)
    most = field * np.float32(0.75)
    finer = np.empty((2 * len(field), field.shape[1]), np.float32)
    np.add(most, quarter[:-2], out=finer[0::2])
    np.add(most, quarter[2:], out=finer[1::2])
    return finer
