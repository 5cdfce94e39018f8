"""Random geometry and colour of training pictures: what is drawn, how it is applied.

Places are (x, y) in pixels, and the centre of the first pixel is at (0.5, 0.5). A
`Geometry` says for every place of the result which place of the source is seen there,
so that any chain of moves is one matrix and pixels are resampled once: frames
bilinearly, labels from the nearest pixel, both by the same decision of what lies
outside of the picture. Outside there is the mean colour and background: a reflection
would show an object twice, and no label of its mirror image would be right.

Pillow moves the pixels. A 480p frame and its labels to 384x384 take it 3.8 ms of one
core, 6 to 7 ms TensorFlow's `ImageProjectiveTransformV3`, 13 ms NumPy; it releases the
GIL throughout, so threads are enough to use every core.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vos_jax.errors import InputError

# The mean of ImageNet, which the encoders subtract.
MEAN_COLOUR = (124, 116, 104)

_GREY = np.array([0.299, 0.587, 0.114])
# RGB to luminance and two axes of colour, in whose plane a hue is an angle.
_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_MESH = 8

_Matrix = NDArray[np.float64]


class Geometry(NamedTuple):
    """Where in the source each place of the result is seen.

    Attributes:
      matrix: float64 `[3, 3]`, from (x, y, 1) of the result to that of the source.
      bend: float64 `[9, 9, 2]`, what is added to (x, y) of the result before it, at
        the corners of a mesh over the result; linear between them. None for nothing.
    """

    matrix: _Matrix
    bend: _Matrix | None = None


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A random affine move about the centre; the defaults move nothing.

    Attributes:
      rotation: Largest angle to either side, in degrees.
      shear: Largest angle by which verticals lean to either side, in degrees.
      zoom: Smallest and largest enlargement, drawn by its logarithm.
      translation: Largest shift along each side, as a share of that side.
    """

    rotation: float = 0.0
    shear: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    translation: float = 0.0

    def __post_init__(self) -> None:
        _check_number(self, "rotation", 0, 180)
        _check_number(self, "shear", 0, 80)
        _check_number(self, "translation", 0, 1)
        check_range(self, "zoom", 0.01, 100)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> _Matrix:
        """Draws a move of a result of that (height, width), as a `[3, 3]` matrix."""
        height, width = size
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        lean = math.tan(math.radians(rng.uniform(-self.shear, self.shear)))
        zoom = math.exp(rng.uniform(*np.log(self.zoom)))
        shift = rng.uniform(-self.translation, self.translation, 2) * (width, height)
        cos, sin = math.cos(angle), math.sin(angle)
        # The inverse of zoom * rotation * shear: it leads from result to source.
        turn = np.array([[1, -lean], [0, 1]]) @ np.array([[cos, sin], [-sin, cos]])
        centre = np.array([width / 2, height / 2])
        matrix = np.eye(3)
        matrix[:2, :2] = turn / zoom
        matrix[:2, 2] = centre - matrix[:2, :2] @ (centre + shift)
        return matrix


@dataclass(frozen=True, kw_only=True)
class Spline:
    """A random thin-plate spline (F. L. Bookstein, TPAMI 1989).

    Its control points form a grid of 4 x 4. Published training code takes twelve random
    ones, two of which may nearly coincide and fold the picture.

    Attributes:
      probability: Of a bend at all.
      strength: Standard deviation of a control point's shift, as a share of the side.
    """

    probability: float = 0.0
    strength: float = 0.02

    def __post_init__(self) -> None:
        _check_number(self, "probability", 0, 1)
        _check_number(self, "strength", 0, 0.1)

    def draw(
        self, rng: np.random.Generator, size: tuple[int, int]
    ) -> NDArray[np.float64] | None:
        """Draws the bend of a `Geometry` whose result has that (height, width)."""
        if rng.random() >= self.probability:
            return None
        height, width = size
        weights = _spline_weights(4)
        shifts = rng.normal(0, self.strength, (weights.shape[1], 2)) * (width, height)
        return (weights @ shifts).reshape(_MESH + 1, _MESH + 1, 2)


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
            _check_number(self, field.name, 0, 1)

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
        _check_number(self, "probability", 0, 1)
        check_range(self, "sigma", 0, 100)

    def draw(self, rng: np.random.Generator) -> float:
        """Draws a sigma, 0 for no blur."""
        return rng.uniform(*self.sigma) if rng.random() < self.probability else 0.0


def window_matrix(
    corner: tuple[float, float], window: tuple[float, float], size: tuple[int, int]
) -> _Matrix:
    """Shows a window of the source, scaled to the result.

    Args:
      corner: (x, y) of its upper left corner in the source.
      window: Its (height, width) in the source.
      size: (height, width) of the result.
    """
    (height, width), (rows, columns) = window, size
    return np.array(
        [[width / columns, 0, corner[0]], [0, height / rows, corner[1]], [0, 0, 1]]
    )


def mirror_matrix(size: tuple[int, int]) -> _Matrix:
    """Swaps left and right of a result of that (height, width)."""
    return np.array([[-1.0, 0, size[1]], [0, 1, 0], [0, 0, 1]])


def warp_frame(
    frame: Image.Image, geometry: Geometry, size: tuple[int, int]
) -> Image.Image:
    """Resamples a frame bilinearly; outside of it there is the mean colour.

    A picture that is shown at half its size or less is first averaged over blocks, as
    bilinear interpolation alone would skip pixels.

    Args:
      frame: Mode RGB.
      geometry: Of the result.
      size: (height, width) of the result.
    """
    # Rounding must not make three out of four.
    block = int(math.sqrt(abs(np.linalg.det(geometry.matrix[:2, :2]))) + 1e-6)
    if block > 1:
        frame = frame.reduce(block)
        matrix = np.diag([1 / block, 1 / block, 1]) @ geometry.matrix
        geometry = geometry._replace(matrix=matrix)
    return _warp(frame, geometry, size, Image.Resampling.BILINEAR, MEAN_COLOUR)


def warp_labels(
    labels: np.ndarray, geometry: Geometry, size: tuple[int, int]
) -> np.ndarray:
    """Resamples labels from the nearest pixel; outside of them there is background.

    Args:
      labels: uint8 `[H, W]`.
      geometry: Of the result.
      size: (height, width) of the result.

    Returns:
      uint8 `[height, width]`.
    """
    image = Image.fromarray(labels)
    return np.array(_warp(image, geometry, size, Image.Resampling.NEAREST, 0))


def recolour(frame: Image.Image, matrix: _Matrix, sigma: float) -> np.ndarray:
    """Blurs a frame, applies a matrix of `Colour.draw`; returns uint8 `[H, W, 3]`."""
    if sigma > 0:
        frame = frame.filter(ImageFilter.GaussianBlur(sigma))
    if not np.allclose(matrix, np.eye(4), rtol=0, atol=1e-9):
        frame = frame.convert("RGB", tuple(matrix[:3].ravel().tolist()))
    return np.array(frame)


def _warp(
    image: Image.Image,
    geometry: Geometry,
    size: tuple[int, int],
    resampling: Image.Resampling,
    fill: Any,
) -> Image.Image:
    if geometry.bend is None:
        method: Image.Transform = Image.Transform.AFFINE
        data: Any = geometry.matrix[:2].ravel().tolist()
    else:
        method, data = Image.Transform.MESH, _mesh(geometry, size)
    return image.transform(size[::-1], method, data, resampling, fillcolor=fill)


def _mesh(geometry: Geometry, size: tuple[int, int]) -> list[Any]:
    """Boxes of the result, each with the corners in the source as Pillow wants them."""
    rows, columns = (
        np.linspace(0, side, _MESH + 1).round().astype(int) for side in size
    )
    places = np.stack(np.meshgrid(columns, rows), axis=-1) + geometry.bend
    places = places @ geometry.matrix[:2, :2].T + geometry.matrix[:2, 2]
    # Upper left, lower left, lower right, upper right.
    corners = (places[:-1, :-1], places[1:, :-1], places[1:, 1:], places[:-1, 1:])
    quads = np.concatenate(corners, axis=-1).tolist()
    return [
        ((columns[j], rows[i], columns[j + 1], rows[i + 1]), quads[i][j])
        for i in range(_MESH)
        for j in range(_MESH)
        if columns[j] < columns[j + 1] and rows[i] < rows[i + 1]
    ]


@cache
def _spline_weights(side: int) -> NDArray[np.float64]:
    """What each of side * side control points adds at the mesh's corners.

    Returns:
      float64 `[9 * 9, side * side]`; a bend is linear in its control points' shifts.
    """
    points, places = _grid(side), _grid(_MESH + 1)
    count = len(points)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(points, points)
    system[:count, count:] = np.column_stack([np.ones(count), points])
    system[count:, :count] = system[:count, count:].T
    solved = np.linalg.solve(system, np.eye(count + 3, count))
    plane = np.column_stack([np.ones(len(places)), places])
    return np.concatenate([_radial(places, points), plane], axis=1) @ solved


def _grid(side: int) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    return np.column_stack([x.ravel(), y.ravel()])


def _radial(places: _Matrix, points: _Matrix) -> _Matrix:
    """The spline's kernel r^2 log r."""
    squared = ((places[:, None] - points[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(np.where(squared > 0, squared, 1))


def _check_number(config: Any, name: str, low: float, high: float) -> None:
    value = getattr(config, name)
    # Written so that NaN fails, too.
    if not low <= value <= high:
        raise InputError(
            f"{type(config).__name__} {name}={value}: use a number from {low} to {high}"
        )


def check_range(config: Any, name: str, low: float, high: float) -> None:
    """Checks that a field is a pair (smallest, largest) within bounds.

    Raises:
      InputError: It is not.
    """
    smallest, largest = getattr(config, name)
    if not low <= smallest <= largest <= high:
        raise InputError(
            f"{type(config).__name__} {name}=({smallest}, {largest}): use two numbers "
            f"from {low} to {high}, the smaller one first"
        )
