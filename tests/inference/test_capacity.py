"""Room in the memory: what a longer video changes, and how much it is."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.inference.states import assert_close_trees, assert_equal_trees, bank_of
from tests.methods.every import NARROW
from tests.methods.steps import banks, run
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference.capacity import reserve, slots_for
from vos_jax.inference.state import State
from vos_jax.ops.memory_bank import FIRST, KEPT


@pytest.fixture(scope="module")
def dense(tiny_method):
    """Keeps every second frame."""
    return vos_jax.create("stm", **{**vars(tiny_method.config), "mem_every": 2})


@pytest.mark.slow
def test_growing_by_and_by_equals_a_large_memory_from_the_start(
    dense, tiny_variables, clip
):
    model = dense, tiny_variables
    frames, labels = clip
    states = [
        vos_jax.start(*model, frames[0], labels[0], frames=count) for count in (1, 8)
    ]
    assert [bank_of(state).capacity for state in states] == [2, 6]
    grown, large = (run(model, state, frames[1:6]) for state in states)
    assert [bank_of(state).capacity for state in grown[0]] == [2, 4, 4, 4, 4]
    assert_close_trees(grown[1], large[1])
    assert_equal_trees(bank_of(grown[0][-1]).time, bank_of(large[0][-1]).time[:4])


@pytest.mark.slow
def test_reserve_adds_objects_and_slots_and_changes_no_content(model, looped):
    state = looped[0][3]
    larger = reserve(model[0], state, 200, 4)
    assert bank_of(larger).capacity == 48
    assert np.asarray(larger.ids).tolist() == [1, 2, 0, 0]
    old, new = bank_of(state), bank_of(larger)
    assert_equal_trees(old.time, new.time[: old.capacity, :2])
    assert not np.asarray(new.filled[old.capacity :]).any()
    assert not np.asarray(new.filled[:, 2:]).any()
    np.testing.assert_array_equal(old.entries.key, new.entries.key[: old.capacity, :2])
    assert reserve(model[0], state, 10, 2) is state


@pytest.mark.parametrize("name", NARROW, ids=lambda name: Path(name).stem)
def test_every_memory_grows_and_keeps_what_it_has(name):
    """Whatever a method remembers beside its banks."""
    method, rng = vos_jax.create(name, **NARROW[name]), np.random.default_rng(0)
    small, large = (
        jax.eval_shape(partial(method.init_memory, 30, 44, 3, slots_for(method, count)))
        for count in (8, 32)
    )
    # Counters stay at 0: nothing has been overwritten.
    memory = jax.tree.map(
        lambda x: np.asarray(rng.integers(0, 2, x.shape) * (x.ndim > 0), x.dtype), small
    )
    frame, probs, ids = np.zeros((30, 44, 3)), np.zeros((4, 30, 44)), np.arange(3)
    state = State(memory, frame, None, probs, ids == 0, False, 0, ids)
    grown = jax.jit(lambda state: reserve(method, state, 32).memory)(state)
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, large)
    assert_equal_trees(
        jax.tree.map(lambda x, y: x[tuple(map(slice, y.shape))], grown, memory), memory
    )
    kept = [(np.asarray(x.time) >= 0).sum() for x in banks(grown)]
    assert kept == [x.time.size for x in banks(memory)]


@pytest.mark.slow
def test_reserve_after_overwriting_fills_the_new_slots_first(model, looped):
    state = looped[0][3]
    bank = bank_of(state)
    full = bank._replace(
        time=jnp.full_like(bank.time, 3), kept=jnp.int32(3 * bank.capacity)
    )
    larger = reserve(
        model[0], state._replace(memory=state.memory._replace(bank=full)), 200
    )
    assert int(bank_of(larger).kept) == bank.capacity - KEPT


def test_a_fixed_capacity_overwrites_the_oldest_and_never_the_first(
    tiny_method, tiny_variables, clip
):
    config = {**vars(tiny_method.config), "mem_every": 1, "mem_capacity": 4}
    model = vos_jax.create("stm", **config), tiny_variables
    state = vos_jax.start(*model, clip[0][0], clip[1][0])
    assert bank_of(state).capacity == 4
    sizes = set()
    for time, frame in enumerate(clip[0][1:], 1):
        state, out = vos_jax.step(*model, state, frame)
        times = np.asarray(bank_of(state).time[:, 0])
        assert times[FIRST] == 0
        newest = range(max(1, time - 2), time)
        assert set(times[KEPT:].tolist()) - {-1} == set(newest)
        sizes.add(sum(x.nbytes for x in jax.tree.leaves(state)))
        assert np.isfinite(out.logits).all()
    assert len(sizes) == 1


@pytest.mark.slow
def test_every_corrected_frame_is_kept_beside_the_scheduled_ones(model):
    clip = generate_clip(3, 9, (32, 48), 1)
    state = vos_jax.start(*model, clip.frames[0], clip.labels[0], frames=1)
    for frame, labels in zip(clip.frames[1:], clip.labels[1:], strict=True):
        state, _ = vos_jax.step(*model, state, frame)
        state = vos_jax.add_masks(*model, state, frame, labels, [1])
    state, _ = vos_jax.step(*model, state, clip.frames[0])
    held = np.asarray(bank_of(state).time)
    assert sorted(held[held >= 0].tolist()) == list(range(9))


@pytest.mark.parametrize("objects, frames", [(1, 1), (2, 100), (5, 1000)])
def test_state_bytes_is_the_size_of_the_state(model, objects, frames):
    masks = np.zeros((objects, 40, 30))
    masks[np.arange(objects), np.arange(objects), 0] = 1
    frame = np.zeros((40, 30, 3), np.uint8)
    state = vos_jax.start(*model, frame, masks, frames=frames)
    told = vos_jax.state_bytes(model[0], (40, 30), objects, frames)
    assert told == sum(x.nbytes for x in jax.tree.leaves(state))
