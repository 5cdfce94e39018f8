"""Who acts in a world, and where do they go?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.bodies import draw_figure
from vos_jax.data.synthetic.figures import Figure, Pose
from vos_jax.data.synthetic.objects import Wave, draw_wave, energy_of, wander
from vos_jax.data.synthetic.surfaces import draw_colours

KINDS = {
    "person": 0.26,
    "animal": 0.2,
    "thing": 0.16,
    "vehicle": 0.1,
    "rider": 0.08,
    "cycle": 0.07,
    "bird": 0.06,
    "creature": 0.07,
}
"""How often each kind is what acts."""

BACKDROPS = ("sky", "leaf", "wall", "stone", "earth", "water", "grass", "any")
"""Materials of what lies behind."""


class Theme(NamedTuple):
    """What the clips of a theme have more or less of than those of the world.

    Attributes:
      twins: How likely an object has an unlabelled twin.
      crossing: Whether twins start on the other side and cross.
      thin: Factor of the radii of limbs, at least and at most.
      pace: Factor of all speeds.
      change: Factor of how much light, size and view change.
      span: Width of ways over that of the frame, at least and at most.
      turning: Turn in depth a frame, least and most, in radians; None for little.
      sides: How much the sides of a body differ, at most.
      others: Factor of how many others there are.
      without: Kinds that do not act.
      busy: Whether the backdrop is a patchwork with a crowd in it, and holds colours of
        the objects.
    """

    twins: float = 0.2
    crossing: bool = False
    thin: tuple[float, float] = (0.6, 1.3)
    pace: float = 1.0
    change: float = 1.0
    span: tuple[float, float] = (0.5, 1.15)
    turning: tuple[float, float] | None = None
    sides: float = 0.0
    others: float = 1.0
    without: tuple[str, ...] = ()
    busy: bool = False


WORLDS = {
    "world": Theme(),
    "lookalikes": Theme(twins=1.0, crossing=True),
    "thin": Theme(thin=(0.3, 0.5), without=("thing", "vehicle")),
    "slow": Theme(pace=0.25, change=2.0),
    "leaving": Theme(twins=0.8, span=(1.5, 2.2)),
    "busy": Theme(busy=True),
    "turning": Theme(twins=0.0, change=2.0, turning=(0.01, 0.1), sides=0.7, others=0.3),
}
"""Themes of figures with many parts, by name."""


class Actor(NamedTuple):
    """A figure on its way; `label` is 0 for what is no object.

    Attributes:
      label: Of its pixels.
      figure: What it is.
      unit: Pixels a unit, at its usual size.
      centre: x, y at the time 0.
      span: Width of its way over that of the frame, along x and y.
      drift: Phases a frame along x and y (radians), and turn in depth a frame.
      motion: Waves [5]: x, y, roll, log size, turn in depth.
      yaw: Turn in depth at the time 0.
      shadow: Whether it casts one.
      sides: How much its sides differ.
    """

    label: int
    figure: Figure
    unit: float
    centre: tuple[float, float]
    span: tuple[float, float]
    drift: NDArray[np.float64]
    motion: Wave
    yaw: float
    shadow: bool
    sides: float = 0.0

    def pose(
        self, time: float, size: tuple[int, int], shake: NDArray[np.float64]
    ) -> Pose:
        """How it stands at a time, in a frame of `size` that shakes."""
        sway = self.motion.at(time) - self.motion.at(0)
        turns = self.drift[:2] * time + sway[:2]
        return Pose(
            centre=wander(self.centre, self.span, turns, size, shake),
            scale=self.unit * math.exp(sway[3]),
            yaw=self.yaw + self.drift[2] * time + sway[4],
            roll=sway[2],
            time=time,
            sides=self.sides,
        )


def draw_actors(
    rng: np.random.Generator,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    theme: Theme,
) -> tuple[Actor, ...]:
    """Draws objects, their twins and others, in a random order of depth."""
    others = int(rng.binomial(3, min(0.9, 0.35 * theme.others * difficulty)))
    actors: list[Actor] = []
    for label in [*range(1, objects + 1), *[0] * others]:
        actor = _draw_actor(rng, label, size, objects, difficulty, theme, actors)
        actors.append(actor)
        if label and rng.random() < theme.twins:
            twin = actor._replace(label=0, yaw=actor.yaw + rng.normal(0, 0.5))
            if theme.crossing:
                middle = (size[1] - actor.centre[0], actor.centre[1])
                twin = twin._replace(centre=middle, drift=-actor.drift)
            else:
                other = _draw_actor(rng, 0, size, objects, difficulty, theme, actors)
                twin = other._replace(
                    figure=actor.figure, unit=actor.unit * rng.uniform(0.7, 1.2)
                )
            actors.append(twin)
    return tuple(actors[index] for index in rng.permutation(len(actors)))


def free_point(
    rng: np.random.Generator,
    size: tuple[int, int],
    unit: float,
    taken: Sequence[Actor],
) -> tuple[float, float]:
    """Draws a place x, y for a figure, the farthest of a few from those `taken`.

    Mostly all of a figure is in the frame: large ones stand in its middle.
    """
    extent = np.array([size[1], size[0]], float)
    border = np.minimum(unit * rng.uniform(0.5, 1.2, 2) / extent, 0.5)
    points = (border + (1 - 2 * border) * rng.random((3, 2))) * extent
    others = np.array([actor.centre for actor in taken]).reshape(-1, 2)
    apart = np.hypot(*(points[:, None] - others).transpose(2, 0, 1))
    best = points[apart.min(axis=1, initial=np.inf).argmax()]
    return float(best[0]), float(best[1])


def _draw_actor(
    rng: np.random.Generator,
    label: int,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    theme: Theme,
    taken: Sequence[Actor],
) -> Actor:
    pace = energy_of(difficulty) * theme.pace
    kinds = [kind for kind in KINDS if kind not in theme.without]
    often = np.array([KINDS[kind] for kind in kinds])
    kind = rng.choice(kinds, p=often / often.sum())
    # Figures of several parts fill some third of the square about them; the largest
    # are as high as the frame.
    share = min(0.16, 0.6 / objects) * math.exp(rng.uniform(-1.4, 0.7))
    unit = math.sqrt(size[0] * size[1] * share / math.pi)
    unit = min(unit, 0.45 * min(size))
    thin = rng.uniform(*theme.thin)
    colours = None
    if rng.random() < 0.25 * difficulty:
        colours = draw_colours(rng, BACKDROPS[rng.integers(len(BACKDROPS) - 1)])
    speed = pace * rng.uniform([0.008, 0.001], [0.05, 0.01])
    turning = rng.choice([0.0, 0.01, 0.04], p=[0.6, 0.25, 0.15])
    if theme.turning is not None:
        turning = rng.uniform(*theme.turning)
    drift = np.append(speed * rng.choice([-1, 1], 2), pace * rng.normal() * turning)
    change = math.sqrt(theme.change)
    sway = np.array([0.1, 0.04, 0.1, 0.12 * change, 0.4 * change]) * min(pace, 1)
    upright = kind != "thing"
    if not upright:
        sway[2] *= 4
    return Actor(
        label=label,
        figure=draw_figure(rng, kind, unit, pace, thin, colours),
        unit=unit,
        centre=free_point(rng, size, unit, taken),
        span=(rng.uniform(*theme.span), rng.uniform(0.2, 0.6)),
        drift=drift,
        motion=draw_wave(rng, sway, 25 / theme.pace, 120 / theme.pace),
        yaw=rng.uniform(0, 2 * np.pi),
        shadow=upright and rng.random() < 0.7,
        sides=rng.uniform(0, theme.sides) if theme.sides else 0.0,
    )
