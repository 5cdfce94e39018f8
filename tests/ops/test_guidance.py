"""Matches, tracks and kernels against loops, and where kernels lead a read."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import IMPLEMENTATIONS, attention, gaussian, guided_bank
from vos_jax.ops.guidance import (
    Kernel,
    global_match,
    kernel_guided_read,
    kernel_log,
    local_match,
)
from vos_jax.ops.read import space_time_read

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

_local = jax.jit(local_match, static_argnames="window")
_read = jax.jit(kernel_guided_read, static_argnames="implementation")
_plain = jax.jit(space_time_read, static_argnames="implementation")


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
def test_local_matches_are_those_ofattention(window):
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
    np.testing.assert_array_equal(_local(memory_key, query_key, window=7), [[1, 1]])


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


def _random(**sizes):
    """Query, keys, values, which slots are filled, and kernels."""
    (*floats, sigma), (filled, centre) = guided_bank(**sizes)
    return *floats, filled, Kernel(centre, sigma)


@each
def test_far_from_every_centre_a_read_is_finite(implementation):
    """Where weights below the smallest number would give 0 / 0."""
    query, key, value, filled, kernel = _random(cells=(1, 60))
    filled[:] = filled[:, :1]
    centre = kernel.centre % 3
    sigma = np.full_like(kernel.sigma, 2)
    kernel = Kernel(centre, sigma)
    far = gaussian(kernel, 0, np.flatnonzero(filled[:, 0]), 0, 59).astype(np.float32)
    assert not far.any()
    out = np.asarray(
        _read(query, key, value, filled, kernel, implementation=implementation)
    )
    # Wide enough for float64, which is 10^-308 at its smallest.
    expected = attention(query, key, value, filled, kernel)
    np.testing.assert_allclose(out, expected, atol=2e-4)


@each
def test_without_a_kernel_it_is_the_plain_read(implementation):
    args = _random()[:4]
    out = _read(*args, None, implementation=implementation)
    np.testing.assert_array_equal(out, _plain(*args, implementation=implementation))


@each
def test_a_very_wide_kernel_changes_nothing(implementation):
    *args, kernel = _random()
    wide = kernel._replace(sigma=np.full_like(kernel.sigma, 1e6))
    out = _read(*args, wide, implementation=implementation)
    np.testing.assert_allclose(out, _plain(*args), atol=1e-6)


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
def test_the_order_of_slots_is_irrelevant(implementation):
    query, *memory = _random()
    plain = _read(query, *memory, implementation=implementation)
    moved = jax.tree.map(lambda x: x[np.array([2, 0, 3, 1])], memory)
    out = _read(query, *moved, implementation=implementation)
    np.testing.assert_allclose(out, plain, atol=1e-6)


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


def test_matches_may_be_mapped_over_videos():
    memory_key, query_key = _frames(4).reshape(2, 2, 5, 7, 4).astype(np.float32)
    together = jax.jit(jax.vmap(partial(local_match, window=3)))(memory_key, query_key)
    for found, *keys in zip(together, memory_key, query_key, strict=True):
        np.testing.assert_array_equal(found, _local(*keys, window=3))


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
