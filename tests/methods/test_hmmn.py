"""HMMN as a method: tracks, kernels, what is remembered where, and its variants."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vos_jax
from tests.by_default import by_default
from tests.methods.hmmn_weights import narrow
from tests.methods.steps import run, times
from vos_jax.errors import InputError
from vos_jax.inference import step as inference
from vos_jax.methods import create
from vos_jax.methods.hmmn.config import HMMNConfig
from vos_jax.methods.stm import STMConfig
from vos_jax.ops.memory_bank import FIRST
from vos_jax.ops.read import space_time_read

SIZE = (52, 84)
GRID = (4, 6)
CELLS = GRID[0] * GRID[1]
WINDOW = 3
NOISE = 2e-5
"""Programs compiled for other shapes add in another order."""


@pytest.fixture(scope="module")
def hmmn():
    """The window is small, so that the grid is larger."""
    return narrow(window=WINDOW)


@pytest.fixture(scope="module")
def video():
    """Noise with two squares, and their masks."""
    rng = np.random.default_rng(0)
    frames = rng.random((12, *SIZE, 3)).astype(np.float32)
    masks = np.zeros((2, *SIZE), np.float32)
    masks[0, 5:30, 4:36] = 1
    masks[1, 24:48, 42:80] = 1
    return frames, masks


@pytest.fixture(scope="module")
def started(hmmn, video):
    """With two free slots of four, which objects come to that are late."""
    return vos_jax.start(*hmmn, video[0][0], video[1], objects=4, frames=12)


@pytest.fixture(scope="module")
def looped(hmmn, video, started):
    """States and outputs after each of the frames 1 to 11."""
    return run(hmmn, started, video[0][1:])


@pytest.fixture(scope="module")
def queries(hmmn, video):
    """Queries of all frames."""
    method, variables = hmmn
    encode = jax.jit(partial(method.apply, variables, method="encode"))
    return [encode(frame).query for frame in video[0]]


# Tracks and kernels


def local_match(memory_key, query_key, window):
    """The rule, cell by cell."""
    reach, found = window // 2, np.zeros(GRID, int)
    scores = np.einsum(
        "yxc,vuc->yxvu", np.float64(memory_key), np.float64(query_key)
    ).reshape(*GRID, -1)
    for y, x in np.ndindex(*GRID):
        rows = range(max(y - reach, 0), min(y + reach + 1, GRID[0]))
        columns = range(max(x - reach, 0), min(x + reach + 1, GRID[1]))
        inside = [row * GRID[1] + column for row in rows for column in columns]
        found[y, x] = max(inside, key=lambda cell: (scores[y, x, cell], -cell))
    return found.reshape(-1)


def by_time(leaf, bank, o):
    """Entries of an object by the time of their frame."""
    own = np.asarray(bank.time)[:, o]
    return {int(t): np.asarray(leaf)[slot, o] for slot, t in enumerate(own) if t >= 0}


@pytest.fixture(scope="module")
def chains(looped, queries):
    """For each frame from 1 and each object: tracks by time, and the last hop."""
    found, known = [], [{}, {}]
    for t, state in enumerate(looped[0], 1):
        hops = []
        for o in range(2):
            bank = state.memory.bank
            key = by_time(bank.entries.key, bank, o)[t - 1]
            hop = local_match(key, queries[t].key, WINDOW)
            known[o] = {s: hop[track] for s, track in known[o].items()} | {t - 1: hop}
            hops.append(hop)
        found.append(([dict(own) for own in known], hops))
    return found


@pytest.mark.slow
def test_tracks_are_chains_of_local_matches(looped, chains):
    moved = 0
    for state, (expected, _) in zip(looped[0], chains, strict=True):
        bank = state.memory.bank
        for o in range(2):
            tracks = by_time(bank.entries.track, bank, o)
            for time, track in tracks.items():
                np.testing.assert_array_equal(track.reshape(-1), expected[o][time])
                moved += (expected[o][time] != np.arange(CELLS)).sum()
    assert moved > 100


@pytest.fixture(scope="module")
def guided(hmmn, video, looped, queries):
    """The memory of frame 7 before its tracks are moved on, and the kernels."""
    method, variables = hmmn
    state = looped[0][5]
    memory = inference._memorize(method, variables, state)

    def kernel(**changes):
        changed = dataclasses.replace(method.config, **changes)
        guide = method.clone(config=changed).bind(variables).guide
        return jax.jit(guide)(memory, queries[7])[1]

    return memory, kernel


@pytest.mark.slow
def test_a_kernel_of_an_older_frame_is_one_hop_ahead_of_its_track(guided, chains):
    memory, kernel = guided
    tracks, hops = chains[6]
    for o in range(2):
        centres = by_time(kernel().centre, memory.bank, o)
        assert sorted(centres) == [0, 2, 4, 6]
        for time, centre in centres.items():
            track = tracks[o][time]
            expected = track if time == 6 else hops[o][track]
            np.testing.assert_array_equal(centre.reshape(-1), expected)


def test_the_papers_kernel_is_where_the_track_ends(guided, chains):
    memory, kernel = guided
    for o in range(2):
        centres = by_time(kernel(kernel_centre="paper").centre, memory.bank, o)
        for time, centre in centres.items():
            np.testing.assert_array_equal(centre.reshape(-1), chains[6][0][o][time])


def test_the_global_kernel_is_at_the_best_match_of_all(guided, queries):
    memory, kernel = guided
    found = kernel(kernel_centre="global").centre
    key, query = np.asarray(memory.bank.entries.key), np.asarray(queries[7].key)
    scores = np.einsum("nohwc,yxc->nohwyx", key, query)
    expected = scores.reshape(*key.shape[:4], -1).argmax(-1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("options", "steps"), [({}, 1.5), ({"sigma_step": 0.5}, 0.5)])
def test_kernels_grow_with_the_age_of_their_frame(guided, options, steps):
    memory, kernel = guided
    sigma = by_time(kernel(**options).sigma, memory.bank, 0)
    ages = {6: 0, 4: 1, 2: 2, 0: 3}
    assert sigma == {time: 3 + steps * age for time, age in ages.items()}


# The network in time


def test_the_fine_memory_is_the_first_and_the_previous_frame(looped):
    fine = [times(state.memory.fine)[0] for state in looped[0]]
    assert fine == [[-1, 0], *[[t, 0] for t in range(1, 11)]]
    read = [sorted(t for t in times(s.memory.bank)[0] if t >= 0) for s in looped[0]]
    assert read[:5] == [[0], [0, 1], [0, 2], [0, 2, 3], [0, 2, 4]]


def test_candidates_are_cells_of_the_frames_with_fine_entries(hmmn, looped, queries):
    """The same cells as by the definition: the best weights of the coarse read."""
    method, variables = hmmn
    memory, query = looped[0][6].memory, queries[7]
    bank, bound = memory.bank, method.bind(variables)
    _, kernel = jax.jit(bound.guide)(memory, query)
    cells = jax.jit(bound.candidates)(memory, query, kernel)
    places = np.stack(np.divmod(np.arange(CELLS), GRID[1]), -1)
    for o in range(2):
        rows = []
        keys = by_time(bank.entries.key, bank, o)
        centres = by_time(kernel.centre, bank, o)
        sigmas = by_time(kernel.sigma, bank, o)
        for time in (6, 0):
            score = (
                np.asarray(query.key).reshape(CELLS, -1)
                @ keys[time].reshape(CELLS, -1).T
            )
            apart = places[:, None] - places[centres[time].reshape(-1)][None]
            spread = (apart**2).sum(-1) / (2 * sigmas[time] ** 2)
            rows.append(score * 8**-0.5 - spread)
        best = np.argsort(-np.concatenate(rows, -1), axis=-1)[:, :8]
        for stage, count in ((3, 8), (2, 2)):
            found = np.asarray(cells[stage].index[o]).reshape(CELLS, -1)
            assert cells[stage].usable[o].all() and found.shape[1] == count
            np.testing.assert_array_equal(found, best[:, :count])


@pytest.mark.slow
def test_a_memory_that_grows_keeps_tracks(hmmn, video, looped):
    state = vos_jax.start(*hmmn, video[0][0], video[1], objects=4, frames=5)
    assert state.memory.bank.capacity == 4
    states, outputs = run(hmmn, state, video[0][1:9])
    assert states[-1].memory.bank.capacity == 8
    assert states[-1].memory.fine.capacity == 2
    for grown, known in zip(states, looped[0], strict=False):
        tracks = (
            by_time(s.memory.bank.entries.track, s.memory.bank, 1)
            for s in (grown, known)
        )
        jax.tree.map(np.testing.assert_array_equal, *tracks)
    for out, other in zip(outputs, looped[1], strict=False):
        np.testing.assert_allclose(out.probs, other.probs, atol=NOISE)


@pytest.mark.slow
def test_a_bounded_memory_gives_way_from_the_oldest(video):
    model = narrow(mem_every=1, mem_capacity=4)
    state = vos_jax.start(*model, video[0][0], video[1])
    states, outputs = run(model, state, video[0][1:7])
    kept = [sorted(times(s.memory.bank)[0]) for s in states]
    assert kept[2:] == [[-1, 0, 1, 2], [-1, 0, 2, 3], [-1, 0, 3, 4], [-1, 0, 4, 5]]
    assert states[-1].memory.bank.capacity == 4
    assert np.isfinite(outputs[-1].probs).all()


# Objects


@pytest.fixture(scope="module")
def late(hmmn, video, looped):
    """Object 7 comes in frame 3; states after frames 4 to 7."""
    mask = np.zeros((1, *SIZE), np.float32)
    mask[0, :20, 50:] = 1
    state = vos_jax.add_masks(*hmmn, looped[0][2], video[0][3], mask, ids=[7])
    return run(hmmn, state, video[0][4:8])


def test_a_late_object_has_its_own_first_frame_and_tracks(late, queries):
    memory = late[0][0].memory
    assert times(memory.fine) == [[3, 0], [3, 0], [-1, 3], [-1, -1]]
    assert np.asarray(memory.bank.time[FIRST]).tolist() == [0, 0, 3, -1]
    bank = memory.bank
    hop = local_match(by_time(bank.entries.key, bank, 2)[3], queries[4].key, WINDOW)
    np.testing.assert_array_equal(bank.entries.track[FIRST, 2].reshape(-1), hop)
    fine = [times(state.memory.fine)[2] for state in late[0]]
    assert fine == [[-1, 3], [4, 3], [5, 3], [6, 3]]
    for out in late[1]:
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)
        assert np.asarray(out.probs[3]).std() > 1e-3
        assert not np.asarray(out.probs[4]).any()


@pytest.mark.slow
def test_objects_are_read_as_if_alone(hmmn, late, queries):
    method, variables = hmmn
    memory = late[0][2].memory
    read = jax.jit(partial(method.apply, variables, method="read"))
    together = read(memory, queries[7], late[0][2].active)
    alone_in = jax.tree.map(lambda x: x[:, 2:3] if x.ndim > 1 else x, memory)
    alone = read(alone_in, queries[7], jnp.ones(1, bool))
    pairs = [(together.coarse, alone.coarse)]
    pairs += [(together.fine[stage], alone.fine[stage]) for stage in (3, 2)]
    for several, single in pairs:
        np.testing.assert_allclose(several[2], single[0], atol=NOISE)
        assert not np.asarray(several[3]).any()
        assert np.abs(several[2] - several[1]).max() > 1e-3


def _tracks(state):
    bank = state.memory.bank
    return bank.entries.track, bank


def test_a_removed_object_leaves_the_others_memory(hmmn, video, late):
    state = vos_jax.remove_object(late[0][0], 1)
    states, outputs = run(hmmn, state, video[0][5:8])
    assert times(states[-1].memory.fine) == [[-1, -1], [6, 0], [6, 3], [-1, -1]]
    for out in outputs:
        assert not np.asarray(out.probs[1]).any()
        np.testing.assert_allclose(out.probs.sum(0), 1, rtol=1e-5)


def test_a_corrected_frame_is_kept_and_followed(hmmn, video, looped, queries):
    frames, masks = video
    state = vos_jax.add_masks(*hmmn, looped[0][0], frames[1], masks[:1], ids=[1])
    states, outputs = run(hmmn, state, frames[2:4])
    bank = states[-1].memory.bank
    assert sorted(by_time(*_tracks(states[-1]), 0)) == [0, 1, 2]
    hops = [
        local_match(by_time(b.entries.key, b, 0)[t - 1], queries[t].key, WINDOW)
        for t, b in ((2, states[0].memory.bank), (3, bank))
    ]
    track = by_time(*_tracks(states[-1]), 0)[1]
    np.testing.assert_array_equal(track.reshape(-1), hops[1][hops[0]])
    assert np.abs(outputs[0].probs - looped[1][1].probs).max() > 1e-4


# Variants


@pytest.fixture(scope="module")
def read_as(hmmn, looped, queries):
    """What a network of the same weights reads in frame 7."""
    method, variables = hmmn
    state = looped[0][6]

    def read(**changes):
        changed = dataclasses.replace(method.config, **changes)
        read = method.clone(config=changed).bind(variables).read
        # Its tracks end in that frame already; one hop more is as good an example.
        return jax.jit(read)(state.memory, queries[7], state.active)

    return read


@pytest.fixture(scope="module")
def plain_read(read_as):
    return read_as()


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_guided": False},
        {"kernel_centre": "paper"},
        *by_default(
            [
                {"kernel_centre": "global"},
                {"window": 5},
                {"sigma_step": 0.5},
                {"sigma": 7.0},
            ]
        ),
    ],
    ids=str,
)
def test_guidance_changes_all_reads(options, read_as, plain_read):
    coarse, fine, _ = read_as(**options)
    for found, plain in ((coarse, plain_read.coarse), (fine[3], plain_read.fine[3])):
        assert np.isfinite(found).all()
        assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"selection": "random"},
        *by_default([{"selection": "strided"}, {"selection": "all"}, {"k": 16}]),
    ],
    ids=str,
)
def test_the_selection_changes_fine_reads_alone(options, read_as, plain_read):
    coarse, fine, _ = read_as(**options)
    np.testing.assert_array_equal(coarse, plain_read.coarse)
    for stage in (3, 2):
        assert np.isfinite(fine[stage]).all()
        assert np.abs(fine[stage] - plain_read.fine[stage]).max() > 1e-3


def test_enough_candidates_are_the_dense_read(read_as):
    dense, best = (read_as(**o).fine[3] for o in ({"selection": "all"}, {"k": 48}))
    np.testing.assert_allclose(best, dense, atol=NOISE)


def test_a_window_of_the_whole_frame_is_one_of_any_larger_size(read_as):
    whole, large = (read_as(window=window) for window in (None, 2 * max(GRID) + 1))
    np.testing.assert_array_equal(whole.track, large.track)
    np.testing.assert_array_equal(whole.coarse, large.coarse)


def test_stride_4_reads_the_first_quarter_of_the_drawn_cells(looped, queries):
    method, variables = narrow(window=WINDOW, selection="random", k=16)
    memory, query = looped[0][6].memory, queries[7]
    cells = method.bind(variables).candidates(memory, query, None)
    np.testing.assert_array_equal(cells[2].index, cells[3].index[..., :4])


@pytest.mark.slow
def test_random_candidates_are_the_same_when_a_video_is_run_again(read_as):
    runs = [read_as(selection="random").fine[3] for _ in range(2)]
    np.testing.assert_array_equal(*runs)


def test_without_guidance_the_coarse_read_is_that_of_stm(read_as, looped, queries):
    found = read_as(kernel_guided=False)
    bank = looped[0][6].memory.bank
    expected = space_time_read(
        queries[7].key, bank.entries.key, bank.entries.value, bank.filled
    )
    np.testing.assert_allclose(found.coarse, expected, atol=NOISE)
    np.testing.assert_array_equal(found.track, bank.entries.track)


def _short(model, video):
    """The state of frame 4, and probabilities of frames 1 to 4."""
    state = vos_jax.start(*model, video[0][0], video[1], frames=12)
    states, outputs = run(model, state, video[0][1:5])
    return states[-1], np.stack([out.probs for out in outputs])


@pytest.fixture(scope="module")
def plain(looped):
    return np.stack([out.probs[:3] for out in looped[1][:4]])


@pytest.mark.parametrize("stages", by_default([(3,), (2,), ()], [()]), ids=str)
def test_a_network_may_do_without_fine_stages(stages, video, plain):
    state, probs = _short(narrow(window=WINDOW, fine_stages=stages), video)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    assert np.abs(probs - plain).max() > 1e-3
    fine = state.memory.fine
    assert () == stages if fine is None else tuple(fine.entries) == stages


@pytest.mark.slow
def test_fine_memories_of_kept_frames_are_read_where_they_are_wanted(video, plain):
    state, probs = _short(narrow(window=WINDOW, fine_kept=True), video)
    memory = state.memory
    assert times(memory.fine) == times(memory.bank)
    assert sorted(t for t in times(memory.fine)[0] if t >= 0) == [0, 2, 3]
    # Frame 4 is the first that has another frame to read.
    np.testing.assert_allclose(probs[:3], plain[:3], atol=NOISE)
    assert np.abs(probs[3] - plain[3]).max() > 1e-4


def test_the_network_without_fine_stages_has_no_parameters_for_them():
    full, without = (narrow(fine_stages=s)[1]["params"] for s in ((3, 2), ()))
    fine = {"query_fine_heads", "memory_fine_heads", "fine_convs"}
    assert full.keys() - without.keys() == fine


# Configuration


def test_weights_and_their_configuration_survive_a_file(hmmn, tmp_path):
    path = tmp_path / "narrow.safetensors"
    vos_jax.save_weights(path, "hmmn", *hmmn)
    settings = {"mem_every": 3, "k": 8, "window": WINDOW}
    method, variables = vos_jax.load_model("hmmn", path, **settings)
    assert method.config == dataclasses.replace(hmmn[0].config, mem_every=3)
    jax.tree.map(np.testing.assert_array_equal, variables, hmmn[1])
    without, fewer = vos_jax.load_model("hmmn", path, fine_stages=())
    assert without.config.fine_stages == ()
    assert fewer["params"].keys() == narrow(fine_stages=())[1]["params"].keys()


def test_slots_follow_the_policy_up_to_the_capacity():
    assert create("hmmn").slots(11) == 4
    assert create("hmmn", mem_every=2).slots(11) == 7
    assert create("hmmn", mem_every=None).slots(11) == 2
    assert create("hmmn", mem_capacity=3).slots(11) == 3


def test_memory_starts_empty_and_in_the_compute_type():
    method = create("hmmn", dtype="bfloat16")
    memory = jax.eval_shape(lambda: method.init_memory(480, 854, 3, 7))
    assert memory.bank.entries.key.shape == (7, 3, 30, 54, 128)
    assert memory.bank.entries.value.shape == (7, 3, 30, 54, 512)
    assert memory.bank.entries.track.shape == (7, 3, 30, 54)
    assert memory.bank.entries.key.dtype == jnp.bfloat16
    assert memory.bank.entries.track.dtype == jnp.int32
    assert memory.fine.entries[3].key.dtype == jnp.bfloat16
    shapes = {s: [x.shape for x in kv] for s, kv in memory.fine.entries.items()}
    assert shapes == {
        3: [(2, 3, 60, 108, 128), (2, 3, 60, 108, 256)],
        2: [(2, 3, 120, 216, 64), (2, 3, 120, 216, 128)],
    }


def test_a_longer_video_needs_coarse_slots_only(hmmn):
    # Of 10 and of 38 frames' slots: 6 and 20, with room for 6 and 24.
    few, many = (
        vos_jax.state_bytes(hmmn[0], SIZE, 2, n, variables=hmmn[1]) for n in (10, 38)
    )
    assert many - few == (24 - 6) * 2 * (CELLS * ((8 + 16) * 4 + 4) + 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 20}, "top_k=20: HMMN reads all cells"),
        ({"k": 3}, "k=3: use at least 4"),
        ({"window": 4}, "window=4: use an odd number"),
        (
            {"memory_sampling": "prev", "mem_every": None},
            "memory_sampling='prev': fine",
        ),
        ({"sigma": 0.0}, "sigma=0.0: use at least 0.01"),
        ({"sigma": float("nan")}, "sigma=nan: use at least 0.01"),
        ({"fine_key_dims": (8,)}, "fine_key_dims=.8,.: use two whole numbers"),
        ({"sigma_step": -1.0}, "sigma_step=-1.0: use at least 0"),
        ({"fine_stages": (4,)}, r"fine_stages=\(4,\): use \(3, 2\)"),
        ({"fine_stages": 3}, r"fine_stages=3: use \(3, 2\)"),
        ({"selection": "worst"}, "selection='worst': use one of"),
        ({"kernel_centre": "local"}, "kernel_centre='local': use one of"),
        ({"kernel_guided": 1}, "kernel_guided=1: use True or False"),
        ({"mem_capacity": 1}, "mem_capacity=1 leaves no room"),
        ({"mem_every": 0}, "every=0: use at least 1"),
        ({"read": "fast"}, "read='fast': use one of"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(InputError, match=f"'hmmn'.*{message}"):
        create("hmmn", **options)


def test_the_defaults_are_the_published_network():
    config = create("hmmn").config
    assert config == HMMNConfig()
    for field in dataclasses.fields(STMConfig):
        assert getattr(config, field.name) == getattr(STMConfig(), field.name)
    assert (config.fine_key_dims, config.fine_value_dims) == ((128, 64), (256, 128))
    assert (config.k, config.window, config.sigma) == (32, 7, 3)
    assert (config.fine_stages, config.fine_kept) == ((3, 2), False)
    assert (config.kernel_guided, config.kernel_centre) == (True, "released")
    assert [stage.factor for stage in config.fine] == [2, 4]
