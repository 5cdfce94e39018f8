"""LCM as a method: first and previous frames, its modules, objects, and variants."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.methods.every import NARROW, narrow
from tests.methods.steps import run, times
from vos_jax.errors import InputError
from vos_jax.inference.capacity import reserve
from vos_jax.methods import create
from vos_jax.methods.lcm.model import LCMConfig
from vos_jax.methods.stm import STMConfig
from vos_jax.methods.weights import variable_shapes
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops.memory_bank import FIRST, Moment

SIZE = (37, 59)
CELL = 16
NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""

PGM = {"query_local", "memory_local", "position_guidance"}
ORM = {"object_relation"}


@pytest.fixture(scope="module")
def lcm():
    return narrow("lcm")


@pytest.fixture(scope="module")
def video():
    """Noise with two squares, and their masks."""
    rng = np.random.default_rng(0)
    frames = rng.random((12, *SIZE, 3)).astype(np.float32)
    masks = np.zeros((2, *SIZE), np.float32)
    masks[0, 3:24, 4:30] = 1
    masks[1, 20:35, 32:56] = 1
    return frames, masks


def by_time(bank, o):
    """Entries of an object by the time of their frame."""
    own = np.asarray(bank.time)[:, o]
    return {
        int(t): jax.tree.map(lambda x, slot=slot: np.asarray(x[slot, o]), bank.entries)
        for slot, t in enumerate(own)
        if t >= 0
    }


def the(bank, o):
    """The only entry of an object in a bank of one slot."""
    return jax.tree.map(lambda x: np.asarray(x[0, o]), bank.entries)


def coverage_of(masks):
    """Shares of cells, from masks that are padded as frames are."""
    extra = [-side % CELL for side in SIZE]
    pads = [(0, 0), *((n // 2, n - n // 2) for n in extra)]
    masks = np.pad(np.asarray(masks, np.float64), pads)
    rows, columns = (side // CELL for side in masks.shape[1:])
    return masks.reshape(-1, rows, CELL, columns, CELL).mean((2, 4))


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def assert_near(tree, other):
    near = partial(np.testing.assert_allclose, rtol=NOISE, atol=NOISE)
    jax.tree.map(near, tree, other)


@pytest.fixture(scope="module")
def started(lcm, video):
    """With two free slots of four, which objects come to that are late."""
    return vos_jax.start(*lcm, video[0][0], video[1], objects=4, frames=12)


@pytest.fixture(scope="module")
def looped(lcm, video, started):
    """States and outputs after each of the frames 1 to 11."""
    return run(lcm, started, video[0][1:])


def part(bound, name, memory, query):
    """What a part of a network finds."""
    active = [memory.bank.filled.any(0)] if name == "read" else []
    return getattr(bound, name)(memory, query, *active)


@pytest.fixture(scope="module")
def queries(lcm, video):
    """Queries of frames 0 to 7."""
    method, variables = lcm
    encode = jax.jit(partial(method.apply, variables, method="encode"))
    return [encode(frame).query for frame in video[0][:8]]


# What is remembered


@pytest.mark.slow
def test_the_bank_holds_the_frames_of_stm(looped):
    read = [sorted(t for t in times(s.memory.bank)[0] if t >= 0) for s in looped[0]]
    assert read[:5] == [[0], [0, 1], [0, 2], [0, 2, 3], [0, 2, 4]]


def test_the_place_is_that_of_the_frame_before(started, looped):
    befores = [started, *looped[0]]
    for t, (before, state) in enumerate(zip(befores, looped[0], strict=False)):
        place = state.memory.previous
        assert times(place) == [[t], [t], [-1], [-1]]
        expected = coverage_of(before.probs[1:])
        for o in range(2):
            np.testing.assert_allclose(the(place, o).coverage, expected[o], atol=1e-6)


def test_the_place_knows_nothing_of_older_frames(lcm, looped):
    """Memorised by an empty memory, a frame leaves the same place."""
    method, variables = lcm
    before, after = looped[0][5:7]
    memory = method.init_memory(*SIZE, 4, 2)
    moment = Moment(before.time, before.active, before.first, jnp.bool_(False))
    memorize = jax.jit(partial(method.apply, variables, method="memorize"))
    alone = memorize(memory, before.frame, (), before.probs, moment).previous
    assert_near(alone.entries, after.memory.previous.entries)
    older = looped[0][5].memory.previous.entries.key
    assert np.abs(alone.entries.key - older).max() > 1e-3


def sums_of(value, coverage):
    """What is kept of an object's cells, added up one by one."""
    least = min(0.5, coverage.max())
    chosen = [
        np.float64(value[cell])
        for cell in np.ndindex(coverage.shape)
        if coverage[cell] >= least
    ]
    products = sum(np.outer(v, v) for v in chosen)
    return products / coverage.size, sum(chosen) / coverage.size, np.mean(chosen, 0)


def assert_first(state, o, time, mask):
    """An object's first cells are those of its value in that frame under that mask."""
    memory = state.memory
    assert times(memory.first)[o] == [time]
    assert np.asarray(memory.bank.time)[FIRST, o] == time
    value = np.asarray(memory.bank.entries.value)[FIRST, o]
    expected = sums_of(value, coverage_of(mask[None])[0])
    for found, sums in zip(the(memory.first, o), expected, strict=True):
        np.testing.assert_allclose(found, sums, rtol=1e-5, atol=1e-5)


def test_the_first_cells_are_those_of_the_given_mask(video, looped):
    for o in range(2):
        assert_first(looped[0][0], o, 0, video[1][o])


def test_the_first_cells_never_change(looped):
    for state in looped[0][1:]:
        assert_same(state.memory.first, looped[0][0].memory.first)


def test_a_longer_video_needs_slots_of_the_bank_only(lcm):
    # Of 10 and of 38 frames' slots: 6 and 20, with room for 6 and 24.
    few, many = (vos_jax.state_bytes(lcm[0], SIZE, 2, n) for n in (10, 38))
    assert many - few == (24 - 6) * 2 * (3 * 4 * (8 + 32) * 4 + 4)


# The network in time


def test_a_memory_that_grows_keeps_what_it_holds(lcm, looped):
    state = looped[0][7]
    grown = reserve(lcm[0], state, 40, objects=6)
    assert grown.memory.bank.capacity == 24
    assert grown.memory.previous.capacity == grown.memory.first.capacity == 1
    for bank, known in zip(grown.memory, state.memory, strict=True):
        assert times(bank)[2:] == [[-1] * bank.capacity] * 4
        for o in range(2):
            assert_same(by_time(bank, o), by_time(known, o))


@pytest.mark.slow
def test_a_video_longer_than_reserved_goes_on_as_if_it_had_been(lcm, video, looped):
    state = vos_jax.start(*lcm, video[0][0], video[1], objects=4, frames=5)
    assert state.memory.bank.capacity == 4
    states, outputs = run(lcm, state, video[0][1:9])
    assert states[-1].memory.bank.capacity == 8
    for out, other in zip(outputs, looped[1], strict=False):
        np.testing.assert_allclose(out.probs, other.probs, atol=NOISE)
    # Beginning with the frame that made the memory grow.
    for grown, known in zip(states[6:], looped[0][6:], strict=False):
        assert_near(grown.memory.previous, known.memory.previous)
        assert_near(grown.memory.first, known.memory.first)


# Objects


@pytest.fixture(scope="module")
def late_mask():
    """It covers no cell by half, and one more than the other."""
    mask = np.zeros(SIZE, np.float32)
    mask[:9, 40:] = 1
    return mask


@pytest.fixture(scope="module")
def late(lcm, video, looped, late_mask):
    """Object 7 comes in frame 3; states after frames 4 to 7."""
    state = vos_jax.add_masks(*lcm, looped[0][2], video[0][3], late_mask[None], ids=[7])
    return run(lcm, state, video[0][4:8])


def test_a_late_object_has_its_own_first_frame(looped, late, late_mask):
    shares = coverage_of(late_mask[None])
    assert (shares > 0).sum() == 2 and shares.max() < 0.5
    for state in late[0]:
        assert_first(state, 2, 3, late_mask)
        assert times(state.memory.first) == [[0], [0], [3], [-1]]
        assert_same(state.memory.first, late[0][0].memory.first)
        for o in range(2):
            assert_same(the(state.memory.first, o), the(looped[0][0].memory.first, o))
    for out in late[1]:
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)
        assert np.asarray(out.probs[3]).std() > 1e-3
        assert not np.asarray(out.probs[4]).any()


def test_a_late_object_has_its_place_of_the_frame_before(late, late_mask):
    places = [state.memory.previous for state in late[0]]
    assert [times(p) for p in places] == [[[t]] * 3 + [[-1]] for t in (3, 4, 5, 6)]
    masks = [late_mask, *(out.probs[3] for out in late[1])]
    for place, mask in zip(places, masks, strict=False):
        expected = coverage_of(mask[None])[0]
        np.testing.assert_allclose(the(place, 2).coverage, expected, atol=1e-6)


def test_objects_are_read_as_if_alone(lcm, late, queries):
    method, variables = lcm
    memory = late[0][2].memory
    alone_in = jax.tree.map(lambda x: x[:, 2:3] if x.ndim > 1 else x, memory)
    for name in ("read", "position_map", "relate"):
        apply = jax.jit(partial(part, method.bind(variables), name))
        together, alone = apply(memory, queries[7]), apply(alone_in, queries[7])
        np.testing.assert_allclose(together[2], alone[0], rtol=NOISE, atol=NOISE)
        assert np.abs(together[2] - together[1]).max() > 1e-3
        assert np.isfinite(together).all()


def test_a_slot_used_again_has_the_first_frame_of_the_new_object(lcm, video, late):
    frames, _ = video
    mask = np.zeros(SIZE, np.float32)
    mask[20:, 3:30] = 1
    state = vos_jax.remove_object(late[0][0], 1)
    for bank in state.memory:
        assert times(bank)[0] == [-1] * bank.capacity
    state = vos_jax.add_masks(*lcm, state, frames[4], mask[None], ids=[9])
    states, _ = run(lcm, state, frames[5:8])
    assert_first(states[-1], 0, 4, mask)
    assert times(states[-1].memory.previous)[0] == [6]
    assert sorted(by_time(states[-1].memory.bank, 0)) == [4, 6]


def test_a_removed_object_leaves_the_others_memory(lcm, video, late):
    state = vos_jax.remove_object(late[0][0], 1)
    states, outputs = run(lcm, state, video[0][5:8])
    memory = states[-1].memory
    assert times(memory.first) == [[-1], [0], [3], [-1]]
    assert times(memory.previous) == [[-1], [6], [6], [-1]]
    for o in (1, 2):
        assert_same(the(memory.first, o), the(late[0][0].memory.first, o))
    for out in outputs:
        assert not np.asarray(out.probs[1]).any()
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)


def test_guidance_follows_a_corrected_frame_and_relations_the_first_one(
    lcm, video, looped
):
    frames, masks = video
    moved = np.roll(masks[:1], 6, axis=-1)
    state = vos_jax.add_masks(*lcm, looped[0][2], frames[3], moved, ids=[1])
    states, outputs = run(lcm, state, frames[4:7])
    memory, known = states[0].memory, looped[0][3].memory
    place = the(memory.previous, 0)
    np.testing.assert_allclose(place.coverage, coverage_of(moved)[0], atol=1e-6)
    assert np.abs(place.key - the(known.previous, 0).key).max() > 1e-3
    assert times(states[-1].memory.previous)[:2] == [[5], [5]]
    for state in states:
        assert_same(state.memory.first, known.first)
    # It is kept, too, as frame 3 is not by the schedule.
    assert sorted(by_time(states[-1].memory.bank, 0)) == [0, 2, 3, 4, 5]
    assert np.abs(outputs[0].probs - looped[1][3].probs).max() > 1e-3


def test_a_first_frame_that_is_corrected_in_time_is_first_as_corrected(
    lcm, video, started
):
    frames, masks = video
    moved = np.roll(masks[:1], 6, axis=-1) * (1 - masks[1:])
    state = vos_jax.add_masks(*lcm, started, frames[0], moved, ids=[1])
    states, _ = run(lcm, state, frames[1:2])
    assert_first(states[0], 0, 0, moved[0])
    assert_first(states[0], 1, 0, masks[1])


# Modules and their switches


@pytest.fixture(scope="module")
def parts_as(lcm, looped, queries):
    """What a network of the same weights finds in frame 7."""
    method, variables = lcm
    memory = looped[0][6].memory

    def parts(*names, **changes):
        config = dataclasses.replace(method.config, **changes)
        bound = method.clone(config=config).bind(variables)
        own = memory._replace(
            previous=memory.previous if config.use_pgm else None,
            first=memory.first if config.use_orm else None,
        )

        @jax.jit
        def apply(memory, query):
            return [part(bound, name, memory, query) for name in names]

        return [np.asarray(x) for x in apply(own, queries[7])]

    return parts


@pytest.fixture(scope="module")
def plain(parts_as):
    """Read, position map, related value and own value of all modules."""
    return parts_as("read", "position_map", "relate", "own_value")


def test_guidance_adds_the_value_times_the_map(plain, parts_as, queries):
    _, likely, related, own = plain
    value = np.asarray(queries[7].value)
    assert 0 < likely.min() and likely.max() < 1
    np.testing.assert_allclose(
        own, related + likely[..., None] * value[None], rtol=NOISE, atol=NOISE
    )
    (guided,) = parts_as("own_value", use_orm=False)
    np.testing.assert_allclose(
        guided, (1 + likely[..., None]) * value[None], rtol=NOISE, atol=NOISE
    )


def test_relations_replace_the_value(plain, parts_as, queries):
    (own,) = parts_as("own_value", use_pgm=False)
    np.testing.assert_allclose(own, plain[2], rtol=NOISE, atol=NOISE)
    assert np.abs(own - np.asarray(queries[7].value)[None]).max() > 1e-2


@pytest.mark.parametrize(
    "options",
    [{"position_k": 1}, {"position_normalize": False}, {"pgm_scale": False}],
    ids=str,
)
def test_options_of_guidance_change_the_map(options, parts_as, plain):
    (likely,) = parts_as("position_map", **options)
    assert np.isfinite(likely).all()
    assert np.abs(likely - plain[1]).max() > 1e-3


def test_more_memory_cells_than_there_are_count_as_all(parts_as):
    more, everything = (parts_as("position_map", position_k=k)[0] for k in (99, 12))
    np.testing.assert_array_equal(more, everything)


@pytest.mark.parametrize("read", ["reference", "slots"])
def test_the_implementation_of_reads_changes_rounding_only(read, parts_as, plain):
    found = parts_as("read", "position_map", read=read)
    for x, y in zip(found, plain, strict=False):
        np.testing.assert_allclose(x, y, rtol=NOISE, atol=NOISE)


@pytest.fixture(scope="module")
def retrieval(video):
    """Probabilities of frames 1 to 4 of a network with global retrieval alone."""
    model = narrow("lcm", use_pgm=False, use_orm=False)
    return model, _short(model, video)[1]


def _short(model, video):
    """The state of frame 4, and probabilities of frames 1 to 4."""
    state = vos_jax.start(*model, video[0][0], video[1], frames=12)
    states, outputs = run(model, state, video[0][1:5])
    return states[-1], np.stack([out.probs for out in outputs])


@pytest.fixture(scope="module")
def shortly(looped):
    """The same of the whole network."""
    return np.stack([out.probs[:3] for out in looped[1][:4]])


@pytest.mark.slow
def test_global_retrieval_alone_is_stm(retrieval, video, shortly):
    (_, variables), probs = retrieval
    stm = narrow("stm")
    assert_same(variables, stm[1])
    _, expected = _short(stm, video)
    # The same operations on the same numbers: not even rounding differs.
    np.testing.assert_array_equal(probs, expected)
    assert np.abs(probs - shortly).max() > 1e-2


@pytest.fixture(scope="module")
def segment_without_retrieval(lcm, looped, queries, video):
    """Logits of frame 7, from memories."""
    method, variables = lcm
    config = dataclasses.replace(method.config, use_grm=False)
    bound = method.clone(config=config).bind(variables)

    @jax.jit
    def segment(memory):
        active = jnp.arange(4) < 2
        return bound.segment(memory, queries[7], video[0][7], active).logits

    return segment


def test_without_retrieval_the_bank_does_not_matter(
    lcm, looped, segment_without_retrieval, parts_as
):
    memory = looped[0][6].memory
    logits = segment_without_retrieval(memory)

    def scrambled(bank):
        entries = jax.tree.map(lambda x: jnp.flip(x, (2, 3)), bank.entries)
        return bank._replace(entries=entries)

    changed = segment_without_retrieval(memory._replace(bank=scrambled(memory.bank)))
    np.testing.assert_array_equal(changed, logits)
    (read,) = parts_as("read", use_grm=False)
    assert not read.any()
    other = memory._replace(previous=scrambled(memory.previous))
    assert np.abs(segment_without_retrieval(other) - logits).max() > 1e-3
    cells = jax.tree.map(lambda x: x / 2, memory.first.entries)
    other = memory._replace(first=memory.first._replace(entries=cells))
    assert np.abs(segment_without_retrieval(other) - logits).max() > 1e-3


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("use_pgm",), PGM),
        (("use_orm",), ORM),
        (("use_pgm", "use_orm"), PGM | ORM),
        (("use_grm",), set()),
    ],
    ids=["pgm", "orm", "both", "grm"],
)
def test_a_network_has_no_parameters_for_modules_it_does_without(lcm, without, missing):
    method, variables = lcm
    config = dataclasses.replace(method.config, **dict.fromkeys(without, False))
    shapes = variable_shapes(method.clone(config=config))
    assert variables["params"].keys() - shapes["params"].keys() == missing
    memory = jax.eval_shape(
        lambda: method.clone(config=config).init_memory(32, 32, 1, 2)
    )
    assert (memory.previous is None) == ("query_local" in missing)
    assert (memory.first is None) == ("object_relation" in missing)


# Configuration


@pytest.fixture(scope="module")
def saved(lcm, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    vos_jax.save_weights(path, "lcm", *lcm)
    return path


def test_weights_and_their_configuration_survive_a_file(lcm, saved):
    settings = {"mem_every": 3, "position_k": 2, "use_grm": False}
    method, variables = vos_jax.load_model("lcm", saved, **settings)
    assert method.config == dataclasses.replace(lcm[0].config, **settings)
    assert_same(variables, lcm[1])


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("use_pgm",), PGM),
        (("use_orm",), ORM),
        (("use_pgm", "use_orm"), PGM | ORM),
    ],
    ids=["pgm", "orm", "both"],
)
def test_weights_serve_a_network_with_fewer_modules(without, missing, lcm, saved):
    options = dict.fromkeys(without, False)
    method, variables = vos_jax.load_model("lcm", saved, **options)
    # Settings of a network are not part of its file.
    own = {**options, "mem_every": 5, "position_k": 8}
    assert method.config == dataclasses.replace(lcm[0].config, **own)
    expected = {k: x for k, x in lcm[1]["params"].items() if k not in missing}
    assert_same(variables, {**lcm[1], "params": expected})


@pytest.mark.parametrize("option", ["position_normalize", "pgm_scale"])
def test_what_weights_were_trained_with_stays(option, saved):
    with pytest.raises(InputError, match=f"{option}=True; leave that option out"):
        vos_jax.load_model("lcm", saved, **{option: False})


def test_weights_without_a_module_do_not_serve_a_network_with_it(retrieval, tmp_path):
    path = tmp_path / "retrieval.safetensors"
    vos_jax.save_weights(path, "lcm", *retrieval[0])
    method, _ = vos_jax.load_model("lcm", path)
    assert not method.config.use_pgm and not method.config.use_orm
    with pytest.raises(InputError, match=r"lack object_relation, which use_orm=True"):
        vos_jax.load_model("lcm", path, use_orm=True)


def test_slots_follow_the_policy_up_to_the_capacity():
    assert create("lcm").slots(11) == 4
    assert create("lcm", mem_every=2).slots(11) == 7
    assert create("lcm", mem_every=None).slots(11) == 2
    assert create("lcm", mem_capacity=3).slots(11) == 3


def test_memory_starts_empty_and_in_the_compute_type():
    method = create("lcm", dtype="bfloat16")
    memory = jax.eval_shape(lambda: method.init_memory(480, 854, 3, 7))
    grid, half, full = (3, 30, 54), jnp.bfloat16, jnp.float32
    found = [(x.shape, x.dtype) for bank in memory for x in bank.entries]
    assert found == [
        ((7, *grid, 128), half),
        ((7, *grid, 512), half),
        ((1, *grid, 128), half),
        ((1, *grid), full),
        ((1, 3, 512, 512), full),
        ((1, 3, 512), full),
        ((1, 3, 512), full),
    ]
    small = create("lcm", local_dim=4, key_dim=4, value_dim=16).init_memory(
        32, 32, 3, 2
    )
    for bank in small:
        assert times(bank) == [[-1] * bank.capacity] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local_dim": 6}, "local_dim=6: use a multiple of 4"),
        ({"local_dim": 0}, "local_dim=0: use a multiple of 4"),
        ({"local_dim": 8.0}, "local_dim=8.0: use a whole number"),
        ({"position_k": 0}, "position_k=0: use at least 1"),
        ({"position_k": None}, "position_k=None: use a whole number"),
        ({"position_normalize": 1}, "position_normalize=1: use True or False"),
        ({"pgm_scale": "no"}, "pgm_scale='no': use True or False"),
        ({"use_grm": 0}, "use_grm=0: use True or False"),
        ({"use_pgm": 0}, "use_pgm=0: use True or False"),
        ({"use_orm": 0}, "use_orm=0: use True or False"),
        (
            {"use_grm": False, "use_pgm": False, "use_orm": False},
            "use_orm=False: nothing of the memory is used; keep one",
        ),
        ({"top_k": 0}, "top_k=0: use at least 1"),
        ({"mem_capacity": 1}, "mem_capacity=1 leaves no room"),
        ({"mem_every": 0}, "every=0: use at least 1"),
        ({"read": "fast"}, "read='fast': use one of"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(InputError, match=f"'lcm'.*{message}"):
        create("lcm", **options)


@pytest.mark.parametrize("zero_init", [True, False])
def test_places_alone_speak_at_first_where_branches_begin_at_zero(zero_init):
    backbone = ResNetConfig(depth=18, width=4, zero_init=zero_init)
    method = create("lcm", **{**NARROW["lcm"], "backbone": backbone})
    branches = ("query_local", "memory_local", "object_relation")

    @jax.jit
    def kernels(key):
        """No others, so that no others are drawn."""
        frame, masks = jnp.zeros((32, 32, 3)), jnp.zeros((1, 32, 32))
        params = method.init(key, frame, masks)["params"]
        project = params["position_guidance"]["project"]
        return [part["kernel"] for part in (project, *map(params.get, branches))]

    project, *others = kernels(jax.random.key(0))
    assert project.any()
    for kernel in others:
        assert (not kernel.any()) == zero_init


def test_the_defaults_are_the_published_network():
    method = create("lcm")
    config = method.config
    assert config == LCMConfig()
    for field in dataclasses.fields(STMConfig):
        assert getattr(config, field.name) == getattr(STMConfig(), field.name)
    assert (config.local_dim, config.position_k) == (128, 8)
    assert config.position_normalize and config.pgm_scale
    assert config.use_grm and config.use_pgm and config.use_orm
    params = variable_shapes(method)["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == 41_597_602
    shapes = jax.tree.map(jnp.shape, {k: params[k] for k in PGM | ORM})
    local = {"kernel": (3, 3, 1024, 128), "bias": (128,)}
    assert shapes == {
        "query_local": local,
        "memory_local": local,
        "position_guidance": {"project": {"kernel": (1, 1, 128, 128), "bias": (128,)}},
        "object_relation": {
            "kernel": (1, 1, 512, 512),
            "bias": (512,),
            "squeeze": {"kernel": (512, 32), "bias": (32,)},
            "open": {"kernel": (32, 512), "bias": (512,)},
        },
    }
