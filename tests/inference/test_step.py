"""The state in time: what a step is, and what objects may do in between."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from vos_jax.data.synthetic import generate_clip
from vos_jax.errors import InputError
from vos_jax.inference.capacity import reserve
from vos_jax.inference.step import step_traced
from vos_jax.ops.memory_bank import FIRST, KEPT

NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""


@pytest.fixture(scope="module")
def model(tiny_method, tiny_variables):
    return tiny_method, tiny_variables


@pytest.fixture(scope="module")
def started(model, clip):
    frames, labels = clip
    return vos_jax.start(*model, frames[0], labels[0])


@pytest.fixture(scope="module")
def looped(model, clip, started):
    """States and outputs after each of the frames 1 to 5."""
    return run(model, started, clip[0][1:6])


def run(model, state, frames):
    states, outputs = [], []
    for frame in frames:
        state, out = vos_jax.step(*model, state, frame)
        states.append(state)
        outputs.append(out)
    return states, outputs


def assert_equal_trees(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def assert_close_trees(a, b, tolerance=NOISE):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


def bank_of(state):
    return state.memory.bank


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


def test_bytes_and_floats_of_one_frame_give_one_result(model, clip, looped):
    frames, labels = clip
    as_float = frames / np.float32(255)
    state = vos_jax.start(*model, as_float[0], labels[0])
    states, outputs = run(model, state, as_float[1:4])
    assert_equal_trees(outputs[2], looped[1][2])
    assert_equal_trees(states[2], looped[0][2])


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


# Objects that come, change and go


def test_a_free_slot_changes_nothing(model, clip, looped):
    frames, labels = clip
    state = vos_jax.start(*model, frames[0], labels[0], objects=3)
    _, outputs = run(model, state, frames[1:4])
    assert np.asarray(outputs[-1].ids).tolist() == [1, 2, 0]
    assert not np.asarray(outputs[-1].probs[3]).any()
    np.testing.assert_allclose(outputs[-1].probs[:3], looped[1][2].probs, atol=NOISE)


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


def test_a_slot_used_again_remembers_nothing_of_the_old_object(model, clip):
    frames, labels = clip
    both = vos_jax.start(*model, frames[0], labels[0])
    one = vos_jax.start(*model, frames[0], labels[0], ids=[2], objects=2)
    # The same object in the same slot, so that only the history differs.
    one = one._replace(
        probs=one.probs[jnp.array([0, 2, 1])],
        first=one.first[::-1],
        ids=one.ids[::-1],
    )
    both = vos_jax.remove_object(both, 1)
    outputs = []
    for state in (both, one._replace(probs=both.probs)):
        state = run(model, state, frames[1:3])[0][-1]
        state = vos_jax.add_masks(*model, state, frames[2], labels[5:6] == 1, [8])
        assert np.asarray(state.ids).tolist() == [8, 2]
        outputs.append(run(model, state, frames[3:7])[1][-1])
    assert_close_trees(*outputs)


def test_an_object_removed_after_many_frames_leaves_no_trace(model, clip, looped):
    frames, labels = clip
    old = vos_jax.remove_object(looped[0][2], 1)
    wiped = old._replace(
        memory=jax.tree.map(
            lambda x: x.at[:, 0].set(0) if x.ndim > 2 else x, old.memory
        )
    )
    outputs = []
    for state in (old, wiped):
        state = vos_jax.add_masks(*model, state, frames[3], labels[3:4] == 1, [8])
        outputs.append(run(model, state, frames[4:8])[1][-1])
    assert_equal_trees(*outputs)


# Room in the memory


@pytest.fixture(scope="module")
def dense(tiny_method):
    """Keeps every second frame."""
    return vos_jax.create("stm", **{**vars(tiny_method.config), "mem_every": 2})


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


@pytest.mark.parametrize("objects, frames", [(1, 1), (2, 100), (5, 1000)])
def test_state_bytes_is_the_size_of_the_state(model, objects, frames):
    masks = np.zeros((objects, 40, 30))
    masks[np.arange(objects), np.arange(objects), 0] = 1
    frame = np.zeros((40, 30, 3), np.uint8)
    state = vos_jax.start(*model, frame, masks, frames=frames)
    told = vos_jax.state_bytes(model[0], (40, 30), objects, frames)
    assert told == sum(x.nbytes for x in jax.tree.leaves(state))


# What is refused

FRAME = np.zeros((32, 48, 3), np.uint8)
LABELS = np.ones((32, 48), np.uint8)


@pytest.mark.parametrize(
    "frame, masks, options, message",
    [
        (FRAME[..., 0], LABELS, {}, r"frame: shape \(32, 48\)"),
        (FRAME[..., :2], LABELS, {}, r"frame: shape \(32, 48, 2\)"),
        (FRAME[None], LABELS, {}, r"frame: shape"),
        (FRAME.astype(np.int32), LABELS, {}, "frame: dtype int32"),
        (FRAME, LABELS[:30], {}, "masks: their size is 48x30, the frame's 48x32"),
        (FRAME, LABELS[0], {}, r"masks: shape \(48,\)"),
        (FRAME, LABELS[None, None], {}, r"masks: shape \(1, 1, 32, 48\)"),
        (FRAME, 0 * LABELS, {}, "no object"),
        (FRAME, np.full_like(LABELS, 255), {}, "no object"),
        (FRAME, np.zeros((0, 32, 48)), {}, "no object"),
        (FRAME, np.stack([LABELS, 0 * LABELS]), {}, "no pixel of object 2"),
        (FRAME, LABELS, {"ids": [1, 4]}, "no pixel of object 4"),
        (FRAME, LABELS[None], {"ids": [1, 2]}, "2 given for 1 masks"),
        (FRAME, np.stack([LABELS, LABELS]), {"ids": [3, 3]}, "3, 3; they must differ"),
        (FRAME, LABELS[None], {"ids": [255]}, r"1\.\.254"),
        (FRAME, LABELS[None], {"ids": [0]}, r"1\.\.254"),
        (FRAME, np.ones((255, 32, 48), bool), {}, "255 objects, at most 254"),
        (FRAME, np.stack([LABELS] * 2), {"objects": 1}, "objects=1 is less than"),
        (FRAME, LABELS, {"objects": 255}, "objects=255"),
        (FRAME, 255 * LABELS[None], {}, "masks: values from 0 to 255"),
        (FRAME, -1.0 * LABELS[None], {}, "masks: values from -1"),
        (FRAME, np.full((1, 32, 48), np.nan), {}, "masks: values"),
    ],
)
def test_start_refuses(model, frame, masks, options, message):
    with pytest.raises(InputError, match=message) as caught:
        vos_jax.start(*model, frame, masks, **options)
    assert "\n" not in str(caught.value)


def test_a_traced_label_map_needs_ids(model):
    with pytest.raises(InputError, match="traced label map needs ids"):
        jax.eval_shape(partial(vos_jax.start, *model), FRAME, LABELS)


def test_a_frame_of_another_size_is_refused(model, started):
    with pytest.raises(InputError, match=r"its size is 32x48.*48x32"):
        vos_jax.step(*model, started, FRAME.transpose(1, 0, 2))
    with pytest.raises(InputError, match="dtype int32"):
        vos_jax.step(*model, started, FRAME.astype(np.int32))


def test_masks_for_another_frame_than_the_latest_are_refused(model, clip, looped):
    frames, labels = clip
    with pytest.raises(InputError, match="not the latest frame"):
        vos_jax.add_masks(*model, looped[0][2], frames[2], labels[2])
    with pytest.raises(InputError, match="not the latest frame"):
        vos_jax.add_masks(*model, looped[0][2], frames[3][:16], labels[3][:16])


def test_added_masks_need_ids_and_pixels(model, clip, looped):
    add = partial(vos_jax.add_masks, *model, looped[0][2], clip[0][3])
    with pytest.raises(InputError, match="ids: needed"):
        add(np.ones((1, 32, 48)))
    with pytest.raises(InputError, match="no object in them"):
        add(np.zeros((32, 48), np.uint8))
    with pytest.raises(InputError, match="no pixel of object 9"):
        add(np.zeros((1, 32, 48)), [9])


def test_an_unknown_object_cannot_be_removed(looped):
    with pytest.raises(InputError, match="id 7: no such object; the state has 1, 2"):
        vos_jax.remove_object(looped[0][0], 7)
    freed = vos_jax.remove_object(looped[0][0], 1)
    with pytest.raises(InputError, match="id 0: no such object"):
        vos_jax.remove_object(freed, 0)


def test_every_corrected_frame_is_kept_beside_the_scheduled_ones(model):
    clip = generate_clip(3, 9, (32, 48), 1)
    state = vos_jax.start(*model, clip.frames[0], clip.labels[0], frames=1)
    for frame, labels in zip(clip.frames[1:], clip.labels[1:], strict=True):
        state, _ = vos_jax.step(*model, state, frame)
        state = vos_jax.add_masks(*model, state, frame, labels, [1])
    state, _ = vos_jax.step(*model, state, clip.frames[0])
    held = np.asarray(bank_of(state).time)
    assert sorted(held[held >= 0].tolist()) == list(range(9))
