"""What does a camera see, and make of it? Blur, changing light, noise, compression."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.objects import Wave, draw_wave
from vos_jax.data.synthetic.textures import (
    TEXELS_PER_PIXEL,
    Bytes,
    Floats,
    Texture,
)

_BLOCK = 8
_FREQUENCY = np.arange(_BLOCK)
_COSINES = np.cos(np.pi / _BLOCK * (_FREQUENCY + 0.5) * _FREQUENCY[:, None])
_COSINES[0] /= np.sqrt(2)
_DCT = (_COSINES / 2).astype(np.float32)
"""Orthonormal, as JPEG and MPEG transform their blocks."""


class Sensor(NamedTuple):
    """How a clip was filmed.

    Attributes:
      size: Height and width of its frames.
      light: Waves [5]: gains of R, G, B, and slopes of brightness along x and y.
      blur: Share of light that a pixel's neighbours take, 0 to 0.25.
      noise: One field of noise; each frame has another window of it.
      contrast: Power of the tone curve; 1 leaves it.
      saturation: Of colours; 1 leaves them.
      coarse: Step of quantisation of the lowest frequency, 0 without compression.
    """

    size: tuple[int, int]
    light: Wave
    blur: float
    noise: Floats
    contrast: float = 1.0
    saturation: float = 1.0
    coarse: float = 0.0


def draw_sensor(
    rng: np.random.Generator,
    size: tuple[int, int],
    gain: float,
    slope: float,
    grain: float,
) -> Sensor:
    """Draws a sensor of some gain and slope of the light (RMS) and noise (levels)."""
    height, width = size
    return Sensor(
        size=size,
        light=draw_wave(rng, np.array([gain, gain, gain, slope, slope]), 30, 300),
        blur=rng.choice([0.0, 0.12, 0.25]),
        noise=rng.standard_normal(height * width * 3 + 9973, np.float32)
        * np.float32(grain),
    )


def look_at(
    surface: Texture,
    size: tuple[int, int],
    corner: NDArray[np.float64],
    angle: float,
    zoom: float,
    shake: NDArray[np.float64],
) -> Floats:
    """Returns what fills a frame [H, W, 3] of a flat surface behind all things.

    Args:
      surface: Repeats without end.
      size: Height and width of the frame.
      corner: x, y of what is in its middle, in texels.
      angle: Turn of the camera, in radians.
      zoom: Logarithm of how many times as much of the surface is in sight.
      shake: x, y in pixels.
    """
    height, width = size
    scale = TEXELS_PER_PIXEL * math.exp(zoom)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    # Wrapped before float32, which has no fraction left after a long pan.
    left, top = corner % surface.size
    x = np.arange(width) - (width / 2 + shake[0])
    y = (np.arange(height) - (height / 2 + shake[1]))[:, None]
    u = (left + cos * x).astype(np.float32) + (sin * y).astype(np.float32)
    v = (top - sin * x).astype(np.float32) + (cos * y).astype(np.float32)
    return surface.sample(u, v).astype(np.float32)


def expose(sensor: Sensor, time: int, canvas: Floats) -> Bytes:
    """Turns radiance [H, W, 3], which it may overwrite, into a picture."""
    height, width = sensor.size
    if sensor.blur:
        canvas = blur(canvas, sensor.blur)
    light = sensor.light.at(time)
    slope_x = np.linspace(-light[3], light[3], width, dtype=np.float32)
    slope_y = np.linspace(-light[4], light[4], height, dtype=np.float32)
    gain = (1 + slope_x + slope_y[:, None])[..., None]
    canvas *= gain * (1 + light[:3]).astype(np.float32)
    if sensor.contrast != 1.0:
        curve = np.float32(sensor.contrast)
        canvas = 255 * (canvas / 255).clip(0, 1) ** curve
    if sensor.saturation != 1.0:
        grey = canvas.mean(-1, keepdims=True)
        canvas = grey + np.float32(sensor.saturation) * (canvas - grey)
    # A different window of one field of noise; a fresh field costs a third of a frame.
    start = time * 7621 % 9973
    canvas += sensor.noise[start : start + canvas.size].reshape(canvas.shape)
    if sensor.coarse:
        canvas = _compress(canvas, sensor.coarse)
    # Half up: the cast drops the fraction.
    canvas += np.float32(0.5)
    return canvas.clip(0, 255, out=canvas).astype(np.uint8)


def blur(canvas: Floats, side: float) -> Floats:
    """Mixes each pixel of [H, W, 3] with its neighbours, which have `side` each."""
    most, part = np.float32(1 - 2 * side), np.float32(side)
    soft = canvas * most
    soft[1:-1] += part * (canvas[:-2] + canvas[2:])
    soft[[0, -1]] += 2 * part * canvas[[0, -1]]
    mixed = soft * most
    mixed[:, 1:-1] += part * (soft[:, :-2] + soft[:, 2:])
    mixed[:, [0, -1]] += 2 * part * soft[:, [0, -1]]
    return mixed


def _compress(canvas: Floats, coarse: float) -> Floats:
    """Quantises blocks of 8 x 8 pixels as codecs do: colours more than brightness."""
    height, width, _ = canvas.shape
    grey = canvas.mean(-1, keepdims=True)
    planes = np.concatenate([grey, canvas - grey], -1)
    padding = ((0, -height % _BLOCK), (0, -width % _BLOCK), (0, 0))
    padded = np.pad(planes, padding, mode="edge")
    rows, columns = padded.shape[0] // _BLOCK, padded.shape[1] // _BLOCK
    blocks = padded.reshape(rows, _BLOCK, columns, _BLOCK, 4).transpose(0, 2, 4, 1, 3)
    steps = coarse * (1 + 0.5 * np.add.outer(_FREQUENCY, _FREQUENCY))
    step = (steps * np.array([1, 2, 2, 2])[:, None, None]).astype(np.float32)
    known = step * np.rint(_DCT @ blocks @ _DCT.T / step)
    blocks = (_DCT.T @ known @ _DCT).transpose(0, 3, 1, 4, 2)
    back = blocks.reshape(padded.shape)[:height, :width]
    return back[..., :1] + back[..., 1:]
