"""Random geometry of training pictures: what is drawn, how it is applied.

Places are (x, y) in pixels, and the centre of the first pixel is at (0.5, 0.5). A
`Geometry` says for every place of the result which place of the source is seen there,
so that any chain of moves is one matrix and pixels are resampled once: frames
bilinearly, labels from the nearest pixel. Outside of the picture, which is the same
for both, there is the mean colour and background: a reflection would show an object
twice, and no label of its mirror image would be right.

Pillow moves the pixels. A 480p frame and its labels to 384x384 take it 3.8 ms of one
core, 6 to 7 ms TensorFlow's `ImageProjectiveTransformV3`, 13 ms NumPy; it releases the
GIL throughout, so threads are enough to use every core.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_jax.data.colour import MEAN_COLOUR
from vos_jax.data.ranges import check_number, check_range

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
        check_number(self, "rotation", 0, 180)
        check_number(self, "shear", 0, 80)
        check_number(self, "translation", 0, 1)
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
        Up to 0.05, where one bend in 250 folds the picture somewhere; at 0.1 two of
        three would.
    """

    probability: float = 0.0
    strength: float = 0.02

    def __post_init__(self) -> None:
        check_number(self, "probability", 0, 1)
        check_number(self, "strength", 0, 0.05)

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
    if block < 2:
        return _warp(frame, geometry, size, Image.Resampling.BILINEAR, MEAN_COLOUR)
    matrix = np.diag([1 / block, 1 / block, 1]) @ geometry.matrix
    warped = _warp(
        frame.reduce(block),
        geometry._replace(matrix=matrix),
        size,
        Image.Resampling.BILINEAR,
        MEAN_COLOUR,
    )
    if frame.width % block or frame.height % block:
        # The last blocks reach beyond the picture, where labels know of nothing.
        everywhere = Image.new("L", frame.size, 255)
        picture = _warp(everywhere, geometry, size, Image.Resampling.NEAREST, 0)
        warped = Image.composite(
            warped, Image.new("RGB", size[::-1], MEAN_COLOUR), picture
        )
    return warped


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
