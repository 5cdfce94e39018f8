"""The state in time: what a step is, however it is called."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.inference.states import NOISE, assert_equal_trees, bank_of
from tests.methods.steps import run
from vos_jax.ops.memory_bank import FIRST

# The clock


def test_the_state_is_what_the_last_step_found(looped):
    states, outputs = looped
    np.testing.assert_array_equal(states[2].probs, outputs[2].probs)
    np.testing.assert_array_equal(states[2].labels, outputs[2].labels)
    assert [int(state.time) for state in states] == [1, 2, 3, 4, 5]


def test_a_frame_is_memorised_when_the_next_one_comes(started, looped):
    states, _ = looped
    assert not bank_of(started).filled.any()
    assert np.asarray(bank_of(states[0]).time[FIRST]).tolist() == [0, 0]
    assert int(bank_of(states[1]).time[0, 0]) == 1


def test_the_masks_given_decide_what_is_found(model, clip, started, looped):
    frames, labels = clip
    other = vos_jax.start(*model, frames[0], labels[0][::-1])
    _, out = vos_jax.step(*model, other, frames[1])
    assert np.abs(out.probs - looped[1][0].probs).max() > 1e-2


# One function, however it is called


def test_a_step_can_be_exported(model, clip, started, looped):
    method, variables = model
    step = jax.jit(partial(vos_jax.step, method))
    exported = jax.export.export(step)(variables, started, clip[0][1])
    _, out = exported.call(variables, started, clip[0][1])
    np.testing.assert_allclose(out.probs, looped[1][0].probs, atol=NOISE)


def test_start_may_be_traced_and_mapped_over_videos(model, clip):
    method, variables = model
    frames, labels = clip

    def first(frame, labels):
        return vos_jax.start(method, variables, frame, labels, ids=[1, 2])

    states = jax.jit(jax.vmap(first))(frames[:2], labels[:2])
    for video in range(2):
        state = vos_jax.start(*model, frames[video], labels[video])
        assert_equal_trees(jax.tree.map(lambda x, v=video: x[v], states), state)


def test_labels_of_stacked_results_are_those_of_each(looped):
    states, outputs = looped
    expected = np.stack([out.labels for out in outputs])
    assert {1, 2} <= set(np.unique(expected))
    for each in (outputs, states):
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
        np.testing.assert_array_equal(stacked.labels, expected)
        twice = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), stacked)
        np.testing.assert_array_equal(twice.labels, [expected, expected[::-1]])


def test_masks_of_objects_and_a_label_map_are_one_start(model, clip, started):
    frames, labels = clip
    masks = np.stack([labels[0] == 1, labels[0] == 2])
    assert_equal_trees(vos_jax.start(*model, frames[0], masks), started)
    assert_equal_trees(
        vos_jax.start(*model, jnp.array(frames[0]), jnp.array(masks)), started
    )


def test_ignored_pixels_are_nobodys(model, clip):
    labels = clip[1][0].copy()
    labels[:3] = 255
    state = vos_jax.start(*model, clip[0][0], labels)
    assert not np.asarray(state.probs[:, :3]).any()
    assert np.asarray(state.ids).tolist() == [1, 2]


def test_ids_of_the_caller_survive(model, clip, looped):
    frames, labels = clip
    named = np.choose(labels[0], [0, 200, 7]).astype(np.uint8)
    state = vos_jax.start(*model, frames[0], named)
    assert np.asarray(state.ids).tolist() == [7, 200]
    outputs = run(model, state, frames[1:4])[1]
    assert set(np.unique(outputs[-1].labels)) <= {0, 7, 200}
    # Slots are in the order of the ids, so those of the plain run are swapped.
    swapped = looped[1][2].probs[jnp.array([0, 2, 1])]
    np.testing.assert_allclose(outputs[-1].probs, swapped, atol=NOISE)
    chosen = vos_jax.start(*model, frames[0], named, ids=[200, 7])
    assert np.asarray(chosen.ids).tolist() == [200, 7]


# Where nothing is optimised the two programs round apart.
@pytest.mark.slow
@pytest.mark.full_compilation
def test_bytes_and_floats_of_one_frame_give_one_result(model, clip):
    frames, labels = clip
    floats, ours = (
        run(model, vos_jax.start(*model, images[0], labels[0]), images[1:3])
        for images in (frames / np.float32(255), frames)
    )
    assert_equal_trees(floats, ours)
