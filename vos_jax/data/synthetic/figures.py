"""What is a figure: bodies of bones and flesh in three dimensions, and how they pose.

A figure is a tree of joints with parts between them: tapered capsules, balls and boxes,
each of its own surface. It faces along x; y points down, z to the viewer; its unit is
about half of its height. Turned in depth its parts change places, its limbs are seen
shortened and its surfaces slide round.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.textures import Floats, Texture

_MOST = 1.2
"""Of a bend, in radians: limbs do not turn over."""


class Joint(NamedTuple):
    """A joint, in the frame of the one before it.

    Attributes:
      parent: Its index among the joints, smaller than its own; -1 for the first.
      offset: From the parent, in units, as the figure stands.
      swing: Amplitude of its bending, in radians, about z.
      phase: Of the swing, in radians.
    """

    parent: int
    offset: tuple[float, float, float]
    swing: float = 0.0
    phase: float = 0.0


class Part(NamedTuple):
    """What is seen between two joints, or about one.

    Attributes:
      start: Index of a joint.
      end: Of another, or the same: then the part is a ball, or has an `outline`.
      radii: At both, in units.
      surface: What it is made of.
      depth: How thick along z, over its thickness along x and y.
      above: How much nearer than its joints it lies, in units.
      fringe: How far its surface frays its edge, in units.
      gloss: 0 for dull to 1.
      square: Ends are square, and balls are boxes.
      ring: Only the rim of a ball, this share of its radius; 0 for all of it.
      outline: Radius by angle of what is no ball, or None.
      inside: Seen on what the figure covers already, and nowhere else.
    """

    start: int
    end: int
    radii: tuple[float, float]
    surface: Texture
    depth: float = 1.0
    above: float = 0.0
    fringe: float = 0.0
    gloss: float = 0.0
    square: bool = False
    ring: float = 0.0
    outline: Floats | None = None
    inside: bool = False


class Figure(NamedTuple):
    """A body: what it is, and how fast it moves its limbs.

    Attributes:
      joints: From the root on.
      parts: In no order; the farther ones are painted first.
      pace: Radians a frame of the swings.
      bend: Slow bends of all joints, amplitude and frequency [joints, 2].
    """

    joints: tuple[Joint, ...]
    parts: tuple[Part, ...]
    pace: float
    bend: NDArray[np.float64]


class Pose(NamedTuple):
    """How a figure stands in the frame.

    Attributes:
      centre: x, y of its root, in pixels.
      scale: Pixels a unit.
      yaw: Turn about the vertical, in radians; 0 shows it from the side.
      roll: Turn in the frame, in radians.
      time: In frames, for the swings.
      sides: How much brighter some sides of each part are, and of another hue.
    """

    centre: tuple[float, float]
    scale: float
    yaw: float
    roll: float
    time: float
    sides: float = 0.0


class Placed(NamedTuple):
    """A part in the frame, from the farthest to the nearest: pixels."""

    part: Part
    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, float]


def place(figure: Figure, pose: Pose) -> list[Placed]:
    """Places all parts of a figure in the frame, the farthest first."""
    points = _stand(figure, pose.time)
    cos, sin = math.cos(pose.yaw), math.sin(pose.yaw)
    across = points[:, 0] * cos + points[:, 2] * sin
    depth = points[:, 2] * cos - points[:, 0] * sin
    lean, tilt = math.cos(pose.roll), math.sin(pose.roll)
    x = pose.centre[0] + pose.scale * (across * lean - points[:, 1] * tilt)
    y = pose.centre[1] + pose.scale * (across * tilt + points[:, 1] * lean)
    order = sorted(
        figure.parts,
        key=lambda part: depth[part.start] + depth[part.end] + 2 * part.above,
    )
    placed = []
    for part in order:
        # A body that is thin along z is narrow when it is seen from its front.
        width = pose.scale * math.hypot(cos, part.depth * sin)
        start, end = part.start, part.end
        placed.append(
            Placed(
                part,
                (float(x[start]), float(y[start])),
                (float(x[end]), float(y[end])),
                (part.radii[0] * width, part.radii[1] * width),
            )
        )
    return placed


def _stand(figure: Figure, time: float) -> NDArray[np.float64]:
    """Places of the joints [J, 3], in units, of a figure that is not turned."""
    points = np.zeros((len(figure.joints), 3))
    turns = [0.0] * len(figure.joints)
    for index, joint in enumerate(figure.joints):
        bend = joint.swing * math.sin(figure.pace * time + joint.phase)
        size, frequency = figure.bend[index]
        bend += size * math.sin(frequency * time + joint.phase + index)
        before = 0.0 if joint.parent < 0 else turns[joint.parent]
        turn = before + max(-_MOST, min(bend, _MOST))
        turns[index] = turn
        if joint.parent < 0:
            continue
        x, y, z = joint.offset
        # A joint's bend turns what hangs at it, not the bone that leads to it.
        cos, sin = math.cos(before), math.sin(before)
        points[index] = points[joint.parent] + (x * cos - y * sin, x * sin + y * cos, z)
    return points
