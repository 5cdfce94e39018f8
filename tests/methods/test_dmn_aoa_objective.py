"""The loss of DMN-AOA on a narrow network: its terms, its boxes, and what learns."""

import json
from dataclasses import asdict, replace
from functools import partial
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.clips import moving_clip
from tests.methods.every import Shallow
from vos_jax.errors import InputError
from vos_jax.methods import create
from vos_jax.methods.dmn_aoa import objective as module
from vos_jax.methods.dmn_aoa.objective import DMNAOALoss, coarse_loss, match_loss
from vos_jax.methods.objective import StepConfig
from vos_jax.methods.weights import variable_shapes
from vos_jax.types import ClipBatch, Proposals

KEY = jax.random.key(0)
FRAMES, OBJECTS, COUNT = 3, 2, 30
LOOPED = StepConfig(unroll=False)
"""One program for all frames, which compiles in half of the time."""
GIVEN = DMNAOALoss(boxes="given", match_loss_weight=0.5, n_proj=2)
SMALL = DMNAOALoss(
    coarse_loss_weight=0, match_loss_weight=1, match_loss="cross_entropy"
)
"""As the network in small is trained."""


def _narrow(**changes):
    """DMN-AOA with few channels, few layers and random weights."""
    options = {
        "backbone": Shallow(depth=18, width=4),
        "level_dims": (8, 8, 16),
        "align_dim": 8,
        "refine_dim": 8,
        "groups": 2,
        "object_size": 4,
        "read": "reference",
    }
    method = create("dmn-aoa", **options, **changes)
    shapes = variable_shapes(method)
    return method, jax.device_put(jax.tree_util.tree_map_with_path(_drawn, shapes))


def _drawn(path, leaf):
    """He-normal kernels and what leaves norms and biases out: there is no compiling."""
    if (name := path[-1].key) == "kernel":
        rng = np.random.default_rng(crc32(jax.tree_util.keystr(path).encode()))
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.normal(0, deviation, leaf.shape).astype(leaf.dtype)
    return np.full(leaf.shape, name in ("scale", "var"), leaf.dtype)


def _proposals(labels):
    """Of a frame: true masks moved by two pixels, and both of them as one."""
    masks = np.zeros((COUNT, *labels.shape), bool)
    for o in range(OBJECTS):
        masks[o] = np.roll(labels == o + 1, 2, axis=1)
    masks[OBJECTS] = labels > 0
    boxes = np.zeros((COUNT, 4), np.float32)
    for box, mask in zip(boxes, masks[: OBJECTS + 1], strict=False):
        rows, columns = np.nonzero(mask)
        box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    scores = np.linspace(1, 0, COUNT, dtype=np.float32)
    return Proposals(boxes, masks, scores, np.arange(COUNT) <= OBJECTS)


@pytest.fixture(scope="module")
def clip():
    """Three frames of two objects."""
    frames, labels = moving_clip(FRAMES)
    found = [_proposals(each) for each in labels[1:]]
    return ClipBatch(
        frames,
        labels,
        np.ones(OBJECTS, bool),
        inputs=Proposals(*(np.stack(x) for x in zip(*found, strict=True))),
    )


@pytest.fixture(scope="module")
def dmn_aoa():
    return _narrow()


def _loss(model, clip, loss, config=LOOPED, key=KEY):
    """Sums and gradients of the parameters."""
    method, variables = model

    def total(params):
        sums = loss(method, {**variables, "params": params}, clip, key, config, 0)
        return sums.loss / sums.frames, sums

    program = jax.jit(jax.grad(total, has_aux=True))
    gradients, sums = program(variables["params"])
    return sums, gradients


@pytest.fixture(scope="module")
def predicted(dmn_aoa, clip):
    return _loss(dmn_aoa, clip, DMNAOALoss())


@pytest.fixture(scope="module")
def given(dmn_aoa, clip):
    return _loss(dmn_aoa, clip, GIVEN)


# Terms


@pytest.mark.slow
@pytest.mark.parametrize("found", ["predicted", "given"])
def test_every_weight_learns(found, request):
    _, gradients = request.getfixturevalue(found)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), path
        # A bias of both sides of a softmax may not matter.
        assert np.asarray(gradient).any() or path[-1].key == "bias", path


@pytest.mark.slow
def test_the_terms_add_up_and_have_names(given):
    sums, _ = given
    assert set(sums.terms) == {"segmentation", "coarse", "matching"}
    assert all(x > 0 for x in sums.terms.values())
    np.testing.assert_allclose(sum(sums.terms.values()), sums.loss, rtol=1e-6)
    assert sums.frames == FRAMES - 1
    assert sums.objects == OBJECTS * (FRAMES - 1)


def test_a_coarse_mask_has_its_own_cross_entropy():
    labels = np.array([[1, 0, 2], [255, 1, 0]], np.uint8)
    coarse = np.array([[[1, 0.25, 0], [0.3, 0.5, 1.0]], np.zeros((2, 3))], np.float32)
    valid = np.array([True, False])
    found, gradient = jax.jit(jax.value_and_grad(coarse_loss))(coarse, labels, valid)
    right = [0.99, 0.75, 0.99, 0.5, 0.01]
    np.testing.assert_allclose(found, -np.log(right).mean(), rtol=1e-6)
    # One that is wrong for certain can be undone; what is void cannot be wrong.
    gradient = np.asarray(gradient)
    np.testing.assert_allclose(gradient[0, 1, 2], 1 / 0.01 / 5, rtol=1e-4)
    assert not gradient[0, 1, 0] and not gradient[1].any()


def test_similarities_are_compared_with_the_greedy_assignment(clip):
    proposals = Proposals(*(x[0] for x in clip.inputs))
    similarity = np.full((OBJECTS, COUNT), 0.5, np.float32)
    similarity[:, OBJECTS + 1 :] = np.nan
    known, program = (proposals, clip.labels[1], clip.valid), jax.jit(match_loss)
    assert np.isclose(program(similarity, *known), 0.25)
    similarity[:, : OBJECTS + 1] = np.eye(OBJECTS, OBJECTS + 1)
    assert program(similarity, *known) == 0


def test_which_proposal_is_best_is_a_cross_entropy_of_differences(clip):
    proposals = Proposals(*(x[0] for x in clip.inputs))
    known = proposals, clip.labels[1], clip.valid
    program = jax.jit(jax.value_and_grad(partial(match_loss, kind="cross_entropy")))
    similarity = np.zeros((OBJECTS, COUNT), np.float32)
    similarity[:, OBJECTS + 1 :] = np.nan
    value, gradient = program(similarity, *known)
    # Of three proposals that are all alike; the rest are not there.
    np.testing.assert_allclose(value, np.log(3), rtol=1e-5)
    assert not gradient[:, OBJECTS + 1 :].any()
    assert (np.sign(gradient[:, :3]) == 1 - 2 * np.eye(2, 3)).all()
    # What all are larger by does not matter, and the right one by 0.1 does.
    shifted, _ = program(similarity + 0.5, *known)
    np.testing.assert_allclose(shifted, value, rtol=1e-5)
    right, _ = program(similarity + 0.1 * np.eye(OBJECTS, COUNT), *known)
    np.testing.assert_allclose(right, np.log(1 + 2 * np.exp(-2)), rtol=1e-5)
    nothing = proposals._replace(valid=np.zeros(COUNT, bool))
    value, gradient = program(similarity, nothing, *known[1:])
    assert value == 0 and not np.asarray(gradient).any()


@pytest.mark.slow
def test_without_refinenet_the_coarse_loss_is_all_there_is(clip):
    model = _narrow(use_refinenet=False)
    sums, gradients = _loss(model, clip, DMNAOALoss(coarse_loss_weight=0))
    assert set(sums.terms) == {"coarse"} and sums.loss == sums.terms["coarse"]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    assert any(np.asarray(x).any() for x in jax.tree.leaves(gradients["reduce"]))


@pytest.mark.slow
def test_the_paper_has_the_cross_entropy_of_the_final_masks_alone(dmn_aoa, clip):
    sums, gradients = _loss(dmn_aoa, clip, DMNAOALoss(coarse_loss_weight=0))
    assert set(sums.terms) == {"segmentation"}
    # It reaches templates and proposals through RefineNet.
    matcher = gradients["matcher"]
    for part in (
        matcher["project_template"],
        matcher["project_proposal"],
        gradients["memory_encoder"],
    ):
        assert any(np.asarray(x).any() for x in jax.tree.leaves(part))


# Boxes


def test_true_boxes_are_moved_by_a_share_of_their_sizes():
    boxes = jnp.array([[[10.0, 20, 30, 60]]])
    moved = jax.vmap(partial(DMNAOALoss().move, boxes))(jax.random.split(KEY, 500))
    distance = np.asarray(moved - boxes[None])[:, 0, 0]
    np.testing.assert_allclose(np.abs(distance).max(0), [2, 4, 2, 4], rtol=0.02)
    assert np.abs(np.corrcoef(distance.T) - np.eye(4)).max() < 5 / 500**0.5


def test_a_mask_that_is_empty_has_the_box_of_the_last_one(clip):
    labels = np.array(clip.labels)
    labels[1][labels[1] == 2] = 0
    boxes, shows = jax.jit(module._true_boxes, static_argnums=1)(labels, OBJECTS)
    np.testing.assert_array_equal(shows, [[True, True], [True, False], [True, True]])
    np.testing.assert_array_equal(boxes[1, 1], boxes[0, 1])
    rows, columns = np.nonzero(labels[2] == 2)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    np.testing.assert_array_equal(boxes[2, 1], expected)


@pytest.mark.slow
def test_boxes_of_queries_are_drawn_and_the_same_key_draws_the_same(
    dmn_aoa, clip, given
):
    program = jax.jit(lambda key: GIVEN(*dmn_aoa, clip, key, LOOPED, 0).loss)
    one, again, other = (program(jax.random.key(seed)) for seed in (0, 0, 1))
    assert one == again and abs(one - other) > 1e-6
    np.testing.assert_allclose(one, given[0].loss, rtol=1e-5)


# Memory


def test_all_earlier_frames_are_read_unless_a_row_says_otherwise(dmn_aoa, clip):
    method = dmn_aoa[0].clone(
        config=replace(dmn_aoa[0].config, mem_every=5, mem_capacity=2)
    )
    for memory, (sampling, every) in {
        "all": ("first+prev", 1),
        "first": ("first", None),
        "prev": ("prev", None),
        "first+prev": ("first+prev", None),
    }.items():
        trained = DMNAOALoss(memory=memory)._trained(method, clip).config
        assert (trained.memory_sampling, trained.mem_every) == (sampling, every)
        assert trained.mem_capacity is None
        assert (trained.n_grad, trained.n_proj) == (10, 5)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["first", "prev", "first+prev"])
def test_the_memory_of_a_row_changes_the_loss(dmn_aoa, clip, predicted, memory):
    loss = DMNAOALoss(memory=memory)
    found = jax.jit(lambda: loss(*dmn_aoa, clip, KEY, LOOPED, 0))()
    # Of three frames the first and the previous one are all there are.
    same = memory == "first+prev"
    assert np.isclose(found.loss, predicted[0].loss, rtol=1e-6) == same


# Steps


@pytest.mark.slow
def test_computing_frames_again_changes_nothing(dmn_aoa, clip, predicted):
    again = StepConfig(unroll=False, remat=True)
    sums, gradients = _loss(dmn_aoa, clip, DMNAOALoss(), again)
    np.testing.assert_allclose(sums.loss, predicted[0].loss, rtol=1e-5)
    for one, other in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(predicted[1]), strict=True
    ):
        scale = max(float(np.abs(other).max()), 1e-3)
        np.testing.assert_allclose(one, other, atol=1e-3 * scale)


# Coarse masks' own cross entropy takes longer than this, if it falls at all.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "falling"),
    [
        (DMNAOALoss(boxes="given"), ["segmentation"]),
        (SMALL, ["segmentation", "matching"]),
    ],
    ids=["given", "small"],
)
def test_losses_fall(dmn_aoa, clip, loss, falling):
    method, variables = dmn_aoa
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, key):
        def total(params):
            sums = loss(
                *(method, {**variables, "params": params}, clip, key, LOOPED, 0)
            )
            return sums.loss, sums.terms

        gradients, terms = jax.grad(total, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, terms

    params = method.as_twins(variables["params"])
    state, history = optimizer.init(params), []
    for key in jax.random.split(KEY, 30):
        params, state, terms = step(params, state, key)
        history.append(terms)
    for name in falling:
        first, last = (np.mean([x[name] for x in part]) for part in _ends(history))
        assert last < 0.8 * first, name


def _ends(history):
    return history[:3], history[-3:]


# Errors


def test_a_method_of_another_kind_is_refused(clip):
    with pytest.raises(InputError, match="STM is no DMN-AOA network; leave the obj"):
        DMNAOALoss()(create("stm"), {}, clip, KEY, StepConfig(), 0)


def test_clips_without_proposals_are_refused(dmn_aoa, clip):
    with pytest.raises(InputError, match="the clips have no proposals; name"):
        DMNAOALoss()(*dmn_aoa, clip._replace(inputs=None), KEY, StepConfig(), 0)


def test_a_clip_of_one_frame_is_refused(dmn_aoa, clip):
    short = clip._replace(frames=clip.frames[:1], labels=clip.labels[:1])
    with pytest.raises(InputError, match="clips of 1 frame: use 2 or more"):
        DMNAOALoss()(*dmn_aoa, short, KEY, StepConfig(), 0)


def test_true_masks_in_the_memory_are_refused(dmn_aoa, clip):
    config = StepConfig(memory_mask="gt")
    with pytest.raises(InputError, match="memory_mask='gt': the objective remembers"):
        DMNAOALoss()(*dmn_aoa, clip, KEY, config, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": "true"}, "boxes='true': use one of given, predicted"),
        ({"memory": "every5"}, "memory='every5': use one of all, first, prev"),
        ({"box_shift": 0.5}, "box_shift=0.5: use less than 0.5"),
        ({"coarse_loss_weight": -1}, "coarse_loss_weight=-1: use a finite number"),
        ({"match_loss": "mse"}, "match_loss='mse': use one of squared, cross_entropy"),
        ({"match_loss_weight": True}, "match_loss_weight=True: use a finite number"),
        ({"n_grad": 0}, "n_grad=0: use a whole number of at least 1"),
    ],
)
def test_settings_out_of_range_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        DMNAOALoss(**options)


def test_json_holds_all_of_it():
    loss = DMNAOALoss(boxes="given")
    assert DMNAOALoss(**json.loads(json.dumps(asdict(loss)))) == loss
