"""What holds for every method, whatever it remembers.

No side of the frames is a multiple of 16, and one of three object slots is free, so
that one compiled step serves most of these tests.
"""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

import vos_jax
from tests.clips import moving_clip
from tests.methods import steps
from tests.methods.every import NARROW, inputs_for, tiny
from vos_jax.inference import step as inference
from vos_jax.ops.memory_bank import Bank

SIZE, LENGTH = (30, 44), 8
NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""

FOLDED = 1e-4
"""And through some twenty layers with folded norms numbers are rounded elsewhere."""

OTHERS = {"stcn": 0.005, "rde": 0.005, "dmn-aoa": 0.15}
"""What they found of other objects in the padding, too, is in their memories; and all
objects of a frame share its proposals."""

LABELS = moving_clip(3)[1][2, 1:31, 2:46]
"""Of what comes with every frame, where a method takes anything."""

# That of a file is read and run by tests of its own each time.
SLOW = pytest.mark.slow


def parameters(*slow):
    """Names of all methods, some of which take long."""
    return [
        pytest.param(
            name,
            marks=SLOW if name.endswith(".py") or name in slow else [],
            id=Path(name).stem,
        )
        for name in NARROW
    ]


@pytest.fixture(scope="module", params=parameters("stcn"))
def name(request):
    return request.param


# Gradients of a loop over frames take as long to compile as all else of a method. What
# the others have beside STM's is differentiated by tests of modules and of objectives.
most = pytest.mark.parametrize(
    "name", parameters("dmn-aoa", "hmmn", "lcm", "rde", "stcn"), indirect=True
)


@pytest.fixture(scope="module")
def trained(name):
    return tiny(name)


@pytest.fixture(scope="module")
def model(trained):
    """As videos are segmented: with folded norms."""
    return vos_jax.inference_form(*trained)


@pytest.fixture(scope="module")
def bytes_of(clip):
    """Frames uint8 `[8, H, W, 3]` and labels."""
    return [x[:, 1:31, 2:46] for x in clip]


@pytest.fixture(scope="module")
def video(bytes_of):
    """Frames in [0, 1], and soft masks of two objects in each.

    With grain: where a frame is flat its cells tie, and then it is for rounding to say
    which of them a maximum takes its gradient from.
    """
    frames, labels = bytes_of
    grain = np.random.default_rng(0).random(frames.shape, np.float32)
    masks = np.stack([labels == 1, labels == 2], 1)
    # Nowhere 0 or 1: nothing is clipped, and gradients are those of differences.
    frames = np.float32(0.8 / 255) * frames + np.float32(0.2) * grain
    return frames, np.float32(0.05) + np.float32(0.8) * masks


def run(model, state, frames):
    return steps.run(model, state, frames, inputs_for(model[0], LABELS))


def begin(model, frame, masks):
    """With room for all frames: where a memory grows the step is compiled again."""
    return vos_jax.start(*model, frame, masks, objects=3, frames=LENGTH)


@pytest.fixture(scope="module")
def started(model, video):
    return begin(model, video[0][0], video[1][0])


@pytest.fixture(scope="module")
def compiled():
    """Counts the programs of a step."""
    return inference._step_jitted._cache_size


@pytest.fixture(scope="module")
def looped(model, video, started, compiled):
    """States and outputs after each of the frames 1 to 5, and programs compiled."""
    before = compiled()
    return *run(model, started, video[0][1:6]), compiled() - before


@pytest.fixture(scope="module")
def other(model, video):
    """The same of frames 4 to 6, of a video that begins in frame 3 with one object."""
    return run(model, begin(model, video[0][3], video[1][3][:1]), video[0][4:7])


def of_objects(memory, which):
    """What banks hold of some objects."""
    return [
        jax.tree.map(lambda x: np.asarray(x)[:, which], (bank.entries, bank.time))
        for bank in steps.banks(memory)
    ]


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def assert_near(tree, other, tolerance=NOISE):
    jax.tree.map(partial(assert_allclose, rtol=tolerance, atol=tolerance), tree, other)


# A step


def test_a_step_gives_probabilities_at_the_size_of_the_frame(looped):
    for state, out in zip(*looped[:2], strict=True):
        assert out.probs.shape == out.logits.shape == (4, *SIZE)
        assert out.probs.dtype == out.logits.dtype == jnp.float32
        assert out.labels.shape == SIZE and out.labels.dtype == jnp.uint8
        assert_near(softmax(out.logits, axis=0), out.probs)
        assert_allclose(np.asarray(out.probs).sum(0), 1, rtol=1e-5)
        assert np.asarray(out.probs)[:3].std((1, 2)).min() > 1e-3
        assert not np.asarray(out.probs)[3].any()
        assert_same(state.probs, out.probs)


def test_a_state_keeps_its_shapes_and_types(started, looped):
    first, last = (
        jax.tree.map(lambda x: (x.shape, x.dtype), state)
        for state in (started, looped[0][-1])
    )
    assert first == last


def test_videos_of_one_shape_are_compiled_once(model, video, looped, other, compiled):
    # None where these tests were here before, for another part of this file.
    assert looped[2] <= 1
    before = compiled()
    run((model[0].clone(), model[1]), other[0][-1], video[0][7:])
    assert compiled() == before


def test_a_state_can_be_branched_from_and_replayed(model, video, started, looped):
    states, outputs, _ = looped
    run(model, states[1], video[0][[7, 6]])
    again, replayed = run(model, states[1], video[0][3:6])
    assert_same(replayed, outputs[2:])
    assert_same(again[-1], states[-1])
    assert_same(started, begin(model, video[0][0], video[1][0]))


# Objects


def test_the_order_of_objects_is_the_order_of_their_results(model, video, looped):
    frames, masks = video
    _, outputs = run(model, begin(model, frames[0], masks[0][::-1]), frames[1:6])
    for out, known in zip(outputs, looped[1], strict=True):
        assert_near(np.asarray(out.probs)[[0, 2, 1, 3]], known.probs)


def test_other_objects_are_seen(model, video, looped):
    frames, masks = video
    moved = np.stack([masks[0][0], np.roll(masks[0][1], 6, axis=0)])
    moved[1] = np.where(moved[0] > 0.5, moved[1].min(), moved[1])
    _, outputs = run(model, begin(model, frames[0], moved), frames[1:3])
    found, known = (np.asarray(x[1].probs)[1] for x in (outputs, looped[1]))
    assert np.abs(found - known).max() > 1e-4


def changed(state, slot):
    """The same but for what banks hold of one object."""

    def other(bank):
        return bank._replace(entries=jax.tree.map(own, bank.entries))

    def own(leaf):
        leaf = np.array(leaf)
        leaf[:, slot] = np.flip(leaf[:, slot]) + 1
        return jnp.asarray(leaf)

    memory = jax.tree.map(
        lambda x: other(x) if isinstance(x, Bank) else x,
        state.memory,
        is_leaf=lambda x: isinstance(x, Bank),
    )
    return state._replace(memory=memory)


@pytest.mark.parametrize("slot", [2, 0], ids=["free", "used"])
def test_an_object_that_comes_late_begins_its_own_video(
    name, model, video, looped, slot
):
    """Also where another one was before it, of which nothing is remembered."""
    frames, _ = video
    before = looped[0][2]
    if slot == 0:
        before = vos_jax.remove_object(before, 1)
        assert np.asarray(before.ids).tolist() == [0, 2, 0]
    late = np.zeros((1, *SIZE), np.float32)
    late[0, :12, 22:] = 1
    outputs = []
    for state in (before, changed(before, slot)):
        state = vos_jax.add_masks(*model, state, frames[3], late, ids=[7])
        assert int(state.ids[slot]) == 7
        outputs.append(run(model, state, frames[4:7])[1])
    assert_same(*outputs)
    for out in outputs[0]:
        assert_allclose(np.asarray(out.probs).sum(0), 1, rtol=1e-5)
        assert np.asarray(out.probs)[1 + slot].std() > 1e-3
    masks = np.asarray(state.probs)[1:][np.asarray(state.ids) > 0]
    anew = begin(model, frames[3], masks)
    out = run(model, anew, frames[4:5])[1][0]
    # Of objects alone: the others remember more.
    found, known = (np.asarray(x.logits)[1 + slot] for x in (outputs[0][0], out))
    assert_near(expit(found), expit(known), OTHERS.get(name, NOISE))


def test_a_removed_object_leaves_background_and_the_others(model, video, looped):
    before = looped[0][2]
    state = vos_jax.remove_object(before, 1)
    assert_same(*(of_objects(x.memory, slice(1, 3)) for x in (state, before)))
    assert all(max(steps.times(x)[0]) < 0 for x in steps.banks(state.memory))
    assert_allclose(np.asarray(state.probs).sum(0), 1, rtol=1e-5)
    for out in run(model, state, video[0][4:7])[1]:
        assert_allclose(np.asarray(out.probs).sum(0), 1, rtol=1e-5)
        assert not np.asarray(out.probs)[1].any()
        assert np.asarray(out.probs)[2].std() > 1e-3


# Transformations


@pytest.fixture(scope="module")
def unrolled(trained):
    """Loss, what was found and gradients of two clips of four frames."""
    method, variables = trained

    def one(params, frames, masks, valid):
        model = method, {**variables, "params": params}
        state = vos_jax.start(*model, frames[0], masks, ids=[1, 2], frames=LENGTH)
        # As in training, where clips have objects for fewer of their slots.
        ids = jnp.where(valid, state.ids, 0)
        state = state._replace(first=state.first & valid, ids=ids)
        inputs = inputs_for(method, LABELS)
        step = partial(vos_jax.step, *model, inputs=inputs)
        state, out = jax.lax.scan(step, state, frames[1:])
        return jnp.log(out.probs[:, 1]).mean(), (out.probs, state.memory)

    def total(*args):
        losses, found = jax.vmap(one, (None, 0, 0, 0))(*args)
        return losses.sum(), found

    program = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))
    return partial(program, variables["params"])


@pytest.fixture(scope="module")
def clips(video):
    """Frames 0 to 3, and 3 to 6 with an object less."""
    frames, masks = video
    valid = np.array([[True, True], [True, False]])
    first = np.stack([masks[0], masks[3]]) * valid[..., None, None]
    return np.stack([frames[:4], frames[3:7]]), first, valid


@pytest.fixture(scope="module")
def found(unrolled, clips):
    return unrolled(*clips)


@most
def test_scans_mapped_over_videos_are_loops_of_folded_steps(found, looped, other):
    """Whatever slots there are beside those of objects, and folded norms or not."""
    (_, (probs, memory)), _ = found
    for which, (states, outputs, *_) in enumerate((looped, other)):
        steps = np.stack([out.probs for out in outputs[:3]])
        assert_near(np.asarray(probs)[which], steps[:, :3], FOLDED)
        objects = slice(0, 2 - which)
        own = jax.tree.map(lambda x, i=which: np.asarray(x)[i], memory)
        own = of_objects(own, objects)
        assert_near(own, of_objects(states[2].memory, objects), FOLDED)


@most
def test_gradients_reach_every_parameter(found):
    params, frames, masks = found[1]
    for path, leaf in jax.tree.leaves_with_path(params):
        assert np.isfinite(leaf).all(), path
        assert np.asarray(leaf).any(), path
    assert np.isfinite(frames).all() and np.isfinite(masks).all()
    assert np.asarray(frames).any((2, 3, 4)).all()


@most
@pytest.mark.parametrize(
    ("place", "size"),
    [(0, 0.003), (1, 0.0005), (2, 0.03)],
    ids=["parameters", "frames", "masks"],
)
def test_gradients_are_those_of_differences(unrolled, clips, found, place, size):
    """Those of the first masks go through the memory alone."""
    (loss, _), gradients = found
    args, ascent = (*unrolled.args, *clips), gradients[place]
    slope = np.sqrt(sum(np.vdot(x, x) for x in jax.tree.leaves(ascent)))

    def moved(step):
        there = jax.tree.map(
            lambda x, d: np.asarray(x) + np.float32(step / slope) * np.asarray(d),
            args[place],
            ascent,
        )
        return unrolled.func(*args[:place], there, *args[place + 1 :])[0][0]

    ahead, behind = (moved(step) - loss for step in (size, -size))
    # Where a ReLU bends within the step, its gradient is that of one side.
    slopes = np.array([(ahead - behind) / 2, ahead, -behind]) / size
    # What the loss is rounded to, through some twenty layers.
    noise = 16 * np.finfo(np.float32).eps * abs(loss) / (2 * size)
    assert noise < 0.1 * slope
    assert np.abs(slopes - slope).min() < 0.02 * slope + noise, (slopes, slope)


# Forms


def test_the_plain_read_changes_rounding_only(model, video, looped):
    method, variables = model
    plain = method.clone(config=dataclasses.replace(method.config, read="reference"))
    state, frame = looped[0][3], video[0][5]

    @jax.jit
    def read(memory):
        # One query: other products would differ before they are read with.
        query = method.apply(variables, frame, method="encode").query
        return [
            form.apply(variables, memory, query, state.active, method="read")
            for form in (method, plain)
        ]

    assert_near(*read(state.memory))


@pytest.fixture(scope="module")
def plain(model, bytes_of):
    """Probabilities of frames 1 to 4, from labels."""
    frames, labels = bytes_of[0] / np.float32(255), bytes_of[1]
    outputs = run(model, begin(model, frames[0], labels[0]), frames[1:5])[1]
    return np.stack([out.probs for out in outputs])


@most
def test_bfloat16_is_near_float32(name, bytes_of, plain):
    frames, labels = bytes_of
    half = tiny(name, dtype="bfloat16")
    segmenter = vos_jax.VideoSegmenter(*half, length=6, objects=3, with_probs=True)
    segmenter(frames[0], labels[0])
    inputs = inputs_for(half[0], LABELS)
    results = [segmenter(x, inputs=inputs).result() for x in frames[1:5]]
    for result in results:
        assert result.labels.shape == SIZE and result.labels.dtype == np.uint8
        assert result.probs.dtype == np.float32
    memory = jax.tree.leaves(segmenter.views[0].memory)
    assert jnp.dtype(jnp.bfloat16) in {x.dtype for x in memory}
    # Eight bits through some twenty layers, and other cells are chosen now and then.
    apart = np.abs(np.stack([result.probs for result in results]) - plain)
    assert 1e-5 < apart.mean() < 0.03
