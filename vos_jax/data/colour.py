"""Random colours and blur of training pictures."""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vos_jax.data.ranges import check_number, check_range

MEAN_COLOUR = (124, 116, 104)
"""RGB, the mean of ImageNet, which the encoders subtract."""

_GREY = np.array([0.299, 0.587, 0.114])
# RGB to luminance and two axes of colour, in whose plane a hue is an angle.
_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

_Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Colour:
    """Random brightness, contrast, saturation and hue; the defaults change nothing.

    Attributes:
      brightness: Largest relative change to either side.
      contrast: The same, about the mean grey.
      saturation: The same, about each pixel's grey.
      hue: Largest turn to either side, 1 being once around.
      grey: Probability of no colour at all.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(self, field.name, 0, 1)

    def draw(self, rng: np.random.Generator) -> _Matrix:
        """Draws a `[4, 4]` matrix from (r, g, b, 1) to itself, r, g, b up to 255."""
        changes = np.array([self.brightness, self.contrast, self.saturation])
        brightness, contrast, saturation = 1 + rng.uniform(-changes, changes)
        angle = 2 * math.pi * rng.uniform(-self.hue, self.hue)
        if rng.random() < self.grey:
            saturation = 0.0
        cos, sin = saturation * math.cos(angle), saturation * math.sin(angle)
        colour = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        matrix = np.eye(4)
        matrix[:3, :3] = np.linalg.solve(_YIQ, colour @ _YIQ) * brightness * contrast
        matrix[:3, 3] = (1 - contrast) * (_GREY @ MEAN_COLOUR)
        return matrix


@dataclass(frozen=True, kw_only=True)
class Blur:
    """A random Gaussian blur.

    Attributes:
      probability: Of any blur.
      sigma: Smallest and largest standard deviation, in pixels.
    """

    probability: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        check_number(self, "probability", 0, 1)
        check_range(self, "sigma", 0, 100)

    def draw(self, rng: np.random.Generator) -> float:
        """Draws a sigma, 0 for no blur."""
        return rng.uniform(*self.sigma) if rng.random() < self.probability else 0.0


def recolour(frame: Image.Image, matrix: _Matrix, sigma: float) -> np.ndarray:
    """Blurs a frame, applies a matrix of `Colour.draw`; returns uint8 `[H, W, 3]`."""
    if sigma > 0:
        frame = frame.filter(ImageFilter.GaussianBlur(sigma))
    if not np.allclose(matrix, np.eye(4), rtol=0, atol=1e-9):
        frame = frame.convert("RGB", tuple(matrix[:3].ravel().tolist()))
    return np.array(frame)
