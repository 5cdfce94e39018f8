"""Candidates and the sparse read of fine grids against loops and the dense read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import IMPLEMENTATIONS, fine, fine_loops
from vos_jax.ops.guidance import Kernel, local_match
from vos_jax.ops.guided_read import (
    Cells,
    all_cells,
    best_cells,
    guided_read,
    random_cells,
    strided_cells,
)

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

_best = jax.jit(best_cells, static_argnames="k")
_random = jax.jit(random_cells, static_argnums=(2, 3, 4))
_all = jax.jit(all_cells, static_argnums=(1, 2))
_read = jax.jit(guided_read, static_argnames="implementation")


# Candidates


def _coarse(objects=3, cells=(3, 4), channels=5, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(*cells, channels)).astype(np.float32)
    key = rng.normal(size=(2, objects, *cells, channels)).astype(np.float32)
    usable = np.ones((2, objects), bool)
    usable[0, 1] = False
    centre = rng.integers(0, np.prod(cells), (2, objects, *cells), np.int32)
    sigma = rng.uniform(1, 3, (2, objects)).astype(np.float32)
    return query, key, usable, Kernel(centre, sigma)


def _weights(query, key, usable, kernel):
    """Weights `[O, q, S m]` of a guided read of these slots, in float64."""
    channels, width = query.shape[-1], query.shape[1]
    query = query.reshape(-1, channels).astype(float)
    cells = len(query)
    weights = np.zeros((key.shape[1], cells, len(key) * cells))
    for s, o in zip(*np.nonzero(usable), strict=True):
        scores = query @ key[s, o].reshape(-1, channels).T.astype(float)
        guide = np.ones((cells, cells))
        if kernel is not None:
            there = np.divmod(kernel.centre[s, o].reshape(1, -1), width)
            here = np.divmod(np.arange(cells)[:, None], width)
            square = sum((x - y) ** 2.0 for x, y in zip(here, there, strict=True))
            guide = np.exp(-square / (2 * kernel.sigma[s, o].astype(float) ** 2))
        found = np.exp(scores / np.sqrt(channels)) * guide
        weights[o, :, s * cells : (s + 1) * cells] = found
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("k", [1, 5, 12])
def test_candidates_are_the_cells_with_most_weight_best_first(guided, k):
    query, key, usable, kernel = _coarse()
    kernel = kernel if guided else None
    found = _best(query, key, usable, kernel, k=k)
    assert found.index.shape == found.usable.shape == (3, 3, 4, k)
    assert found.usable.all()
    expected = np.argsort(-_weights(query, key, usable, kernel), -1)[..., :k]
    np.testing.assert_array_equal(found.index, expected.reshape(3, 3, 4, k))


def test_the_first_candidates_of_many_are_those_of_few():
    args = _coarse()
    few, many = _best(*args, k=3), _best(*args, k=12)
    for x, y in zip(many.first(3), few, strict=True):
        np.testing.assert_array_equal(x, y)


def test_fewer_cells_than_asked_for_are_all_candidates():
    args = _coarse()
    found = _best(*args, k=100)
    assert found.index.shape == (3, 3, 4, 24)
    index = np.sort(found.index)
    np.testing.assert_array_equal(index, np.broadcast_to(np.arange(24), index.shape))
    count = [24, 12, 24]
    np.testing.assert_array_equal(found.usable.sum(-1)[:, 0, 0], count)
    # They are before what is not usable, and of the slot that is.
    assert found.usable[1, ..., :12].all()
    assert (found.index[1, ..., :12] >= 12).all()


def test_an_object_without_slots_has_no_candidates():
    query, key, usable, kernel = _coarse()
    usable[:, 2] = False
    assert not _best(query, key, usable, kernel, k=5).usable[2].any()


def test_the_order_of_objects_does_not_change_candidates():
    query, *memory = _coarse()
    plain = _best(query, *memory, k=5)
    order = np.array([1, 2, 0])
    moved = _best(query, *jax.tree.map(lambda x: x[:, order], memory), k=5)
    np.testing.assert_array_equal(moved.index, plain.index[order])


def test_random_candidates_differ_from_each_other_and_by_key(key):
    usable = _coarse()[2]
    found, again = (_random(key, usable, 3, 4, 8) for _ in range(2))
    np.testing.assert_array_equal(found.index, again.index)
    ordered = np.sort(found.index)
    assert (np.diff(ordered) > 0).all() and found.usable.all()
    assert (found.index[1] >= 12).all()
    assert not (found.index[0] == found.index[2]).all()
    assert not (_random(jax.random.key(1), usable, 3, 4, 8).index == found.index).all()
    everything = np.bincount(found.index[0].reshape(-1), minlength=24)
    assert everything.all()


def test_strided_candidates_are_a_grid_of_each_frame():
    usable = np.array([[True, False, False], [True, True, False]])
    found = strided_cells(jnp.asarray(usable), 3, 4, 2)
    # Rows 0 and 2 of three, columns 1 and 3 of four.
    line = [1, 3, 9, 11, 13, 15, 21, 23]
    np.testing.assert_array_equal(found.index, np.broadcast_to(line, (3, 3, 4, 8)))
    is_usable = np.repeat(usable.T, 4, axis=1)[:, None, None]
    expected = np.broadcast_to(is_usable, (3, 3, 4, 8))
    np.testing.assert_array_equal(found.usable, expected)


def test_a_grid_of_more_rows_than_there_are_has_all():
    usable = jnp.ones((2, 1), bool)
    found = strided_cells(usable, 2, 3, 8)
    np.testing.assert_array_equal(found.index, all_cells(usable, 2, 3).index)


def test_all_cells_are_every_usable_one_once():
    found = _all(_coarse()[2], 3, 4)
    assert found.index.shape == (3, 3, 4, 24)
    for o, rows in enumerate([range(24), range(12, 24), range(24)]):
        for index, usable in zip(
            found.index[o].reshape(12, -1), found.usable[o].reshape(12, -1), strict=True
        ):
            np.testing.assert_array_equal(np.sort(index[usable]), rows)


# The read


def _fine(**sizes):
    """Query, keys and values of fine grids, and candidates."""
    floats, rest = fine(**sizes)
    return *floats, Cells(*rest)


def _dense(query, key, value, usable):
    """Softmax over all fine cells of the slots that are usable, in float64."""
    out = []
    for o in range(key.shape[1]):
        keys, values = (
            x[usable[:, o], o].reshape(-1, x.shape[-1]).astype(float)
            for x in (key, value)
        )
        scores = query.astype(float) @ keys.T / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out.append(weights @ values / weights.sum(-1, keepdims=True))
    return np.stack(out)


@each
@pytest.mark.parametrize(("ratio", "k"), [(1, 5), (4, 2)])
def test_a_coarse_cell_may_stand_for_one_fine_cell_or_many(implementation, ratio, k):
    floats, rest = fine(ratio, k)
    expected = fine_loops(*floats, *rest)
    noise = np.abs(fine_loops(*floats, *rest, dtype=np.float32) - expected).max()
    out = _read(*floats, Cells(*rest), implementation=implementation)
    assert out.dtype == np.float32
    # Eight times what float32 costs the same loops.
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * noise)


@each
@pytest.mark.parametrize("ratio", [2, 4])
def test_candidates_that_cover_the_memory_give_the_dense_read(implementation, ratio):
    query, key, value, _ = _fine(ratio=ratio)
    coarse = _coarse()
    usable = coarse[2]
    expected = _dense(query, key, value, usable)
    chosen = (
        _best(*coarse, k=24),
        _all(usable, 3, 4),
        _random(jax.random.key(0), usable, 3, 4, 24),
    )
    for cells in chosen:
        out = _read(query, key, value, cells, implementation=implementation)
        np.testing.assert_allclose(out, expected, atol=2e-6)


@each
def test_what_is_no_candidate_is_irrelevant(implementation):
    query, key, value, cells = _fine()
    plain = _read(query, key, value, cells, implementation=implementation)
    unused = np.where(cells.usable, cells.index, 12)
    cells = Cells(unused, cells.usable & (unused < 12))
    first = _read(query, key, value, cells, implementation=implementation)
    key[1], value[1] = 1e3 * key[1], 1e6
    other = _read(query, key, value, cells, implementation=implementation)
    np.testing.assert_array_equal(first, other)
    assert (first != plain).any()


@each
def test_a_cell_without_candidates_reads_zeros(implementation):
    query, key, value, cells = _fine()
    plain = np.array(_read(query, key, value, cells, implementation=implementation))
    cells.usable[2, 0, 0] = False
    out = np.asarray(_read(query, key, value, cells, implementation=implementation))
    plain[2, :2, :2] = 0
    np.testing.assert_array_equal(out, plain)


def test_a_grid_that_is_no_multiple_of_the_coarse_one_is_refused():
    _, key, value, cells = _fine()
    for rows, columns in ((5, 8), (6, 7), (2, 4), (6, 12)):
        with pytest.raises(ValueError, match=f"a grid of {rows} x {columns} cells"):
            guided_read(np.zeros((rows, columns, 6), np.float32), key, value, cells)


def test_candidates_may_be_mapped_over_videos():
    videos = [_coarse(seed=seed) for seed in (0, 1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *videos)
    together = jax.jit(jax.vmap(partial(best_cells, k=5)))(*stacked)
    for which, video in enumerate(videos):
        for x, y in zip(together, _best(*video, k=5), strict=True):
            np.testing.assert_array_equal(x[which], y)


# The released program


@each
def test_candidates_and_reads_are_those_of_the_released_program(
    parity_folder, implementation
):
    with np.load(parity_folder / "hmmn.npz") as file:
        arrays = dict(file)

    def cells_last(name):
        return jnp.asarray(np.moveaxis(arrays[name], -3, -1))

    query, key = cells_last("q_k4")[0], cells_last("mem0_k4")
    centre = jax.vmap(local_match, (0, None))(key, query)
    kernel = Kernel(centre[None], jnp.full((1, 2), 3.0))
    best = _best(query, key[None], np.ones((1, 2), bool), kernel, k=32)
    expected = arrays["t1_top32"].reshape(2, 8, 14, 32)
    for count in (8, 32):
        found = np.sort(best.first(count).index)
        np.testing.assert_array_equal(found, np.sort(expected[..., :count]))
    # The file has the fine memory of one object.
    of_one = Cells(jnp.asarray(expected, jnp.int32), best.usable)
    of_one = jax.tree.map(lambda x: x[:1], of_one)
    for stage, count in ((3, 32), (2, 8)):
        key, value = (cells_last(f"mem0_{x}{stage}_obj1")[None, None] for x in "kv")
        out = _read(
            cells_last(f"q_k{stage}")[0],
            key,
            value,
            of_one.first(count),
            implementation=implementation,
        )
        expected_read = cells_last(f"f1_read{stage}_obj1")
        np.testing.assert_allclose(out[0], expected_read, atol=1e-4)
