"""Matches, tracks and kernels against loops, and reads that are guided by them."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.guidance import (
    Kernel,
    global_match,
    kernel_guided_read,
    kernel_log,
    local_match,
)
from vos_jax.ops.read import space_time_read

IMPLEMENTATIONS = ["reference", "chunked"]

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

_local = jax.jit(local_match, static_argnames="window")
_read = jax.jit(kernel_guided_read, static_argnames="implementation")


# Matches and tracks


def _best(memory_key, query_key, row, column, window):
    """The best query cell for one memory cell, the first of those that tie."""
    height, width, _ = memory_key.shape
    reach, best, score = window // 2, None, -np.inf
    for y in range(max(row - reach, 0), min(row + reach + 1, height)):
        for x in range(max(column - reach, 0), min(column + reach + 1, width)):
            found = memory_key[row, column].astype(float) @ query_key[y, x]
            if found > score:
                best, score = y * width + x, found
    return best


def _brute_force(memory_key, query_key, window):
    height, width, _ = memory_key.shape
    cells = [
        _best(memory_key, query_key, *cell, window)
        for cell in np.ndindex(height, width)
    ]
    return np.reshape(cells, (height, width))


def _frames(count, cells=(5, 7), channels=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *cells, channels))


@pytest.mark.parametrize("window", [1, 3, 7, 15])
def test_local_matches_are_those_of_loops(window):
    memory_key, query_key = _frames(2).astype(np.float32)
    found = _local(memory_key, query_key, window=window)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, _brute_force(memory_key, query_key, window))


def test_of_cells_that_tie_the_first_row_by_row_is_the_match():
    rng = np.random.default_rng(0)
    memory_key, query_key = rng.integers(-1, 2, (2, 5, 7, 2)).astype(np.float32)
    for window in (3, 7):
        found = _local(memory_key, query_key, window=window)
        expected = _brute_force(memory_key, query_key, window)
        np.testing.assert_array_equal(found, expected)
    last = memory_key[::-1, ::-1], query_key[::-1, ::-1]
    mirrored = 34 - _brute_force(*last, 7)[::-1, ::-1]
    assert (mirrored != expected).any()  # So some of them do tie.


def test_windows_are_cut_at_the_border_even_where_all_scores_are_negative():
    """Cells beyond it would otherwise win with scores of zero."""
    memory_key, query_key = np.abs(_frames(2)).astype(np.float32)
    found = _local(memory_key, -query_key, window=7)
    np.testing.assert_array_equal(found, _brute_force(memory_key, -query_key, 7))


def test_a_window_without_a_middle_is_refused():
    key = jnp.zeros((2, 2, 1))
    for window in (0, 4):
        with pytest.raises(ValueError, match=f"window={window}: use an odd number"):
            local_match(key, key, window)


def test_a_window_of_the_whole_grid_matches_globally():
    memory_key, query_key = _frames(2).astype(np.float32)
    everywhere = jax.jit(global_match)(memory_key, query_key)
    assert everywhere.dtype == np.int32
    expected = (memory_key @ query_key.reshape(-1, 4).T).argmax(-1)
    np.testing.assert_array_equal(everywhere, expected)
    whole = _local(memory_key, query_key, window=15)
    np.testing.assert_array_equal(everywhere, whole)


def test_keys_of_half_precision_are_compared_in_full():
    """The sums 257 and 257 + 2^-7 are one bfloat16 number."""
    memory_key = jnp.ones((1, 2, 2), jnp.bfloat16)
    query_key = jnp.array([[[256, 1], [256, 1 + 2**-7]]], jnp.bfloat16)
    np.testing.assert_array_equal(local_match(memory_key, query_key), [[1, 1]])


def _walk(frames, row, column, start, window, again):
    """Where one cell of frame `start` is in the last frame, hop by hop."""
    width = frames.shape[2]
    last = len(frames) - 1
    for t in range(start, last):
        cell = _best(frames[t], frames[t + 1], row, column, window)
        row, column = divmod(cell, width)
    if again and start < last - 1:
        cell = _best(frames[last - 1], frames[last], row, column, window)
    return cell


@pytest.mark.parametrize("again", [False, True])
def test_chained_matches_are_the_walks_of_cells_through_the_frames(again):
    """With `again`, as in the released program, older cells take the last hop twice."""
    frames = _frames(6, seed=1).astype(np.float32)
    identity = jnp.arange(35)
    track = jnp.zeros((0, 35), int)
    for before, after in pairwise(frames):
        hop = _local(before, after, window=3).reshape(-1)
        track = hop[jnp.concatenate([track, identity[None]])]
    centre = track.at[:-1].set(hop[track[:-1]]) if again else track
    for start, found in enumerate(centre):
        expected = [_walk(frames, *cell, start, 3, again) for cell in np.ndindex(5, 7)]
        np.testing.assert_array_equal(found, expected)
    if again:
        assert (centre != track).any()


# Kernels and reads


def test_the_logarithm_of_a_kernel_is_its_distance_squared():
    centre = np.random.default_rng(0).integers(0, 12, (3, 4))
    log = np.asarray(kernel_log(jnp.asarray(centre), jnp.float32(1.5)))
    assert log.shape == (12, 12)
    for q, m in np.ndindex(12, 12):
        there, here = divmod(centre.reshape(-1)[m], 4), divmod(q, 4)
        distance = (there[0] - here[0]) ** 2 + (there[1] - here[1]) ** 2
        np.testing.assert_allclose(log[q, m], -distance / 4.5, rtol=1e-6)
    assert not log[centre.reshape(-1), np.arange(12)].any()


def _random(slots=4, objects=3, cells=(3, 4), key_dim=5, value_dim=6, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(*cells, key_dim))
    key = rng.normal(size=(slots, objects, *cells, key_dim))
    value = rng.normal(size=(slots, objects, *cells, value_dim))
    filled = rng.random((slots, objects)) < 0.6
    filled[0] = True
    filled[-1] = False
    centre = rng.integers(0, np.prod(cells), (slots, objects, *cells), np.int32)
    sigma = rng.uniform(0.7, 3, (slots, objects)).astype(np.float32)
    arrays = (x.astype(np.float32) for x in (query, key, value))
    return *arrays, filled, Kernel(centre, sigma)


def _gaussian(kernel, o, slots, row, column):
    """Weights of one query cell for all memory cells of some slots."""
    width = kernel.centre.shape[-1]
    there = np.divmod(kernel.centre[slots, o].reshape(len(slots), -1), width)
    distance = (there[0] - row) ** 2.0 + (there[1] - column) ** 2.0
    return np.exp(-distance / (2 * kernel.sigma[slots, o][:, None] ** 2.0)).reshape(-1)


def _loops(query, key, value, filled, kernel, dtype=np.float64):
    """Softmax, times the Gaussians, over the sum, as the released program has it."""
    objects, channels = filled.shape[1], query.shape[-1]
    out = np.zeros((objects, *query.shape[:2], value.shape[-1]), dtype)
    for o, row, column in np.ndindex(out.shape[:3]):
        slots = np.flatnonzero(filled[:, o])
        if not len(slots):
            continue
        keys = key[slots, o].reshape(-1, channels).astype(dtype)
        values = value[slots, o].reshape(len(keys), -1).astype(dtype)
        scores = keys @ query[row, column].astype(dtype) / np.sqrt(dtype(channels))
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        weights *= _gaussian(kernel, o, slots, row, column).astype(dtype)
        out[o, row, column] = weights @ values / weights.sum()
    return out


@each
def test_a_guided_read_is_the_softmax_times_the_kernel_over_its_sum(implementation):
    args = _random()
    expected = _loops(*args)
    noise = np.abs(_loops(*args, np.float32) - expected).max()
    out = _read(*args, implementation=implementation)
    # Eight times what float32 costs the same loops.
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * noise)
    plain = space_time_read(*args[:4])
    assert np.abs(out - plain).max() > 0.1


@each
def test_far_from_every_centre_a_read_is_finite(implementation):
    """Where weights below the smallest number would give 0 / 0."""
    query, key, value, filled, kernel = _random(cells=(1, 60))
    filled[:] = filled[:, :1]
    centre = kernel.centre % 3
    sigma = np.full_like(kernel.sigma, 2)
    kernel = Kernel(centre, sigma)
    far = _gaussian(kernel, 0, np.flatnonzero(filled[:, 0]), 0, 59).astype(np.float32)
    assert not far.any()
    out = np.asarray(
        _read(query, key, value, filled, kernel, implementation=implementation)
    )
    # Wide enough for float64, which is 10^-308 at its smallest.
    expected = _loops(query, key, value, filled, kernel)
    np.testing.assert_allclose(out, expected, atol=2e-4)


@each
def test_without_a_kernel_it_is_the_plain_read(implementation):
    args = _random()[:4]
    plain = partial(space_time_read, implementation=implementation)
    out = _read(*args, None, implementation=implementation)
    np.testing.assert_array_equal(out, jax.jit(plain)(*args))


@each
def test_a_very_wide_kernel_changes_nothing(implementation):
    *args, kernel = _random()
    wide = kernel._replace(sigma=np.full_like(kernel.sigma, 1e6))
    out = _read(*args, wide, implementation=implementation)
    np.testing.assert_allclose(out, space_time_read(*args), atol=1e-6)


@each
def test_a_very_narrow_kernel_reads_the_cell_that_came_here(implementation):
    *args, kernel = _random(slots=2)
    centre = np.random.default_rng(0).permutation(12).reshape(1, 1, 3, 4)
    centre = np.broadcast_to(centre, kernel.centre.shape).astype(np.int32)
    narrow = Kernel(centre, np.full_like(kernel.sigma, 0.1))
    out = np.asarray(_read(*args, narrow, implementation=implementation))
    value = args[2][0].reshape(3, 12, -1)
    came = out.reshape(3, 12, -1)[:, centre[0, 0].reshape(-1)]
    # A neighbour has exp(-50) of the weight.
    np.testing.assert_allclose(came, value, atol=1e-6)


@each
def test_slots_that_are_not_filled_change_nothing(implementation):
    query, key, value, filled, kernel = _random()
    plain = _read(query, key, value, filled, kernel, implementation=implementation)
    hole = ~filled[:, :, None, None]
    other = Kernel(
        np.where(hole, 11 - kernel.centre, kernel.centre),
        np.where(filled, kernel.sigma, 0.1).astype(np.float32),
    )
    key = np.where(hole[..., None], -3 * key, key)
    out = _read(query, key, value, filled, other, implementation=implementation)
    np.testing.assert_array_equal(out, plain)

    def longer(x):
        return np.concatenate([x, np.ones_like(x[:2])])

    wider = [longer(x) for x in (key, value)]
    filled = np.concatenate([filled, np.zeros_like(filled[:2])])
    more = _read(
        query,
        *wider,
        filled,
        Kernel(*map(longer, other)),
        implementation=implementation,
    )
    np.testing.assert_allclose(more, plain, atol=5e-7)


@each
def test_the_order_of_slots_and_of_objects_is_irrelevant(implementation):
    query, *memory = _random()
    plain = _read(query, *memory, implementation=implementation)
    slots, objects = np.array([2, 0, 3, 1]), np.array([1, 2, 0])
    moved = jax.tree.map(lambda x: x[slots][:, objects], memory)
    out = _read(query, *moved, implementation=implementation)
    np.testing.assert_allclose(out, plain[objects], atol=1e-6)


@each
def test_the_best_cells_of_a_biased_read_are_those_with_bias(implementation):
    """The general argument that kernels come by, with the other one."""
    query, key, value, filled, kernel = _random()
    table = jax.vmap(jax.vmap(kernel_log))(*map(jnp.asarray, kernel))

    @partial(jax.jit, static_argnames="top_k")
    def read(top_k):
        return space_time_read(
            *(query, key, value, filled),
            top_k=top_k,
            bias=lambda slot, which: table[slot, which],
            implementation=implementation,
        )

    guided = _read(query, key, value, filled, kernel, implementation=implementation)
    np.testing.assert_allclose(read(None), guided, atol=1e-6)
    scores = np.einsum("hwc,noklc->ohwnkl", query, key) / np.sqrt(5)
    scores += np.moveaxis(table, 0, 2).reshape(3, 3, 4, 4, 3, 4)
    scores = np.where(filled.T[:, None, None, :, None, None], scores, -np.inf)
    best = scores.reshape(3, 12, -1).argmax(-1)
    cells = value.swapaxes(0, 1).reshape(3, -1, 6)
    expected = np.take_along_axis(cells, best[..., None], 1)
    np.testing.assert_allclose(read(1), expected.reshape(3, 3, 4, 6), atol=1e-6)


def test_both_implementations_have_the_same_gradients():
    query, key, value, filled, kernel = _random()
    filled[:, 1] = False

    def gradients(implementation):
        def total(query, key, value, sigma):
            guide = Kernel(kernel.centre, sigma)
            out = kernel_guided_read(
                query, key, value, filled, guide, implementation=implementation
            )
            return jnp.sin(out).sum()

        return jax.jit(jax.grad(total, (0, 1, 2, 3)))(query, key, value, kernel.sigma)

    for x, y in zip(*map(gradients, IMPLEMENTATIONS), strict=True):
        assert np.isfinite(x).all() and np.asarray(x).any()
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


@each
def test_jit_and_vmap_and_a_loop_agree(implementation):
    videos = [_random(seed=seed) for seed in (0, 1)]

    def read(query, *memory):
        track = local_match(memory[0][0, 0], query, window=3)
        out = kernel_guided_read(query, *memory, implementation=implementation)
        return track, out

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *videos)
    together = jax.jit(jax.vmap(read))(*stacked)
    for which, video in enumerate(videos):
        track, out = read(*jax.tree.map(jnp.asarray, video))
        np.testing.assert_array_equal(together[0][which], track)
        np.testing.assert_allclose(together[1][which], out, atol=1e-6)


# The released program


def _frame_one(folder):
    """Keys, values and kernel of its first step, and all its results."""
    with np.load(folder / "hmmn.npz") as file:
        arrays = dict(file)
    query, key, value = (
        np.moveaxis(arrays[name], -3, -1) for name in ("q_k4", "mem0_k4", "mem0_v4")
    )
    centre = jax.vmap(_local, (0, None))(key, query[0])
    kernel = Kernel(np.asarray(centre)[None], np.full((1, 2), 3, np.float32))
    return arrays, (query[0], key[None], value[None], np.ones((1, 2), bool), kernel)


def test_tracks_and_kernels_are_those_of_the_released_program(parity_folder):
    arrays, (*_, kernel) = _frame_one(parity_folder)
    np.testing.assert_array_equal(kernel.centre.reshape(2, -1), arrays["t1_track"])
    logs = jax.vmap(kernel_log, out_axes=1)
    for name, centre, sigma in (
        ("f1", arrays["t1_kernel_centre"], [3]),
        ("last", arrays["t6_kernel_centre"], [7.5, 6, 4.5, 3]),
    ):
        centre = centre.astype(np.int32).reshape(2, len(sigma), 8, 14)
        for o in range(2):
            found = np.exp(logs(jnp.asarray(centre[o]), jnp.array(sigma, jnp.float32)))
            expected = arrays[f"{name}_guidance"][o]
            np.testing.assert_allclose(found.reshape(112, -1).T, expected, atol=1e-6)


@each
def test_guided_reads_are_those_of_the_released_program(parity_folder, implementation):
    arrays, (query, key, value, filled, kernel) = _frame_one(parity_folder)
    out = _read(query, key, value, filled, kernel, implementation=implementation)
    expected = np.moveaxis(arrays["f1_read4_memory"], 1, -1)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    cells = np.eye(112, dtype=np.float32).reshape(1, 1, 8, 14, 112)
    cells = np.repeat(cells, 2, axis=1)
    weights = _read(query, key, cells, filled, kernel, implementation=implementation)
    weights = np.asarray(weights).reshape(2, 112, 112).swapaxes(1, 2)
    np.testing.assert_allclose(weights, arrays["f1_attn"], atol=1e-5)
