"""RDE-VOS and STCN as methods: what is remembered, how often, and for how long."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.methods.every import narrow
from tests.methods.steps import run
from vos_jax.errors import InputError, InputWarning
from vos_jax.inference import step as inference
from vos_jax.methods import create
from vos_jax.methods.rde.model import FIRST, LATEST, RECURRENT, RDEConfig
from vos_jax.methods.stcn.model import STCNConfig
from vos_jax.nn.encoders import KeyValue
from vos_jax.ops.memory_bank import Moment

SIZE = (37, 43)
NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""


@pytest.fixture(scope="module")
def rde():
    return narrow("rde")


@pytest.fixture(scope="module")
def stcn():
    return narrow("stcn", mem_every=2)


@pytest.fixture(scope="module")
def video():
    """Noise with two squares, and their masks."""
    rng = np.random.default_rng(0)
    frames = rng.random((12, *SIZE, 3)).astype(np.float32)
    masks = np.zeros((2, *SIZE), np.float32)
    masks[0, 5:20, 4:20] = 1
    masks[1, 14:30, 22:40] = 1
    return frames, masks


def times(state):
    return np.asarray(state.memory.bank.time).T.tolist()


@pytest.fixture(scope="module")
def started(rde, video):
    """With two free slots of four, which objects come to that are late."""
    return vos_jax.start(*rde, video[0][0], video[1], objects=4)


@pytest.fixture(scope="module")
def looped(rde, video, started):
    """States and outputs after each of the frames 1 to 8."""
    return run(rde, started, video[0][1:9])


def compiled(model, part):
    """A part of a network."""
    method, variables = model
    return jax.jit(partial(method.apply, variables, method=part))


# The recurrence in time


def test_every_third_frame_is_an_update(looped):
    first = [[-1, 0, -1]] * 3
    assert [times(state)[0] for state in looped[0]] == [
        *first,
        *[[3, 0, 3]] * 3,
        *[[6, 0, 6]] * 2,
    ]


def test_the_recurrent_embedding_begins_as_the_first_frame_and_is_carried_on(
    rde, looped
):
    aggregate = compiled(rde, "aggregate")
    banks = [looped[0][t].memory.bank.entries for t in (0, 3, 6)]
    before = _slot(banks[0], FIRST)
    for bank in banks[1:]:
        latest, found = _slot(bank, LATEST), _slot(bank, RECURRENT)
        expected = aggregate(before, latest)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x[:2], y[:2], atol=NOISE)
        before = found
        np.testing.assert_array_equal(bank.key[FIRST], banks[0].key[FIRST])
        assert np.abs(bank.value[LATEST] - bank.value[FIRST]).max() > 1e-3


def _slot(entries, slot):
    return jax.tree.map(lambda x: x[slot], entries)


def test_memory_and_compilations_are_those_of_the_first_frames_however_long(
    rde, video, started, looped
):
    compiled = inference._step_jitted._cache_size()
    state, _ = vos_jax.step(*rde, looped[0][-1], video[0][9])
    for time in range(60):
        state, out = vos_jax.step(*rde, state, video[0][time % 12])
    assert inference._step_jitted._cache_size() == compiled
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, started)
    assert times(state)[0] == [66, 0, 66]
    assert np.isfinite(out.probs).all()


def test_the_slots_of_a_video_do_not_depend_on_its_length():
    assert {create("rde").slots(n) for n in (1, 10, 100_000)} == {3}


# Strategies of the paper's table 5


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({}, 2, (1, 2, 1)),
        ({"first": 1}, 2, (1, 1, 1)),
        ({"first": 0}, 1, (1, 0, 1)),
        ({"first": 1, "latest": False}, 2, (0, 1, 1)),
        ({"first": 1, "latest": 2, "recurrent": False}, 1, (2, 1, 0)),
        ({"first": 0, "latest": False}, 1, (0, 0, 1)),
        ({"recurrent": False}, 1, (1, 2, 0)),
        ({"recurrent": False, "first": 0}, 1, (1, 0, 0)),
        ({"recurrent": False, "first": 1, "latest": False}, 1, (0, 1, 0)),
    ],
)
def test_a_strategy_says_how_often_each_slot_counts(options, before, after):
    method = create("rde", **options)
    recurrent = 3 if method.config.recurrent else -1

    def copies(latest, first, recurrent):
        time = np.zeros(3, np.int32)
        time[[LATEST, FIRST, RECURRENT]] = latest, first, recurrent
        counts = np.asarray(method.copies(jnp.asarray(time)))
        return tuple(counts[[LATEST, FIRST, RECURRENT]].tolist())

    assert copies(-1, 0, -1) == (0, before, 0)
    assert copies(3, 0, recurrent) == after
    assert copies(-1, -1, -1) == (0, 0, 0)


def test_strategies_without_the_recurrence_have_no_sam():
    method, variables = narrow("rde", recurrent=False)
    assert not any("aggregation" in name for name in variables["params"])
    entry = KeyValue(jnp.ones((1, 2, 2, 8)), jnp.ones((1, 2, 2, 16)))
    memory = method.init_memory(32, 32, 1, 3)
    everything, no = jnp.ones(1, bool), jnp.bool_(False)
    write = partial(method.apply, variables, method="write")
    memory = write(memory, entry, Moment(jnp.int32(0), everything, everything, no))
    memory = write(memory, entry, Moment(jnp.int32(3), everything, ~everything, no))
    time = np.asarray(memory.bank.time)[[LATEST, FIRST, RECURRENT], 0]
    assert time.tolist() == [3, 0, -1]


def test_what_a_strategy_leaves_out_is_not_read(rde, looped):
    method, variables = rde
    state = looped[0][4]
    query = compiled(rde, "encode")(state.frame).query
    bank, everything = state.memory.bank, state.active

    @partial(jax.jit, static_argnums=0)
    def read(options, without):
        changed = dataclasses.replace(method.config, **dict(options))
        value = bank.entries.value.at[without].set(0)
        entries = bank.entries._replace(value=value)
        memory = state.memory._replace(bank=bank._replace(entries=entries))
        return (
            method.clone(config=changed).bind(variables).read(memory, query, everything)
        )

    for options, slot in (
        ({"first": 0, "top_k": None}, FIRST),
        ({"latest": False, "top_k": None}, LATEST),
        ({"recurrent": False, "top_k": None}, RECURRENT),
    ):
        options = tuple(options.items())
        others = [s for s in (LATEST, FIRST, RECURRENT) if s != slot]
        plain = read(options, 3)
        np.testing.assert_array_equal(read(options, slot), plain)
        for other in others:
            assert np.abs(read(options, other) - plain).max() > 1e-4


# Objects


@pytest.fixture(scope="module")
def late(rde, video, looped):
    """Object 7 comes in frame 2; states after frames 3 to 6."""
    mask = np.zeros((1, *SIZE), np.float32)
    mask[0, :12, 22:] = 1
    state = vos_jax.add_masks(*rde, looped[0][1], video[0][2], mask, ids=[7])
    return run(rde, state, video[0][3:7])


def test_a_late_object_has_its_own_first_frame_and_updates_the_others(late):
    old, new, free = [2, 0, 2], [-1, 2, -1], [-1, -1, -1]
    assert times(late[0][0]) == [old, old, new, free]
    # The count begins anew: the next update is three frames later, not at frame 3.
    assert times(late[0][2]) == [old, old, new, free]
    assert times(late[0][3]) == [[5, 0, 5], [5, 0, 5], [5, 2, 5], free]
    for out in late[1]:
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)
        assert np.asarray(out.probs[3]).std() > 1e-3
        assert not np.asarray(out.probs[4]).any()


def _alone(memory, o):
    """The memory of one object."""
    bank = jax.tree.map(lambda x: x[:, o : o + 1], memory.bank._replace(kept=()))
    return memory._replace(bank=bank._replace(kept=memory.bank.kept))


def test_objects_whose_memories_differ_are_read_as_if_alone(rde, video, late):
    query = compiled(rde, "encode")(video[0][7]).query
    read = compiled(rde, "read")
    memory, active = late[0][1].memory, jnp.arange(4) < 3
    together = read(memory, query, active)
    for o in range(3):
        alone = read(_alone(memory, o), query, jnp.ones(1, bool))
        np.testing.assert_allclose(together[o], alone[0], atol=NOISE)
    shared = read(memory, query, jnp.arange(4) < 2)
    np.testing.assert_allclose(together[:2], shared[:2], atol=NOISE)


def test_a_removed_object_leaves_background_and_the_others_memory(rde, video, late):
    state = vos_jax.remove_object(late[0][0], 1)
    np.testing.assert_allclose(state.probs.sum(0), 1, rtol=1e-5)
    states, outputs = run(rde, state, video[0][4:7])
    assert times(states[-1]) == [[-1] * 3, [5, 0, 5], [5, 2, 5], [-1] * 3]
    for out in outputs:
        assert not np.asarray(out.probs[1]).any()
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)


def test_a_slot_used_again_remembers_nothing_of_the_old_object(rde, video, late):
    frames, _ = video
    mask = np.zeros((1, *SIZE), np.float32)
    mask[0, 20:, 3:20] = 1
    state = vos_jax.remove_object(late[0][0], 1)
    dirty = state.memory.masks.at[0].set(0.7)
    results = []
    for memory in (state.memory, state.memory._replace(masks=dirty)):
        known = state._replace(memory=memory)
        known = vos_jax.add_masks(*rde, known, frames[3], mask, ids=[9])
        states, outputs = run(rde, known, frames[4:5])
        assert times(states[0])[0] == [-1, 3, -1]
        results.append(outputs[0].probs)
    np.testing.assert_array_equal(*results)


def test_a_corrected_frame_is_an_update_of_all(rde, video, looped):
    frames, masks = video
    state = vos_jax.add_masks(*rde, looped[0][0], frames[1], masks[:1], ids=[1])
    states, outputs = run(rde, state, frames[2:3])
    assert times(states[0])[:2] == [[1, 0, 1]] * 2
    assert np.abs(outputs[0].probs - looped[1][1].probs).max() > 1e-4


# STCN


@pytest.fixture(scope="module")
def growing(stcn, video):
    state = vos_jax.start(*stcn, video[0][0], video[1], frames=12)
    return run(stcn, state, video[0][1:8])


@pytest.mark.slow
def test_stcn_keeps_the_first_and_every_nth_frame(growing):
    kept = [sorted(t for t in times(state)[0] if t >= 0) for state in growing[0]]
    assert kept == [[0], [0], [0, 2], [0, 2], [0, 2, 4], [0, 2, 4], [0, 2, 4, 6]]


def test_stcn_counts_every_slot_once(stcn):
    time = jnp.array([-1, 0, 2, 4, -1])
    assert np.asarray(stcn[0].copies(time)).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.slow
def test_stcn_reserves_memory_as_the_video_goes_on(stcn, video, growing):
    short = vos_jax.start(*stcn, video[0][0], video[1], frames=5)
    assert short.memory.bank.capacity == 4
    states, outputs = run(stcn, short, video[0][1:8])
    assert states[-1].memory.bank.capacity == 8
    assert sorted(times(states[-1])[0])[-4:] == [0, 2, 4, 6]
    np.testing.assert_allclose(outputs[-1].probs, growing[1][-1].probs, atol=NOISE)


@pytest.mark.slow
def test_stcn_loses_no_frame_when_an_object_comes_late(video):
    """Its frame is kept beside those of the schedule, which then begins anew."""
    frames, masks = video
    model = narrow("stcn", mem_every=4)
    state = vos_jax.start(*model, frames[0], masks[:1], frames=8, objects=2)
    assert state.memory.bank.capacity == 3
    states, _ = run(model, state, frames[1:3])
    state = vos_jax.add_masks(*model, states[-1], frames[2], masks[1:], ids=[2])
    states, _ = run(model, state, frames[3:8])
    kept = [sorted(t for t in own if t >= 0) for own in times(states[-1])]
    assert kept == [[0, 2, 6], [2, 6]]


@pytest.mark.slow
def test_a_bounded_memory_of_stcn_gives_way_from_the_oldest(video):
    model = narrow("stcn", mem_every=1, mem_capacity=4)
    state = vos_jax.start(*model, video[0][0], video[1])
    states, _ = run(model, state, video[0][1:6])
    assert sorted(times(states[-1])[0]) == [-1, 0, 3, 4]


# Configuration


def test_slots_of_stcn_follow_the_policy_up_to_the_capacity():
    assert create("stcn").slots(11) == 4
    assert create("stcn", mem_every=3).slots(11) == 5
    assert create("stcn", mem_capacity=3).slots(11) == 3


@pytest.mark.parametrize("name", ["rde", "stcn"])
def test_weights_and_their_configuration_survive_a_file(name, tmp_path):
    other = {"value_backbone": {"depth": 34, "width": 4}, "decoder_dims": [12, 8, 4]}
    method, variables = narrow(name, **other)
    path = tmp_path / "narrow.safetensors"
    vos_jax.save_weights(path, name, method, variables)
    loaded, arrays = vos_jax.load_model(name, path, top_k=5)
    assert loaded.config.decoder_dims == (12, 8, 4)
    assert loaded.config.value_backbone.depth == 34
    assert loaded == method and hash(loaded) == hash(method)
    assert jax.tree.structure(arrays) == jax.tree.structure(variables)
    for x, y in zip(jax.tree.leaves(arrays), jax.tree.leaves(variables), strict=True):
        np.testing.assert_array_equal(x, y)


def test_strategies_of_one_weights_file_are_chosen_when_it_is_loaded(rde, tmp_path):
    path = tmp_path / "narrow.safetensors"
    vos_jax.save_weights(path, "rde", *rde)
    method, _ = vos_jax.load_model("rde", path, first=1, latest=False, mem_every=5)
    assert (method.config.first, method.config.latest) == (1, False)
    with pytest.raises(InputError, match="key_dim=8; leave that option out"):
        vos_jax.load_model("rde", path, key_dim=4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rde", {"first": 3}, "first=3: use 0, 1 or 2"),
        ("rde", {"latest": 3}, "latest=3: use 0, 1 or 2"),
        (
            "rde",
            {"first": 0, "latest": False, "recurrent": False},
            "first=0, latest=False, recurrent=False: nothing is read",
        ),
        ("rde", {"mem_every": 0}, "mem_every=0: use at least 1"),
        ("stcn", {"top_k": 0}, "top_k=0: use at least 1, or None"),
        ("stcn", {"mem_every": 0}, "mem_every=0: use at least 1"),
        ("stcn", {"mem_capacity": 1}, "mem_capacity=1: use at least 2, or None"),
        ("stcn", {"read": "fast"}, "read='fast': use one of"),
        ("stcn", {"dtype": "float16"}, "dtype='float16'"),
        ("rde", {"value_backbone": {"depth": 20}}, "depth=20"),
        ("stcn", {"first": 1}, "no option first"),
    ],
)
def test_an_option_out_of_range_is_named(name, options, message):
    with pytest.raises(InputError, match=f"'{name}'.*{message}"):
        create(name, **options)


def test_an_option_that_changes_nothing_is_told():
    with pytest.warns(InputWarning, match="mem_capacity=20 changes nothing: RDE-VOS"):
        create("rde", mem_capacity=20)


def test_the_defaults_are_the_published_networks():
    config = create("rde").config
    assert config == RDEConfig()
    assert (config.mem_every, config.top_k) == (3, 40)
    assert (config.first, config.latest, config.recurrent) == (2, True, True)
    config = create("stcn").config
    assert config == STCNConfig()
    assert (config.mem_every, config.top_k, config.mem_capacity) == (5, 20, None)
    assert (config.key_dim, config.value_dim, config.backbone.depth) == (64, 512, 50)


def test_memory_starts_empty_and_in_the_compute_type():
    method = create("rde", dtype="bfloat16")
    memory = jax.eval_shape(lambda: method.init_memory(480, 854, 3, 3))
    assert memory.bank.entries.key.shape == (3, 3, 30, 54, 64)
    assert memory.bank.entries.value.dtype == jnp.bfloat16
    assert memory.masks.shape == (3, 480, 864)
