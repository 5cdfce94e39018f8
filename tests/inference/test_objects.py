"""Objects that come, change and go between two frames."""

import jax
import numpy as np

import vos_jax
from tests.inference.states import (
    assert_close_trees,
    assert_equal_trees,
    bank_of,
)
from tests.methods.steps import run
from vos_jax.ops.memory_bank import FIRST, KEPT


def test_a_late_object_takes_only_its_own_pixels(model, clip, looped):
    state = looped[0][2]
    late = np.zeros((32, 48), np.uint8)
    late[:8, 40:] = 9
    after = vos_jax.add_masks(*model, state, clip[0][3], late)
    assert np.asarray(after.ids).tolist() == [1, 2, 9]
    assert (np.asarray(after.labels)[late == 9] == 9).all()
    assert np.asarray(after.probs[3] == (late == 9)).all()
    outside = late == 0
    np.testing.assert_allclose(
        after.probs[:3, outside], state.probs[:, outside], atol=1e-6
    )
    np.testing.assert_allclose(after.probs.sum(0), 1, atol=1e-5)
    assert np.asarray(state.ids).tolist() == [1, 2], "the old state was changed"
    following, out = vos_jax.step(*model, after, clip[0][4])
    assert np.asarray(bank_of(following).time[FIRST]).tolist() == [0, 0, 3]
    assert np.asarray(out.probs[3]).any()


def test_a_late_object_fills_a_free_slot(model, clip):
    frames, labels = clip
    only_one = np.where(labels[0] == 1, 1, 0)
    state = vos_jax.start(*model, frames[0], only_one, objects=2)
    after = vos_jax.add_masks(*model, state, frames[0], labels[:1] == 2, [5])
    assert np.asarray(after.ids).tolist() == [1, 5]
    assert_equal_trees(after.probs, vos_jax.start(*model, frames[0], labels[0]).probs)


def test_a_correction_changes_only_the_named_object(model, clip, looped):
    state = looped[0][2]
    mask = np.zeros((1, 32, 48), np.float32)
    mask[0, 20:30, :10] = 1
    after = vos_jax.add_masks(*model, state, clip[0][3], mask, [1])
    outside = mask[0] == 0
    np.testing.assert_array_equal(after.probs[1], mask[0])
    np.testing.assert_array_equal(after.probs[2, outside], state.probs[2, outside])
    assert not np.asarray(after.probs[2])[~outside].any()
    assert np.asarray(after.ids).tolist() == [1, 2]
    assert bool(after.corrected)
    assert not np.asarray(after.first).any()


def test_corrections_may_be_traced_and_mapped_over_masks_and_states(
    model, clip, looped
):
    frames, labels = clip
    state, frame = looped[0][2], frames[3]
    masks = np.stack([labels[3][None] == 2, labels[3][None] == 1])

    def correct(state, masks):
        return vos_jax.add_masks(*model, state, frame, masks, [2])

    expected = [correct(state, each) for each in masks]
    of_masks = jax.vmap(correct, (None, 0))(state, masks)
    inside = jax.jit(lambda masks: correct(state, masks))(masks[0])
    states = jax.tree.map(lambda *x: np.stack(x), state, state)
    of_states = jax.jit(jax.vmap(correct))(states, masks)
    assert_equal_trees(inside, expected[0])
    for found in (of_masks, of_states):
        for which, branch in enumerate(expected):
            own = jax.tree.map(lambda x, which=which: x[which], found)
            assert_equal_trees(own, branch)
    # No error can say so: the state has no such object. The background is added up.
    unknown = jax.jit(lambda s: vos_jax.add_masks(*model, s, frame, masks[0], [7]))
    assert_close_trees(unknown(state), state, 2**-22)


def test_a_result_has_a_gradient_in_a_correction(model, clip, looped):
    """That of differences, which are of one number, the sum over a direction."""
    frames, labels = clip
    state, mask = looped[0][2], (labels[3][None] == 1) * np.float32(0.8)

    def odds(mask, state):
        state = vos_jax.add_masks(*model, state, frames[3], mask, [1])
        logits = vos_jax.step(*model, state, frames[4])[1].logits
        return (logits[1] - logits[0]).mean()

    slope = jax.grad(odds)(mask, state)
    direction = np.sign(slope) * (mask > 0)
    size = 0.02
    ahead, behind = (odds(mask + s * size * direction, state) for s in (1, -1))
    expected = (slope * direction).sum()
    assert expected > 0.1
    np.testing.assert_allclose((ahead - behind) / (2 * size), expected, rtol=0.02)
    # Through a state of which nothing is known, too.
    of_state = jax.jit(jax.grad(odds, (0, 1), allow_int=True))(mask, state)
    np.testing.assert_allclose(of_state[0], slope, rtol=1e-3, atol=1e-5)
    assert np.abs(of_state[1].memory.bank.entries.value).any()


def test_a_corrected_frame_is_kept_whatever_its_index(model, clip, looped):
    frames, labels = clip
    corrected = vos_jax.add_masks(*model, looped[0][2], frames[3], labels[3])
    for start, kept in ((looped[0][2], set()), (corrected, {3})):
        state = run(model, start, frames[4:7])[0][-1]
        times = np.asarray(bank_of(state).time[KEPT:, 0]).tolist()
        assert set(times) - {-1} == kept | {5}


def test_an_empty_mask_says_that_a_known_object_is_gone(model, clip, looped):
    empty = np.zeros((1, 32, 48))
    after = vos_jax.add_masks(*model, looped[0][2], clip[0][3], empty, [2])
    assert not np.asarray(after.probs[2]).any()
    np.testing.assert_array_equal(after.probs[1], looped[0][2].probs[1])


def test_a_removed_object_leaves_background_and_a_free_slot(model, clip, looped):
    state = looped[0][2]
    after = vos_jax.remove_object(state, 1)
    assert np.asarray(after.ids).tolist() == [0, 2]
    np.testing.assert_allclose(after.probs[0], state.probs[:2].sum(0), atol=1e-6)
    _, out = vos_jax.step(*model, after, clip[0][4])
    assert not np.asarray(out.probs[1]).any()
    assert 1 not in np.unique(out.labels)
