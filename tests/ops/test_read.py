"""Which cells a memory read takes, and what they weigh."""

import jax
import numpy as np
import pytest

from tests.ops.every import IMPLEMENTATIONS, bank
from vos_jax.ops.read import space_time_read

pytestmark = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


_jitted = jax.jit(space_time_read, static_argnames=("top_k", "implementation"))


def _read(implementation, *args, top_k=None):
    return np.asarray(_jitted(*args, top_k=top_k, implementation=implementation))


def _attention(implementation, query, key, filled, **options):
    """The weights, read as the values of cells that hold their own number."""
    cells = np.prod(query.shape[:2])
    value = np.eye(len(key) * cells, dtype=np.float32)
    value = value.reshape(len(key), 1, *query.shape[:2], -1)
    value = np.repeat(value, key.shape[1], axis=1)
    return _read(implementation, query, key, value, filled, **options)


@pytest.mark.parametrize("top_k", [None, 3])
def test_the_order_of_slots_is_irrelevant(implementation, top_k):
    (query, key, value), (filled,) = bank()
    plain = _read(implementation, query, key, value, filled, top_k=top_k)
    order = [2, 3, 0, 1]
    moved = _read(
        implementation, query, key[order], value[order], filled[order], top_k=top_k
    )
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_a_query_key_moves_weight_to_the_cell_it_points_at(implementation):
    (query, key, value), (filled,) = bank()
    query = 50 * key[0, 0] / np.linalg.norm(key[0, 0], axis=-1, keepdims=True)
    key = np.where(np.arange(4)[:, None, None, None, None] == 0, key, -key[:1])
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    filled[:] = True
    out = _read(implementation, query, key, value, filled)
    np.testing.assert_allclose(out[0], value[0, 0], atol=0.1)


def test_weights_are_a_distribution_over_filled_cells(implementation):
    (query, key, _), (filled,) = bank()
    weights = _attention(implementation, query, key, filled)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    by_slot = weights.reshape(*weights.shape[:3], len(key), -1)
    used = by_slot.any((1, 2, 4))
    np.testing.assert_array_equal(used, filled.T)


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_exactly_the_best_cells_have_weight(implementation, top_k):
    (query, key, _), (filled,) = bank(slots=3, cells=(4, 5), dims=(16, 6))
    weights = _attention(implementation, query, key, filled, top_k=top_k)
    dense = _attention(implementation, query, key, filled)
    assert ((weights > 0).sum(-1) == top_k).all()
    best = np.sort(dense, axis=-1)[..., -top_k:]
    kept = np.where(weights > 0, dense, 0)
    np.testing.assert_array_equal(np.sort(kept, axis=-1)[..., -top_k:], best)


def test_keeping_as_many_cells_as_there_are_is_the_dense_read(implementation):
    floats, rest = bank()
    dense = _read(implementation, *floats, *rest)
    for top_k in (4 * 6, 4 * 6 + 1):
        out = _read(implementation, *floats, *rest, top_k=top_k)
        np.testing.assert_array_equal(out, dense)


def test_keeping_more_cells_than_are_filled_is_the_dense_read(implementation):
    (query, key, value), (filled,) = bank()
    filled[1:] = False
    dense = _read(implementation, query, key, value, filled)
    out = _read(implementation, query, key, value, filled, top_k=10)
    np.testing.assert_allclose(out, dense, atol=5e-7)


def test_cells_that_tie_with_the_last_kept_one_are_kept_too(implementation):
    query = np.ones((1, 1, 1), np.float32)
    key = np.array([3, 1, 2, 2, 0, 2], np.float32).reshape(3, 1, 1, 2, 1)
    key = key.reshape(6, 1, 1, 1, 1)
    filled = np.ones((6, 1), bool)
    weights = _attention(implementation, query, key, filled, top_k=2)[0, 0, 0]
    np.testing.assert_array_equal(weights > 0, [True, False, True, True, False, True])
    expected = np.exp([3, 2, 2, 2]) / np.exp([3, 2, 2, 2]).sum()
    np.testing.assert_allclose(weights[weights > 0], expected, rtol=1e-6)
