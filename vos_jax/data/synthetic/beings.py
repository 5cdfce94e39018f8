"""People, animals and birds."""

import numpy as np

from vos_jax.data.synthetic.objects import draw_outline
from vos_jax.data.synthetic.plan import SIDES, Plan
from vos_jax.data.synthetic.textures import Texture


def _leg(
    plan: Plan, root: int, x: float, y: float, z: float, phase: float
) -> list[int]:
    """Joints of a limb of two bones, and of its foot: root, knee, ankle, toe."""
    top = plan.joint(root, x, y, z, swing=0.5, phase=phase)
    knee = plan.joint(top, 0.04, 0.45, 0, swing=0.35, phase=phase + 0.8)
    ankle = plan.joint(knee, -0.06, 0.45, 0)
    return [top, knee, ankle, plan.joint(ankle, 0.14, 0.03)]


def person(plan: Plan, root: int = -1, legs: bool = True) -> int:
    """A person; returns the joint of the chest."""
    rng, thin = plan.rng, plan.thin
    skin = plan.surface("skin")
    top = plan.surface("cloth", "cloth", "any")
    bottom = plan.surface("cloth") if rng.random() < 0.8 else top
    hip = plan.joint(root, 0, 0 if root < 0 else -0.35)
    chest = plan.joint(hip, 0.03, -0.5, swing=0.06)
    head = plan.joint(chest, 0.05, -0.37, swing=0.1)
    plan.part(hip, chest, (0.2, 0.25), top, depth=rng.uniform(1, 1.5))
    plan.ball(hip, 0.21, bottom, depth=1.3, above=0.01)
    plan.ball(head, 0.16, skin)
    crown = plan.joint(head, -0.05, -0.06)
    if rng.random() < 0.85:
        hair = plan.surface("hair", "hair", "cloth")
        plan.ball(crown, 0.16, hair, above=-0.03, fringe=rng.choice([0, 0.05]))
        if rng.random() < 0.3:
            tail = plan.joint(crown, -0.12, rng.uniform(0.1, 0.4), swing=0.4)
            plan.part(crown, tail, (0.1, 0.04 * thin), hair, fringe=0.03)
    short = rng.random() < 0.5
    for side in SIDES:
        phase = rng.normal(0, 0.3) + (np.pi if side < 0 else 0)
        shoulder = plan.joint(chest, 0, 0.02, 0.27 * side, swing=0.6, phase=phase)
        elbow = plan.joint(shoulder, -0.02, 0.33, 0.02 * side, swing=0.4, phase=phase)
        hand = plan.joint(elbow, 0.1, 0.28)
        plan.part(shoulder, elbow, (0.1 * thin, 0.07 * thin), top)
        plan.part(elbow, hand, (0.07 * thin, 0.05 * thin), skin if short else top)
        plan.ball(hand, 0.065 * thin, skin)
        if rng.random() < 0.15:
            _held(plan, hand)
        if legs:
            _legs_ofperson(plan, hip, side, phase + np.pi, bottom, skin)
    if rng.random() < 0.2:
        pack = plan.joint(chest, -0.28, 0.15)
        plan.ball(pack, 0.2, plan.surface("cloth", "paint"), square=rng.random() < 0.5)
    if rng.random() < 0.15 and legs:
        hem = plan.joint(hip, 0, 0.5, swing=0.15)
        plan.part(hip, hem, (0.2, 0.38), bottom, above=0.1)
    return chest


def _legs_ofperson(
    plan: Plan, hip: int, side: float, phase: float, bottom: Texture, skin: Texture
) -> None:
    top, knee, ankle, toe = _leg(plan, hip, 0, 0.05, 0.12 * side, phase)
    thin = plan.thin
    bare = plan.rng.random() < 0.3
    plan.part(top, knee, (0.14 * thin, 0.1 * thin), bottom)
    plan.part(knee, ankle, (0.1 * thin, 0.06 * thin), skin if bare else bottom)
    shoes = plan.surface("rubber", "cloth", "paint")
    plan.part(ankle, toe, (0.07, 0.05), shoes, above=0.01)


def _held(plan: Plan, hand: int) -> None:
    """A stick, a racket, a ball or a bag in a hand."""
    rng = plan.rng
    end = plan.joint(hand, rng.uniform(-0.2, 0.6), rng.uniform(-0.7, 0.5), swing=0.2)
    kind = rng.integers(3)
    stuff = plan.surface("wood", "metal", "paint")
    if kind < 2:
        plan.part(hand, end, (0.025, 0.02), stuff, above=0.02)
    if kind == 1:
        plan.ball(end, rng.uniform(0.1, 0.25), stuff, ring=rng.choice([0, 0.25]))
    elif kind == 2:
        plan.ball(
            hand, rng.uniform(0.1, 0.22), plan.surface("any", "paint"), above=0.05
        )


def animal(plan: Plan) -> int:
    """A beast of four legs; returns the joint of its back."""
    rng, thin = plan.rng, plan.thin
    fur = plan.surface("fur", "fur", "feather", "skin")
    low = plan.surface("fur") if rng.random() < 0.4 else fur
    long, high = rng.uniform(0.6, 1.2), rng.uniform(0.4, 1.1)
    thick = rng.uniform(0.22, 0.42)
    hip = plan.joint(-1, -long / 2, 0)
    back = plan.joint(hip, long / 2, -0.03, swing=0.06)
    chest = plan.joint(back, long / 2, 0.02, swing=0.06)
    shaggy = rng.choice([0, 0, 0.05])
    plan.part(hip, back, (thick, thick * 0.95), fur, fringe=shaggy)
    plan.part(back, chest, (thick * 0.95, thick * 1.1), fur, fringe=shaggy)
    if rng.random() < 0.5:
        patch = plan.joint(back, rng.normal(0, 0.2), rng.normal(0, 0.15))
        plan.ball(
            patch,
            thick,
            plan.surface("fur", "cloth"),
            inside=True,
            above=thick,
            outline=draw_outline(rng),
        )
    neck = plan.joint(chest, rng.uniform(0.15, 0.4), -rng.uniform(0.1, 0.7), swing=0.12)
    snout = plan.joint(neck, rng.uniform(0.2, 0.4), rng.uniform(0, 0.15), swing=0.1)
    head = rng.uniform(0.13, 0.22)
    plan.part(chest, neck, (thick * 0.8, head), fur)
    plan.part(neck, snout, (head, head * rng.uniform(0.4, 0.7)), low)
    for side in SIDES:
        ear = plan.joint(neck, -0.06, -rng.uniform(0.12, 0.35), 0.1 * side, swing=0.1)
        plan.part(neck, ear, (0.07, 0.03), low if rng.random() < 0.5 else fur)
        gait = rng.uniform(0, 1)
        for x, joint in ((0, hip), (1, chest)):
            phase = np.pi * (side < 0) + (np.pi + gait) * x
            top, knee, ankle, toe = _leg(plan, joint, 0, thick * 0.3, 0.2 * side, phase)
            size = rng.uniform(0.5, 1) * thin * high
            plan.part(top, knee, (0.2 * size, 0.12 * size), fur)
            plan.part(knee, ankle, (0.12 * size, 0.08 * size), low)
            plan.part(ankle, toe, (0.09 * size, 0.06 * size), low)
    if rng.random() < 0.85:
        middle = plan.joint(hip, -0.25, -rng.uniform(-0.2, 0.3), swing=0.5)
        tip = plan.joint(middle, -0.3, rng.uniform(-0.3, 0.3), swing=0.5, phase=1)
        first, second = rng.uniform(0.04, 0.12) * thin, rng.uniform(0.02, 0.1) * thin
        plan.part(hip, middle, (first, first), fur, fringe=shaggy)
        plan.part(middle, tip, (first, second), low, fringe=shaggy)
    return back


def bird(plan: Plan) -> None:
    """A bird that flies or stands."""
    rng, thin = plan.rng, plan.thin
    plumage = plan.surface("feather", "feather", "fur")
    wings = plan.surface("feather") if rng.random() < 0.6 else plumage
    tail = plan.joint(-1, -0.5, 0)
    body = plan.joint(tail, 0.55, 0.05, swing=0.1)
    breast = plan.joint(body, 0.35, 0.02)
    neck = plan.joint(breast, 0.15, -rng.uniform(0.1, 0.8), swing=0.25)
    beak = plan.joint(neck, rng.uniform(0.15, 0.4), 0.04)
    plan.part(tail, body, (0.08, 0.35), plumage)
    plan.part(body, breast, (0.35, 0.26), plumage)
    plan.part(breast, neck, (0.16, 0.1), plumage)
    plan.ball(neck, 0.15, plan.surface("feather"))
    plan.part(neck, beak, (0.07, 0.015), plan.surface("paint", "skin"), above=0.01)
    flaps = rng.choice([0.1, 1.0])
    for side in SIDES:
        wing = plan.joint(body, 0.1, -0.1, 0.25 * side, swing=flaps)
        tip = plan.joint(wing, -rng.uniform(0.3, 0.8), -0.9 * (flaps > 0.5) + 0.1)
        plan.part(wing, tip, (0.18, 0.06), wings, above=0.05 * side, fringe=0.03)
        if rng.random() < 0.6:
            foot = plan.joint(body, 0, 0.7, 0.1 * side, swing=0.4, phase=side)
            plan.part(body, foot, (0.05 * thin, 0.03 * thin), plan.surface("skin"))
