"""Vehicles, and those on them; plants, posts and houses; and what has no name."""

import math

import numpy as np

from vos_jax.data.synthetic.beings import animal, person
from vos_jax.data.synthetic.objects import draw_outline
from vos_jax.data.synthetic.plan import SIDES, Plan


def vehicle(plan: Plan) -> int:
    """A car, a van or a train; returns the joint of its roof."""
    rng = plan.rng
    paint = plan.surface("paint", "paint", "metal", "any")
    glass = plan.surface("sky", "rubber")
    rear = plan.joint(-1, -rng.uniform(0.5, 1.1), 0)
    front = plan.joint(rear, rng.uniform(1.0, 2.2), 0)
    high = rng.uniform(0.18, 0.4)
    plan.part(
        rear,
        front,
        (high, high * rng.uniform(0.7, 1)),
        paint,
        gloss=0.7,
        square=rng.random() < 0.6,
        depth=1.5,
    )
    roof = plan.joint(rear, rng.uniform(0.2, 0.7), -high - 0.1)
    hood = plan.joint(roof, rng.uniform(0.3, 0.9), rng.uniform(-0.05, 0.1))
    cabin = rng.uniform(0.2, 0.35)
    plan.part(roof, hood, (cabin, cabin), paint, square=True, gloss=0.5, above=-0.02)
    plan.part(roof, hood, (cabin * 0.7, cabin * 0.7), glass, square=True, gloss=1.0)
    stripe = plan.surface("paint", "any")
    if rng.random() < 0.5:
        plan.part(
            rear, front, (high * 0.3, high * 0.3), stripe, above=0.01, inside=True
        )
    tyre, hub = plan.surface("rubber"), plan.surface("metal", "paint")
    for at, shift in ((rear, 0.25), (front, -0.25)):
        for side in SIDES:
            wheel = plan.joint(at, shift, high, 0.3 * side)
            size = rng.uniform(0.17, 0.28)
            plan.ball(wheel, size, tyre, depth=0.3)
            plan.ball(wheel, size * 0.55, hub, above=0.02 * side, depth=0.3)
    return roof


def cycle(plan: Plan) -> None:
    """Two wheels with spokes of air, a frame of tubes, and mostly somebody on it."""
    rng = plan.rng
    paint, tyre = plan.surface("paint", "metal"), plan.surface("rubber")
    size = rng.uniform(0.35, 0.55)
    rear = plan.joint(-1, -0.6, 0.5)
    front = plan.joint(rear, 1.2, 0)
    seat = plan.joint(rear, 0.4, -0.75)
    bar = plan.joint(front, -0.2, -0.85, swing=0.05)
    pedal = plan.joint(rear, 0.55, 0.02)
    rim = rng.choice([0.12, 0.2, 0.35])
    for wheel in (rear, front):
        plan.ball(wheel, size, tyre, ring=rim, depth=0.2)
    for start, end in (
        (rear, seat),
        (seat, bar),
        (bar, front),
        (seat, pedal),
        (pedal, bar),
        (rear, pedal),
    ):
        tube = rng.uniform(0.025, 0.06)
        plan.part(start, end, (tube, tube), paint, above=0.02)
    if rng.random() < 0.8:
        person(plan, seat)


def rider(plan: Plan) -> None:
    """Somebody on a beast or a vehicle."""
    back = animal(plan) if plan.rng.random() < 0.6 else vehicle(plan)
    person(plan, back, legs=plan.rng.random() < 0.7)


def thing(plan: Plan) -> None:
    """A lump, box or ball with patches, handles and the like."""
    rng = plan.rng
    body = plan.joint(-1, 0, 0)
    stuff = plan.surface("any", "paint", "stone", "cloth", "wood", "fur")
    round_one = draw_outline(rng) if rng.random() < 0.7 else None
    plan.ball(
        body,
        rng.uniform(0.6, 0.9),
        stuff,
        outline=round_one,
        square=round_one is None and rng.random() < 0.5,
        gloss=rng.choice([0, 0.6]),
        fringe=rng.choice([0, 0, 0.06]),
    )
    for _ in range(rng.integers(0, 5)):
        angle = rng.uniform(0, 2 * np.pi)
        spot = plan.joint(body, 0.45 * math.cos(angle), 0.45 * math.sin(angle))
        plan.ball(
            spot,
            rng.uniform(0.12, 0.45),
            plan.surface("any", "paint", "cloth"),
            inside=True,
            above=0.5,
            outline=draw_outline(rng),
        )
    for _ in range(rng.choice([0, 0, 1, 2, 4])):
        angle = rng.uniform(0, 2 * np.pi)
        x, y = math.cos(angle), math.sin(angle)
        near = plan.joint(body, 0.5 * x, 0.5 * y, 0.2 * rng.normal(), swing=0.5)
        far = plan.joint(near, rng.uniform(0.3, 0.9) * x, 0.7 * y, swing=0.4)
        own = stuff if rng.random() < 0.4 else plan.surface("paint", "metal", "wood")
        wide = rng.uniform(0.05, 0.25) * plan.thin
        plan.part(near, far, (wide, wide * rng.uniform(0.4, 1.2)), own)


def creature(plan: Plan) -> None:
    """Joints and parts that grow as they like, of a few surfaces."""
    rng = plan.rng
    stuff = [plan.surface("fur", "skin", "cloth", "any", "leaf") for _ in range(3)]
    joints = [plan.joint(-1, 0, 0)]
    plan.ball(joints[0], rng.uniform(0.3, 0.6), stuff[0], fringe=rng.choice([0, 0.05]))
    for _ in range(rng.integers(3, 11)):
        parent = joints[rng.integers(len(joints))]
        x, y, z = rng.normal(0, [0.45, 0.45, 0.25])
        joints.append(plan.joint(parent, x, y, z, 0.4, rng.uniform(0, 6)))
        wide = rng.uniform(0.05, 0.3)
        wide *= plan.thin if rng.random() < 0.6 else 1
        end = wide * rng.uniform(0.4, 1.3)
        plan.part(parent, joints[-1], (wide, end), stuff[rng.integers(3)])


def plant(plan: Plan) -> None:
    """A tree or a bush: a trunk, and crowns with frayed edges."""
    rng = plan.rng
    bark, leaves = plan.surface("wood"), plan.surface("leaf", "leaf", "grass")
    foot = plan.joint(-1, 0, 1)
    fork = plan.joint(foot, 0.05, -rng.uniform(0.3, 1.2), swing=0.04)
    plan.part(foot, fork, (rng.uniform(0.06, 0.16), 0.07), bark)
    for _ in range(rng.integers(2, 7)):
        x, y, z = rng.normal(0, [0.4, 0.3, 0.2])
        crown = plan.joint(fork, x, y - 0.25, z, swing=0.08)
        plan.part(fork, crown, (0.05 * plan.thin, 0.03), bark, above=-0.1)
        wide = rng.uniform(0.25, 0.5)
        plan.ball(crown, wide, leaves, fringe=rng.uniform(0.1, 0.3))


def post(plan: Plan) -> None:
    """A pole, a fence, a lamp, a sign."""
    rng = plan.rng
    stuff = plan.surface("metal", "wood", "stone", "paint")
    foot = plan.joint(-1, 0, 1.2)
    for number in range(rng.choice([1, 1, 3])):
        base = plan.joint(foot, 0.5 * number, 0)
        top = plan.joint(base, 0, -rng.uniform(1.5, 2.6))
        wide = rng.uniform(0.02, 0.12)
        plan.part(base, top, (wide, wide), stuff, square=True)
        if number == 0 and rng.random() < 0.5:
            plan.ball(
                top,
                rng.uniform(0.1, 0.4),
                plan.surface("paint", "metal"),
                square=rng.random() < 0.6,
            )


def house(plan: Plan) -> None:
    """A block with windows."""
    rng = plan.rng
    left = plan.joint(-1, -0.6, 0)
    right = plan.joint(left, rng.uniform(0.8, 2), 0)
    wall, glass = plan.surface("wall", "stone", "wood"), plan.surface("sky", "rubber")
    high = rng.uniform(0.6, 1.2)
    plan.part(left, right, (high, high), wall, square=True)
    for x in (0.1, 0.45, 0.8):
        for y in (-0.5, 0.1):
            window = plan.joint(left, x, y * high)
            plan.ball(window, 0.12, glass, square=True, above=0.1, gloss=0.3)
