"""Which figures are there? People, animals, vehicles, plants, things, and others.

Each kind is drawn from wide ranges, and made of surfaces that parts share as clothes,
fur or paint do. What two figures of one kind have in common is what a viewer would
call them; an object of a video is one of them, not the kind.
"""

from collections.abc import Callable

import numpy as np

from vos_jax.data.synthetic import beings, things
from vos_jax.data.synthetic.figures import Figure
from vos_jax.data.synthetic.plan import Plan
from vos_jax.data.synthetic.textures import Floats, power_of_two


def draw_figure(
    rng: np.random.Generator,
    kind: str,
    radius: float,
    energy: float,
    thin: float = 1.0,
    colours: Floats | None = None,
) -> Figure:
    """Draws a figure.

    Args:
      rng: Where all randomness comes from.
      kind: One of `KINDS`.
      radius: Pixels a unit, for the fineness of surfaces.
      energy: Scales the speed of its limbs.
      thin: Factor of the radii of its limbs.
      colours: [n, 3] of something else that some of its parts have, too.
    """
    plan = Plan(rng, power_of_two(2.5 * radius, 128), thin, colours)
    KINDS[kind](plan)
    return plan.figure(energy * rng.uniform(0.1, 0.45))


KINDS: dict[str, Callable[[Plan], object]] = {
    "person": beings.person,
    "animal": beings.animal,
    "bird": beings.bird,
    "vehicle": things.vehicle,
    "cycle": things.cycle,
    "rider": things.rider,
    "thing": things.thing,
    "creature": things.creature,
    "plant": things.plant,
    "post": things.post,
    "house": things.house,
}
"""How each kind is drawn."""
