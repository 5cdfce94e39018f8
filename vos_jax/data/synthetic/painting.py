"""How is a figure painted on a picture? Part after part, the farthest first.

Each part is the set of pixels within a radius of a bone. Of those alone surfaces are
looked up, shaded as round bodies and mixed with what lies behind.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.figures import Figure, Part, Placed, Pose, place
from vos_jax.data.synthetic.objects import angle_index
from vos_jax.data.synthetic.textures import TEXELS_PER_PIXEL, Bytes, Floats

_FAR = 1.6
"""Of an outline or a frayed edge, at most, over the radius."""


class Canvas(NamedTuple):
    """A picture that is being painted; both arrays are written.

    Attributes:
      size: Height and width.
      colours: float32 [H * W, 3], 0 to 255.
      labels: uint8 [H * W].
    """

    size: tuple[int, int]
    colours: Floats
    labels: Bytes

    @classmethod
    def of(cls, picture: Floats) -> "Canvas":
        """A canvas on a picture [H, W, 3], which it writes, without labels."""
        height, width, _ = picture.shape
        labels = np.zeros(height * width, np.uint8)
        return cls((height, width), picture.reshape(-1, 3), labels)


class Lamp(NamedTuple):
    """Light on figures.

    Attributes:
      x: Its direction in the frame.
      y: The same, downwards.
      shade: How much darker the far side is, 0 to 1.
      shadow: How dark what it casts is, 0 to 1.
    """

    x: float
    y: float
    shade: float
    shadow: float


class _Flat(NamedTuple):
    """The pixels of a part; all arrays are [n].

    Attributes:
      place: In the flattened frame.
      distance: From the edge in pixels, positive inside.
      along: From the start of the bone, in pixels.
      beside: From the bone over the radius there, -1 to 1.
      radius: In pixels.
      normal: x and y that `beside` grows in.
    """

    place: NDArray[np.intp]
    distance: Floats
    along: Floats
    beside: Floats
    radius: Floats
    normal: tuple[float, float]


def paint(
    canvas: Canvas,
    figure: Figure,
    pose: Pose,
    lamp: Lamp,
    label: int,
    unit: float,
) -> int:
    """Paints a figure, and its label where it covers pixels' centres.

    Args:
      canvas: Written.
      figure: What is painted.
      pose: How it stands.
      lamp: How it is lit.
      label: 0 to 255.
      unit: Pixels a unit in which its surfaces are sharp.

    Returns:
      Pixels that it covers, each counted once.
    """
    own = np.zeros(len(canvas.labels), bool)
    for placed in place(figure, pose):
        flat = _lay(placed, canvas.size, pose, own)
        if flat is None:
            continue
        colours, distance = _look(placed.part, flat, pose, lamp, unit)
        # As soft as a pixel's footprint; labels take its centre.
        cover = (distance + np.float32(0.5)).clip(0, 1)[:, None]
        behind = canvas.colours[flat.place]
        canvas.colours[flat.place] = behind + cover * (colours - behind)
        covered = flat.place[distance > 0]
        canvas.labels[covered] = label
        own[covered] = True
    return int(np.count_nonzero(own))


def cast_shadow(
    canvas: Canvas, centre: tuple[float, float], reach: float, lamp: Lamp
) -> None:
    """Darkens the ground about a point, an ellipse with soft edges."""
    height, width = canvas.size
    wide, high = 1.5 * reach, 0.45 * reach
    x0, x1 = _range(centre[0], wide, width)
    y0, y1 = _range(centre[1], high, height)
    if x0 >= x1 or y0 >= y1:
        return
    x = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre[0])) / wide
    y = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre[1])) / high
    dark = (1 - x * x - (y * y)[:, None]).clip(0, 1) * np.float32(1.5 * lamp.shadow)
    picture = canvas.colours.reshape(height, width, 3)
    picture[y0:y1, x0:x1] *= (1 - dark.clip(0, lamp.shadow))[..., None]


def _range(middle: float, reach: float, extent: int) -> tuple[int, int]:
    """First and last pixel of a side that are within reach; empty if none is."""
    # Far outside of the frame nothing is left of the fraction.
    first = min(max(middle - reach, 0), extent)
    last = min(max(middle + reach + 1, 0), extent)
    return int(first), int(last)


def _lay(
    placed: Placed, size: tuple[int, int], pose: Pose, own: NDArray[np.bool_]
) -> _Flat | None:
    """Finds a part's pixels; None when it is all outside.

    Of one that is seen `inside` alone those that are the figure's `own` already.
    """
    part = placed.part
    (ax, ay), (bx, by) = placed.start, placed.end
    far = 1 + max(placed.radii) * (_FAR if part.outline is not None else 1.0)
    far += part.fringe * pose.scale
    far *= math.sqrt(2) if part.square else 1
    x0, _ = _range(min(ax, bx), far, size[1])
    _, x1 = _range(max(ax, bx), far, size[1])
    y0, _ = _range(min(ay, by), far, size[0])
    _, y1 = _range(max(ay, by), far, size[0])
    if x0 >= x1 or y0 >= y1:
        return None
    # Pixel centres lie at half-integers.
    x = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - ax)
    y = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - ay))[:, None]
    length = math.hypot(bx - ax, by - ay)
    if length < 1e-3:
        cos, sin = -math.sin(pose.roll), math.cos(pose.roll)
    else:
        cos, sin = (bx - ax) / length, (by - ay) / length
    along = np.float32(cos) * x + np.float32(sin) * y
    beside = np.float32(cos) * y - np.float32(sin) * x
    middle = along.clip(0, length)
    slope = (placed.radii[1] - placed.radii[0]) / max(length, 1e-3)
    radius = np.float32(placed.radii[0]) + np.float32(slope) * middle
    if part.outline is not None:
        radius = radius * part.outline.take(angle_index(beside, along))
    beyond = along - middle
    if part.square:
        apart = np.maximum(np.abs(beside), np.abs(beyond))
    else:
        apart = np.sqrt(beside * beside + beyond * beyond)
    distance = radius - apart
    if part.ring:
        distance = np.minimum(distance, apart - radius * np.float32(1 - part.ring))
    flat = np.flatnonzero(distance > np.float32(-0.5 - part.fringe * pose.scale))
    rows, columns = np.divmod(flat, x1 - x0)
    where = (rows + y0) * size[1] + columns + x0
    if part.inside:
        kept = own[where]
        flat, where = flat[kept], where[kept]
    thick = np.maximum(radius.take(flat), np.float32(0.5))
    return _Flat(
        place=where,
        distance=distance.take(flat),
        along=along.take(flat),
        beside=(beside.take(flat) / thick).clip(-1, 1),
        radius=thick,
        normal=(-sin, cos),
    )


def _look(
    part: Part, flat: _Flat, pose: Pose, lamp: Lamp, unit: float
) -> tuple[Floats, Floats]:
    """Colours [n, 3] of a part's pixels, and their distances from its frayed edge."""
    texels = np.float32(TEXELS_PER_PIXEL * unit / pose.scale)
    # Round it goes: the surface is seen shortened near the edge, and turns with yaw.
    turn = np.arcsin(flat.beside) + np.float32(pose.yaw)
    u = turn * flat.radius * texels
    # Parts of one surface show other pieces of it.
    v = flat.along * texels + np.float32(37 * part.start + 11 * part.end)
    colours = part.surface.sample(u, v).astype(np.float32)
    distance = flat.distance
    if part.fringe:
        middle = np.float32(part.surface.texels[:, 1].mean())
        rough = (colours[:, 1] - middle) * np.float32(1 / 48)
        fray = rough.clip(-1, 1) * np.float32(part.fringe * pose.scale)
        distance = (distance + fray).astype(np.float32)
    facing = flat.normal[0] * lamp.x + flat.normal[1] * lamp.y
    light = 1 + np.float32(lamp.shade * facing) * flat.beside
    light -= np.float32(0.4 * lamp.shade) * flat.beside**2
    colours *= light[:, None]
    if pose.sides:
        colours *= 1 + np.float32(pose.sides) * np.sin(turn[:, None] + _sides(part))
    if part.gloss:
        spot = 1 - np.abs(flat.beside - np.float32(0.5 * facing)) * np.float32(4)
        colours += (spot.clip(0, 1) * np.float32(110 * part.gloss))[:, None]
    return colours, distance


def _sides(part: Part) -> Floats:
    """Which side of a part is the brightest in red, green and blue, in radians."""
    hues = np.array([0.0, 0.5, 1.0], np.float32)
    return hues + np.float32(1.7 * part.start + 0.6 * part.end)
