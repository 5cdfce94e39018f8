"""DMN-AOA as it stands alone: memories, late objects, proposals, configuration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.clips import moving_clip
from tests.methods.every import tiny
from tests.methods.proposals import proposals_of
from tests.methods.steps import run, times
from vos_jax.convert.weights import read_metadata
from vos_jax.errors import InputError
from vos_jax.methods import create, find_entry
from vos_jax.methods.dmn_aoa.config import MEMORY_SAMPLING, DMNAOAConfig
from vos_jax.methods.dmn_aoa.memory import Slot, readable
from vos_jax.methods.dmn_aoa.proposals import TrainingInputs
from vos_jax.methods.weights import shipped_weights, variable_shapes
from vos_jax.ops import memory_bank
from vos_jax.ops.boxes import enlarge, paste, tight_boxes
from vos_jax.ops.memory_bank import Bank, Moment
from vos_jax.types import Proposals

FRAMES, LABELS = (x[:, 1:31, 2:46] for x in moving_clip(8))
SIZE = FRAMES.shape[1:3]
NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""


@pytest.fixture(scope="module")
def model():
    """Segments by proposals alone, and keeps what it found of them.

    The other half of the network sees nothing of them but coarse masks.
    """
    options = {"use_refinenet": False, "late_objects": False}
    return tiny("dmn-aoa", keep_coarse=True, **options)


@pytest.fixture(scope="module")
def proposals():
    return proposals_of(LABELS[2])


@pytest.fixture(scope="module")
def started(model):
    return vos_jax.start(*model, FRAMES[0], LABELS[0], objects=3, frames=6)


@pytest.fixture(scope="module")
def looped(model, started, proposals):
    return run(model, started, FRAMES[1:5], proposals)


def assert_near(found, expected, tolerance=NOISE):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Proposals


@pytest.mark.slow
def test_what_is_not_valid_changes_nothing(model, started, looped, proposals):
    """Neither proposals nor object slots, whatever they hold."""
    junk = ~proposals.valid
    assert junk.any()
    rng = np.random.default_rng(0)
    filled = Proposals(
        np.where(junk[:, None], rng.uniform(0, 30, (30, 4)), proposals.boxes),
        np.where(junk[:, None, None], rng.random((30, *SIZE)) < 0.5, proposals.masks),
        np.where(junk, 9, proposals.scores),
        proposals.valid,
    )
    filled = filled._replace(boxes=filled.boxes.astype(np.float32))
    filled = filled._replace(scores=filled.scores.astype(np.float32))
    _, outputs = run(model, started, FRAMES[1:3], filled)
    for out, known in zip(outputs, looped[1], strict=False):
        np.testing.assert_array_equal(out.probs, known.probs)


@pytest.mark.slow
def test_the_order_of_proposals_is_irrelevant(model, started, proposals):
    """Of an object that any is most like; else it begins with the first of them."""
    count = int(proposals.valid.sum())
    order = np.r_[np.random.default_rng(0).permutation(count), count:30]
    moved = Proposals(*(x[order] for x in proposals))
    alone = vos_jax.remove_object(started, 2)
    found, other = (run(model, alone, FRAMES[1:2], x) for x in (proposals, moved))
    assert_near(other[1][0].probs, found[1][0].probs)
    weights = [np.asarray(x[0][0].memory.weights) for x in (found, other)]
    assert_near(weights[1], weights[0][:, order])


def test_coarse_masks_are_sums_of_the_proposals_masks(looped, proposals):
    memory = looped[0][0].memory
    weights = np.asarray(memory.weights) * proposals.valid
    total = np.einsum("on,nhw->ohw", weights, proposals.masks)
    assert (total[:2] > 1).any() and not total[2].any()
    np.testing.assert_allclose(memory.coarse, np.clip(total, 0, 1), atol=1e-5)
    assert np.asarray(memory.similarity)[:2, proposals.valid].std() > 0


def test_without_any_proposal_coarse_masks_are_empty(model, started, proposals):
    nothing = proposals._replace(valid=np.zeros(30, bool))
    states, outputs = run(model, started, FRAMES[1:2], nothing)
    assert not np.asarray(states[0].memory.coarse).any()
    assert np.isfinite(np.asarray(outputs[0].probs)).all()


@pytest.mark.slow
def test_gradients_reach_templates_memory_and_weights_of_proposals(
    model, looped, proposals
):
    method, variables = model
    state = looped[0][1]
    query = jax.jit(lambda x: method.apply(variables, x, method="encode"))(
        FRAMES[3] / np.float32(255)
    )[0]

    @jax.jit
    @jax.grad
    def slopes(parts):
        value, levels = parts
        entries = state.memory.bank.entries._replace(value=value)
        memory = state.memory._replace(bank=state.memory.bank._replace(entries=entries))
        template = method.apply(variables, memory, levels, state.active, method="read")
        found = method.apply(
            *(variables, memory, levels, FRAMES[3], state.active, proposals, template),
            method="match",
        )
        return found.coarse[:2].sum()

    value, levels = slopes((state.memory.bank.entries.value, query))
    for leaf in jax.tree.leaves((value, levels)):
        assert np.isfinite(leaf).all() and np.asarray(leaf).any()
    # Where they are above 1, too: a wrong one has to count less.
    assert (np.asarray(looped[0][1].memory.coarse) == 1).any()


# Memory


def _bank(time, shows):
    """Of entries without content, as lists of slots by object."""
    time, shows = np.int32(time).T, np.array(shows).T
    nothing = jnp.zeros((*time.shape, 1, 1, 1))
    return Bank(Slot(nothing, nothing, jnp.asarray(shows)), jnp.asarray(time), 1)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("first+prev", [[1, 1, 1], [0, 1, 0], [0, 0, 0]]),
        ("first", [[0, 1, 1], [0, 1, 0], [0, 0, 0]]),
        # Nothing of what may be read shows the second object: then all of it counts.
        ("prev", [[1, 0, 1], [1, 0, 1], [0, 0, 0]]),
    ],
)
def test_frames_are_read_that_show_the_object(sampling, expected):
    bank = _bank(
        [[7, 0, 5], [7, 2, 5], [-1, -1, -1]],
        [[True, True, True], [False, True, False], [True, True, True]],
    )
    found = readable(bank, sampling, jnp.int32(7))
    np.testing.assert_array_equal(found.T, np.array(expected, bool))


def test_the_memories_of_the_papers_table_hold_their_frames():
    expected = {
        "every5": [0, 5, 6],
        "first": [0],
        "prev": [6],
        "first+prev": [0, 6],
        "all": [0, 1, 2, 3, 4, 5, 6],
    }
    everything, nothing = np.ones(1, bool), np.zeros((1, 1, 1, 1), np.float32)
    write = jax.jit(memory_bank.write, static_argnums=1)
    for name, frames in expected.items():
        config = DMNAOAConfig(**MEMORY_SAMPLING[name])
        assert create("dmn-aoa", **MEMORY_SAMPLING[name]).slots(7) <= 8
        bank = memory_bank.empty(Slot(nothing, nothing, everything), 8)
        for time in range(7):
            moment = Moment(time, everything, everything & (time == 0), np.False_)
            entry = Slot(nothing, nothing, everything)
            bank = write(bank, config.policy, entry, moment)
        read = readable(bank, config.memory_sampling, jnp.int32(6))
        assert sorted(np.asarray(bank.time)[np.asarray(read)].tolist()) == frames, name


def test_an_object_that_is_lost_keeps_its_box_and_is_not_read_there(
    model, looped, proposals
):
    state = looped[0][1]
    gone = np.zeros((1, *SIZE), np.float32)
    state = vos_jax.add_masks(*model, state, FRAMES[2], gone, ids=[1])
    state = run(model, state, FRAMES[3:4], proposals)[0][0]
    track = state.memory.track.entries
    before = looped[0][1].memory.track.entries
    np.testing.assert_array_equal(track.box[0, 0], before.box[0, 0])
    assert np.abs(np.asarray(track.box[0, 1] - before.box[0, 1])).max() > 0
    bank = state.memory.bank
    latest = np.asarray(bank.time) == 2
    assert latest[:, 0].any()
    read = np.asarray(readable(bank, "first+prev", state.memory.time))
    assert not (read & latest)[:, 0].any() and (read & latest)[:, 1].any()


@pytest.mark.slow
def test_given_boxes_take_the_place_of_the_masks(model, started, looped, proposals):
    boxes = jnp.array([[2.0, 3, 20, 25], [20, 5, 40, 28], [0, 0, 9, 9]])
    shows = jnp.array([True, False, True])
    keep = started.keep._replace(boxes=boxes, shows=shows)
    state = run(model, started._replace(keep=keep), FRAMES[1:2], proposals)[0][0]
    # What pads 30 x 44 to 32 x 48 begins at (2, 1).
    corner = np.array([2, 1, 2, 1])
    box = np.asarray(state.memory.track.entries.box[0])
    np.testing.assert_array_equal(box[0], boxes[0] + corner)
    np.testing.assert_array_equal(box[1], [2, 1, 46, 31])
    # The first frame is read whatever it is said to show.
    assert np.asarray(state.memory.bank.entries.shows)[1, :2].all()


@pytest.mark.slow
def test_query_boxes_change_where_an_object_is_looked_for(
    model, started, looped, proposals
):
    known = looped[0][0]
    box = known.memory.track.entries.box[0] - jnp.array([[2, 1, 2, 1]])
    same, other = (
        run(model, started, FRAMES[1:2], TrainingInputs(proposals, boxes))
        for boxes in (box, box + jnp.array([[5.0, 0, 5, 0]]))
    )
    np.testing.assert_array_equal(same[1][0].probs, looped[1][0].probs)
    assert np.abs(np.asarray(other[1][0].probs - looped[1][0].probs)).max() > 1e-6
    np.testing.assert_array_equal(
        other[0][0].memory.track.entries.box, known.memory.track.entries.box
    )


# Late objects


@pytest.fixture(scope="module")
def alone():
    """A network that finds each object by itself, but for the last softmax."""
    return tiny("dmn-aoa", use_matcher=False)


@pytest.mark.slow
def test_a_late_object_is_what_it_were_in_a_video_of_its_own(alone):
    """RefineNet looks at its own first frame, and its time begins there."""
    assert alone[0].inputs is None
    state = vos_jax.start(*alone, FRAMES[0], LABELS[0], ids=[1], objects=3, frames=6)
    state = run(alone, state, FRAMES[1:3])[0][-1]
    state = vos_jax.add_masks(*alone, state, FRAMES[2], LABELS[2:3] == 2, ids=[2])
    late = run(alone, state, FRAMES[3:6])
    assert times(late[0][-1].memory.first) == [[0], [2], [-1]]
    own = vos_jax.start(*alone, FRAMES[2], LABELS[2:3] == 2, objects=3, frames=6)
    anew = run(alone, own, FRAMES[3:4])
    found, known = late[1][0].logits[2], anew[1][0].logits[1]
    assert_near(jax.nn.sigmoid(found), jax.nn.sigmoid(known))
    # The first object's frame is looked at as before.
    without = run(alone, vos_jax.remove_object(state, 2), FRAMES[3:4])
    for out, other in ((late[1][0], without[1][0]),):
        assert_near(*(jax.nn.sigmoid(x.logits[1]) for x in (out, other)))


# Configuration


@pytest.mark.slow
def test_a_network_has_no_parameters_for_modules_it_does_without(model):
    whole = dataclasses.replace(model[0].config, use_refinenet=True)
    params = variable_shapes(model[0].clone(config=whole))["params"].keys()
    for option, missing, more in (
        ("use_dmn", {"memory_encoder", "query_encoder"}, set()),
        ("use_matcher", {"matcher"}, {"mask_head"}),
        ("use_refinenet", {"refine_net"}, set()),
        ("use_aoa", set(), set()),
    ):
        config = dataclasses.replace(whole, **{option: False})
        own = variable_shapes(model[0].clone(config=config))["params"].keys()
        assert own == (params - missing) | more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 5}, "top_k=5: DMN-AOA reads all cells"),
        ({"level_dims": (128, 128)}, "use three whole numbers"),
        ({"level_dims": (128, 128, 250)}, "use a sum that is a multiple of 4"),
        ({"level_dims": (120, 128, 256)}, "use multiples of groups=32"),
        ({"refine_dim": 100}, "refine_dim=100: use multiples of groups=32"),
        ({"memory_sampling": "first"}, "mem_every=5: use mem_every=None"),
        ({"memory_sampling": "last"}, "memory_sampling='last': use one of"),
        ({"mem_capacity": 1}, "mem_capacity=1 leaves no room"),
        ({"frame_memory": True, "use_dmn": False}, "there is no memory"),
        ({"n_grad": 0}, "n_grad=0: use at least 1"),
        ({"alpha": 0.0}, "alpha=0.0: use more than 0"),
        ({"box_pad": -0.1}, "box_pad=-0.1: use at least 0"),
        ({"average": "all"}, "average='all': use one of"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(InputError, match=f"'dmn-aoa'.*{message}"):
        create("dmn-aoa", **options)


def test_a_name_may_be_written_with_an_underscore(tmp_path, model):
    assert create("dmn_aoa") == create("dmn-aoa")
    assert find_entry("dmn_aoa_tiny") is find_entry("dmn-aoa-tiny")
    path = tmp_path / "narrow.safetensors"
    stored = model[0].config
    stored = dataclasses.replace(stored, backbone=create("dmn-aoa").config.backbone)
    vos_jax.save_weights(
        path, "dmn_aoa", model[0].clone(config=stored), {"params": {"x": np.ones(2)}}
    )
    assert read_metadata(path).method == "dmn-aoa"
    assert shipped_weights("dmn_aoa_tiny") == shipped_weights("dmn-aoa-tiny")
    with pytest.raises(InputError, match="'dmn-aoa' comes without weights"):
        vos_jax.load_model("dmn_aoa")


def test_settings_are_what_tests_of_the_same_weights_may_vary():
    stored = vos_jax.methods.weights.architecture(create("dmn-aoa"))
    assert stored.keys() == {
        *("backbone", "level_dims", "align_dim", "refine_dim", "groups", "folded"),
        *("object_size", "box_pad", "alpha", "aoa_center", "frame_memory"),
        *("move_masks", "use_dmn", "use_aoa", "use_matcher", "use_refinenet"),
    }


# Boxes


def test_boxes_are_tight_and_empty_masks_are_told():
    masks = np.zeros((2, 9, 7), bool)
    masks[0, 3:5, 2] = True
    masks[0, 4, 6] = True
    boxes, shows = jax.jit(tight_boxes)(masks)
    assert boxes[0].tolist() == [2, 3, 7, 5] and shows.tolist() == [True, False]
    assert jax.jit(enlarge)(boxes, 0.5)[0].tolist() == [-0.5, 2, 9.5, 6]


def test_maps_are_pasted_into_their_boxes():
    rng = np.random.default_rng(0)
    maps = rng.random((1, 3, 3)).astype(np.float32)
    boxes = np.array([[2, 1, 8, 7]], np.float32)
    found = np.asarray(jax.jit(paste, static_argnums=(2, 3))(maps, boxes, 9, 10))[0]
    outside = np.ones((9, 10), bool)
    outside[1:7, 2:8] = False
    assert not found[outside].any()
    np.testing.assert_allclose(found[1, 2], maps[0, 0, 0], rtol=1e-6)
    between = 0.75 * maps[0, :, 0] + 0.25 * maps[0, :, 1]
    np.testing.assert_allclose(found[1, 3], between[0], rtol=1e-6)
