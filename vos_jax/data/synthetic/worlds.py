"""What is in a world, and what does a camera see of it at a time?

Figures act between a backdrop, a ground in perspective and planes of plants, posts and
houses that move against one another. The unlabelled ones are of the same kinds and
colours as the objects.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vos_jax.data.synthetic.actors import (
    Actor,
    Theme,
    draw_actors,
    free_point,
)
from vos_jax.data.synthetic.backdrops import draw_backdrop, draw_ground
from vos_jax.data.synthetic.bodies import draw_figure
from vos_jax.data.synthetic.camera import Sensor, draw_sensor, expose, look_at
from vos_jax.data.synthetic.figures import Pose
from vos_jax.data.synthetic.objects import Wave, draw_wave, energy_of
from vos_jax.data.synthetic.painting import Canvas, Lamp, cast_shadow, paint
from vos_jax.data.synthetic.textures import (
    TEXELS_PER_PIXEL,
    Bytes,
    Floats,
    Texture,
    power_of_two,
)
from vos_jax.errors import InputError

_ATTEMPTS = 400
"""To let all objects show in the first frame: 254 of them need some tens."""


class _Plane(NamedTuple):
    """Things that stand still, on a plane that repeats along x.

    Attributes:
      colours: uint8 [H, P, 3], P a power of two.
      there: bool [H, P].
      near: How much it moves with the camera; the backdrop does by 1.
    """

    colours: Bytes
    there: NDArray[np.bool_]
    near: float


class World(NamedTuple):
    """All that can be seen, and the camera that looks at it."""

    size: tuple[int, int]
    backdrop: Texture
    ground: Texture | None
    horizon: float
    planes: tuple[_Plane, ...]  # behind the actors
    front: _Plane | None
    actors: tuple[Actor, ...]
    pan: NDArray[np.float64]  # [2]: pixels a frame
    camera: Wave  # [4]: x, y (pixels), angle, log zoom
    shake: Wave  # [2]: pixels
    lamp: Lamp
    shutter: float  # frames that are open on either side of a time
    sensor: Sensor

    def render(self, time: int) -> tuple[Bytes, Bytes]:
        """Returns the frame [H, W, 3] and labels [H, W] at `time`."""
        canvas = self.paint(time)
        colours = canvas.colours
        if self.shutter:
            sides = [self.paint(time + side * self.shutter) for side in (-1, 1)]
            colours = (colours + sides[0].colours + sides[1].colours) / np.float32(3)
        picture = expose(self.sensor, time, colours.reshape(*self.size, 3))
        return picture, canvas.labels.reshape(self.size)

    def paint(self, time: float) -> Canvas:
        """What is to be seen at a time, before the camera's own doing."""
        shake = self.shake.at(time)
        canvas = Canvas.of(self._behind(time, shake))
        for plane in self.planes:
            self._lay(canvas, plane, time, shake)
        for actor in self.actors:
            pose = actor.pose(time, self.size, shake)
            if actor.shadow:
                foot = (pose.centre[0], pose.centre[1] + 1.05 * pose.scale)
                cast_shadow(canvas, foot, pose.scale, self.lamp)
            paint(canvas, actor.figure, pose, self.lamp, actor.label, actor.unit)
        if self.front:
            self._lay(canvas, self.front, time, shake)
        return canvas

    def _behind(self, time: float, shake: NDArray[np.float64]) -> Floats:
        """Backdrop and ground [H, W, 3]."""
        height, width = self.size
        sway = self.camera.at(time)
        pan = TEXELS_PER_PIXEL * (self.pan * time + sway[:2])
        picture = look_at(self.backdrop, self.size, pan, sway[2], sway[3], shake)
        if self.ground is None:
            return picture
        first = min(max(int(self.horizon * height + shake[1] + sway[1] / 4), 0), height)
        # A row of the ground is as far as it is near to the horizon.
        rows = np.arange(height - first, dtype=np.float32)[:, None] + np.float32(2)
        far = np.float32(0.5 * height) / rows
        shift = np.float32(1.5 * (pan[0] % self.backdrop.size) % self.ground.size)
        x = np.arange(width) - (width / 2 + shake[0])
        u = TEXELS_PER_PIXEL * far * x.astype(np.float32) + shift
        v = np.broadcast_to(far * np.float32(height), u.shape)
        picture[first:] = self.ground.sample(u, v)
        return picture

    def _lay(
        self, canvas: Canvas, plane: _Plane, time: float, shake: NDArray[np.float64]
    ) -> None:
        """Lays a plane over the canvas; where it is, there is no object."""
        height, width = self.size
        sway = self.camera.at(time)
        x = plane.near * (self.pan[0] * time + sway[0]) - shake[0]
        y = plane.near * sway[1] - shake[1]
        columns = (np.arange(width) + int(x % plane.there.shape[1])) & (
            plane.there.shape[1] - 1
        )
        rows = (np.arange(height) + math.floor(y)).clip(0, height - 1)
        there = plane.there[rows][:, columns].ravel()
        which = np.flatnonzero(there)
        colours = plane.colours[rows][:, columns].reshape(-1, 3)
        canvas.colours[which] = colours[which]
        canvas.labels[which] = 0


def draw_world(
    rng: np.random.Generator,
    size: tuple[int, int],
    objects: int,
    difficulty: float,
    theme: Theme,
) -> World:
    """Draws a world; the arguments are those of `generate_clip`."""
    energy = energy_of(difficulty)
    pace = energy * theme.pace
    sun = rng.uniform(0, 2 * np.pi)
    lamp = Lamp(
        math.cos(sun), math.sin(sun), rng.uniform(0.1, 0.6), rng.uniform(0, 0.6)
    )
    actors = draw_actors(rng, size, objects, difficulty, theme)
    side = min(size) / 128
    moving = pace * (rng.random() < 0.7)
    pan = rng.normal(0, [1.2 * side, 0.2 * side]) * moving
    travel = np.array([8 * side, 4 * side, 0.03, 0.08 * theme.change]) * moving
    in_front = rng.random() < 0.25
    planes = tuple(_draw_plane(rng, size, lamp, near) for near in (1.2, 1.6))
    sensor = draw_sensor(
        rng,
        size,
        0.06 * energy * theme.change,
        0.1 * energy * theme.change,
        rng.uniform(0.5, 5.0) * energy,
    )
    world = World(
        size=size,
        backdrop=draw_backdrop(rng, size, lamp, actors if theme.busy else ()),
        ground=draw_ground(rng, size, theme.busy) if rng.random() < 0.65 else None,
        horizon=rng.uniform(0.2, 0.75),
        planes=planes,
        front=_draw_plane(rng, size, lamp, 2.5, front=True) if in_front else None,
        actors=actors,
        pan=pan,
        camera=draw_wave(rng, travel, 40 / theme.pace, 200 / theme.pace),
        shake=draw_wave(rng, np.full(2, rng.uniform(0, 0.8) * side * energy), 5, 15),
        lamp=lamp,
        shutter=rng.choice([0, 0, 0, 0.2, 0.4]),
        sensor=sensor._replace(
            contrast=math.exp(rng.normal(0, 0.2)),
            saturation=rng.uniform(0.4, 1.2),
            coarse=rng.choice([0, 0, 4.0, 12.0, 25.0]),
        ),
    )
    return _seen(rng, world, objects)


def _draw_plane(
    rng: np.random.Generator,
    size: tuple[int, int],
    lamp: Lamp,
    near: float,
    front: bool = False,
) -> _Plane:
    """Plants, posts and houses beside one another; in front, thin ones alone."""
    height, width = size
    period = power_of_two(1.5 * width, 1024)
    canvas = Canvas.of(np.zeros((height, period, 3), np.float32))
    kinds = ["plant", "post"] if front else ["plant", "post", "house", "thing"]
    thin = 0.6 if front else 1.0
    for _ in range(rng.integers(1, 3) if front else rng.integers(0, 5)):
        unit = height * rng.uniform(0.15, 0.4) * near / 1.6
        kind = kinds[rng.integers(len(kinds))]
        figure = draw_figure(rng, kind, unit, 1.0, thin)
        x, y = rng.uniform(0.1, 0.9) * period, rng.uniform(0.35, 1.0) * height
        paint(canvas, figure, Pose((x, y), unit, 0.0, 0.0, 0.0), lamp, 1, unit)
    colours = canvas.colours.clip(0, 255).astype(np.uint8)
    there = canvas.labels.reshape(height, period) > 0
    return _Plane(colours.reshape(height, period, 3), there, near)


def _seen(rng: np.random.Generator, world: World, objects: int) -> World:
    """Moves, and by and by shrinks, actors until every object shows at the time 0."""
    height, width = world.size
    least = max(1.0, min(0.01, 0.1 / objects) * height * width)
    # Twice the pixels that must show, of figures that fill a tenth of their square.
    floor = math.sqrt(2 * least / 0.4)
    actors = list(world.actors)
    shrink = 1.0
    shake = world.shake.at(0)
    for attempt in range(_ATTEMPTS):
        canvas = Canvas.of(np.zeros((height, width, 3), np.float32))
        own = {}
        for actor in actors:
            pose = actor.pose(0, world.size, shake)
            covered = paint(
                canvas, actor.figure, pose, world.lamp, actor.label, actor.unit
            )
            own[actor.label] = covered
        if world.front:
            world._lay(canvas, world.front, 0, shake)
        seen = np.bincount(canvas.labels, minlength=256)
        hidden = [
            index
            for index, actor in enumerate(actors)
            if actor.label and seen[actor.label] < max(least, own[actor.label] / 3)
        ]
        if not hidden:
            return world._replace(actors=tuple(actors))
        for index in hidden:
            actor = actors[index]
            others = [other for other in actors if other is not actor]
            x, y = free_point(rng, world.size, actor.unit, others)
            grown = least > own[actor.label]
            unit = actor.unit * (1.25 if grown else shrink)
            actors[index] = actor._replace(centre=(x, y), unit=unit)
        if attempt > 4:
            shrink = 0.96
            actors = [
                actor._replace(unit=max(0.97 * actor.unit, min(floor, actor.unit)))
                for actor in actors
            ]
        if attempt > 20:
            world = world._replace(front=None)
        if attempt > 40:
            # What is no object gives way.
            actors = [actor for actor in actors if actor.label]
    raise InputError(
        f"size={world.size} has no room in which objects={objects} of a world show; "
        "use a larger size or fewer objects."
    )
