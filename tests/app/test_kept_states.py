import numpy as np
import pytest

from vos_jax.app.drawn import Absence, Drawing, Drawn, default_object
from vos_jax.app.kept_states import KeptStates
from vos_jax.app.passes import FORWARD, Pass, Plan
from vos_jax.inference.resume import Saved

WAY = Pass(FORWARD, 0, "", (), None, "model")


def plan(**frames):
    drawing = Drawing(
        {1: default_object(1)},
        {int(at[1:]): Drawn(labels, (1,), (1,)) for at, labels in frames.items()},
    )
    return Plan(WAY, drawing, Absence(drawing))


PLAN = plan(_0="a")


def state(position, size=100):
    return Saved(position + 1, 1, [np.zeros(size, np.uint8)])


def keep(kept, *positions, plan=PLAN):
    for position in positions:
        kept.keep(WAY, position, plan.chain(position), state(position))


def test_the_nearest_state_before_a_frame_is_found():
    kept = KeptStates(1000)
    keep(kept, 9, 19, 29)
    assert kept.nearest(WAY, PLAN, 25).position == 20
    assert kept.nearest(WAY, PLAN, 29).position == 30
    assert kept.nearest(WAY, PLAN, 8) is None


def test_a_state_of_another_history_is_none_until_that_is_back():
    kept = KeptStates(1000)
    keep(kept, 9, 19)
    corrected = plan(_0="a", _12="b")
    assert kept.nearest(WAY, corrected, 25).position == 10
    keep(kept, 19, plan=corrected)
    assert kept.nearest(WAY, corrected, 25).position == 20
    assert kept.nearest(WAY, PLAN, 25).position == 20


@pytest.mark.parametrize("room", [1, 2, 5])
def test_there_are_never_more_bytes_than_allowed(room):
    kept = KeptStates(room * 100 + 50)
    for position in range(9, 300, 10):
        keep(kept, position)
        assert kept.bytes <= kept.limit
    assert len(kept) == room


def test_states_that_stay_are_spread_and_the_newest_is_one():
    kept = KeptStates(400)
    keep(kept, *range(9, 400, 10))
    positions = sorted(key.position for key in kept._kept)
    assert positions[-1] == 399
    gaps = np.diff([0, *positions])
    assert gaps.max() <= 200


def test_a_state_that_is_too_large_is_not_kept():
    kept = KeptStates(50)
    keep(kept, 9)
    assert len(kept) == 0
