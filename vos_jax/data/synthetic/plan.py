"""How is a figure drawn? Joint after joint and part after part, each a little off."""

import numpy as np

from vos_jax.data.synthetic.figures import Figure, Joint, Part
from vos_jax.data.synthetic.surfaces import draw_surface
from vos_jax.data.synthetic.textures import Floats, Texture

SIDES = (1.0, -1.0)
"""Of a body, along z."""


class Plan:
    """A figure that is being drawn.

    Attributes:
      rng: Where all randomness comes from.
      thin: Factor of the radii of limbs.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        texels: int,
        thin: float = 1.0,
        colours: Floats | None = None,
    ) -> None:
        """Starts a figure whose surfaces have `texels` a side, and some `colours`."""
        self.rng, self.thin = rng, thin
        self._texels, self._colours = texels, colours
        self._joints: list[Joint] = []
        self._parts: list[Part] = []
        self._lively = rng.uniform(0.3, 1.2)

    def surface(self, *materials: str) -> Texture:
        """Draws a surface of one of some materials."""
        material = materials[self.rng.integers(len(materials))]
        # What shares the colours of another thing shares those of some of its parts.
        shared = self._colours if self.rng.random() < 0.6 else None
        return draw_surface(self.rng, material, self._texels, shared)

    def joint(
        self,
        parent: int,
        x: float,
        y: float,
        z: float = 0.0,
        swing: float = 0.0,
        phase: float = 0.0,
    ) -> int:
        """Adds a joint, a little off, and returns its index."""
        stretch = np.exp(self.rng.normal(0, 0.1, 3))
        offset = (x * stretch[0], y * stretch[1], z * stretch[2])
        swing *= self._lively
        self._joints.append(Joint(parent, offset, swing, phase))
        return len(self._joints) - 1

    def part(
        self,
        start: int,
        end: int,
        radii: tuple[float, float],
        surface: Texture,
        **options: object,
    ) -> None:
        """Adds a part, a little thicker or thinner."""
        size = float(np.exp(self.rng.normal(0, 0.12)))
        first, second = radii[0] * size, radii[1] * size
        self._parts.append(Part(start, end, (first, second), surface, **options))  # type: ignore[arg-type]

    def ball(
        self, joint: int, radius: float, surface: Texture, **options: object
    ) -> None:
        """Adds a ball about a joint."""
        self.part(joint, joint, (radius, radius), surface, **options)

    def figure(self, pace: float) -> Figure:
        """What was added, swinging with `pace` radians a frame."""
        bend = self.rng.uniform(0, 0.12, (len(self._joints), 2)) * [1.0, 0.8]
        return Figure(tuple(self._joints), tuple(self._parts), pace, bend)
