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
from vos_jax.inference.step import step_traced
from vos_jax.ops.memory_bank import FIRST

# The clock


def test_a_step_gives_probabilities_at_the_size_of_the_frame(looped):
    states, outputs = looped
    assert outputs[0].probs.shape == (3, 32, 48)
    np.testing.assert_allclose(outputs[0].probs.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(
        jax.nn.softmax(outputs[0].logits, axis=0), outputs[0].probs, atol=1e-6
    )
    assert [int(state.time) for state in states] == [1, 2, 3, 4, 5]
    assert outputs[0].labels.dtype == jnp.uint8


def test_the_state_is_what_the_last_step_found(looped):
    states, outputs = looped
    np.testing.assert_array_equal(states[2].probs, outputs[2].probs)
    np.testing.assert_array_equal(states[2].labels, outputs[2].labels)


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


def test_scan_over_frames_and_vmap_over_videos_equal_the_loop(
    model, clip, started, looped
):
    method, variables = model
    frames, labels = clip
    other = vos_jax.start(*model, frames[3], labels[3])
    _, other_outputs = run(model, other, frames[4:8])

    def scanned(state, frames):
        step = partial(vos_jax.step, method, variables)
        return jax.lax.scan(step, state, frames)[1].probs

    states = jax.tree.map(lambda *x: jnp.stack(x), started, other)
    videos = jnp.stack([frames[1:5], frames[4:8]])
    both = jax.jit(jax.vmap(scanned))(states, videos)
    expected = [[o.probs for o in outs[:4]] for outs in (looped[1], other_outputs)]
    np.testing.assert_allclose(both, np.array(expected), atol=NOISE)


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


def test_a_second_video_of_the_same_shape_is_not_traced_again(model, clip, monkeypatch):
    method, variables = model
    traces = []

    def counted(method, variables, state, frame, inputs=None):
        traces.append(frame.shape)
        return step_traced(method, variables, state, frame, inputs)

    jitted = jax.jit(counted, static_argnums=0)
    monkeypatch.setattr("vos_jax.inference.step._step_jitted", jitted)
    # An equal method made again must hit the cache as well.
    for made in (method, method.clone()):
        state = vos_jax.start(made, variables, clip[0][0], clip[1][0])
        run((made, variables), state, clip[0][1:4])
    assert traces == [(32, 48, 3)]


def test_gradients_are_those_of_differences(model, clip, looped):
    method, variables = model
    frame = jnp.asarray(clip[0][3] / np.float32(255))
    target = jnp.asarray(clip[1][3] == 1, jnp.float32)
    state = looped[0][2]

    def loss(params, frame, scores):
        changed = {**variables, "params": params}
        before = state._replace(probs=jax.nn.softmax(scores, axis=0))
        _, out = vos_jax.step(method, changed, before, frame)
        return jnp.mean((out.probs[1] - target) ** 2)

    # The step memorises the masks before it: their gradient is the one through time.
    arguments = (variables["params"], frame, looped[1][2].logits)
    value_and_grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    gradients = value_and_grad(*arguments)[1]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    for place, size in enumerate((0.003, 0.03, 0.5)):
        slope = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients[place])))
        ahead, behind = (
            value_and_grad(*_moved(arguments, place, gradients[place], s / slope))[0]
            for s in (size, -size)
        )
        assert slope > 1e-5
        np.testing.assert_allclose((ahead - behind) / (2 * size), slope, rtol=0.05)


def _moved(arguments, place, direction, size):
    moved = jax.tree.map(lambda x, d: x + size * d, arguments[place], direction)
    return (*arguments[:place], moved, *arguments[place + 1 :])


def test_a_state_can_be_kept_branched_and_replayed(model, clip, started, looped):
    states, outputs = looped
    frames = clip[0]
    run(model, states[1], frames[[7, 6]])
    again, replayed = run(model, states[1], frames[3:6])
    for before, after in zip(outputs[2:], replayed, strict=True):
        assert_equal_trees(before, after)
    assert_equal_trees(states[4], again[-1])
    assert int(started.time) == 0
    assert np.isfinite(started.probs).all()


# Where nothing is optimised the two programs round apart.
@pytest.mark.full_compilation
def test_bytes_and_floats_of_one_frame_give_one_result(model, clip):
    frames, labels = clip
    floats, ours = (
        run(model, vos_jax.start(*model, images[0], labels[0]), images[1:3])
        for images in (frames / np.float32(255), frames)
    )
    assert_equal_trees(floats, ours)


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
