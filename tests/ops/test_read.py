"""Memory reads against loops, and what may not change them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.test_util import check_grads

from vos_jax.ops.read import space_time_read

IMPLEMENTATIONS = ["reference", "chunked"]

pytestmark = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def _loops(query, key, value, filled, top_k=None, dtype=np.float64):
    """Softmax attention, one query cell of one object at a time."""
    height, width, channels = query.shape
    objects = filled.shape[1]
    out = np.zeros((objects, height, width, value.shape[-1]), dtype)
    for o, row, column in np.ndindex(objects, height, width):
        slots = np.flatnonzero(filled[:, o])
        if not len(slots):
            continue
        keys = key[slots, o].reshape(-1, channels).astype(dtype)
        values = value[slots, o].reshape(len(keys), -1).astype(dtype)
        scores = keys @ query[row, column].astype(dtype) / np.sqrt(dtype(channels))
        if top_k is not None and top_k < len(scores):
            kept = scores >= np.sort(scores)[-top_k]
            scores, values = scores[kept], values[kept]
        weights = np.exp(scores - scores.max())
        out[o, row, column] = weights @ values / weights.sum()
    return out


def _random(slots=4, objects=3, cells=(2, 3), key_dim=5, value_dim=6, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(*cells, key_dim))
    key = rng.normal(size=(slots, objects, *cells, key_dim))
    value = rng.normal(size=(slots, objects, *cells, value_dim))
    filled = rng.random((slots, objects)) < 0.6
    filled[0] = True
    filled[-1] = False
    return *(x.astype(np.float32) for x in (query, key, value)), filled


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


@pytest.mark.parametrize("top_k", [None, 1, 4, 7, 1000])
def test_a_read_equals_loops_in_float64(implementation, top_k):
    args = _random()
    expected = _loops(*args, top_k)
    noise = np.abs(_loops(*args, top_k, np.float32) - expected).max()
    # Eight times what float32 costs the same loops; a top-1 read costs them nothing.
    tolerance = 8 * max(noise, 6e-8)
    out = _read(implementation, *args, top_k=top_k)
    np.testing.assert_allclose(out, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("top_k", [None, 3])
def test_the_order_of_slots_is_irrelevant(implementation, top_k):
    query, key, value, filled = _random()
    plain = _read(implementation, query, key, value, filled, top_k=top_k)
    order = [2, 3, 0, 1]
    moved = _read(
        implementation, query, key[order], value[order], filled[order], top_k=top_k
    )
    np.testing.assert_allclose(moved, plain, atol=1e-6)


@pytest.mark.parametrize("top_k", [None, 3])
def test_what_unfilled_slots_hold_is_irrelevant(implementation, top_k):
    query, key, value, filled = _random()
    plain = _read(implementation, query, key, value, filled, top_k=top_k)
    hole = ~filled[:, :, None, None, None]
    key, value = np.where(hole, 1e3 * key, key), np.where(hole, 1e6, value)
    other = _read(implementation, query, key, value, filled, top_k=top_k)
    np.testing.assert_array_equal(other, plain)


@pytest.mark.parametrize("top_k", [None, 3])
def test_more_unfilled_slots_change_nothing(implementation, top_k):
    query, key, value, filled = _random()
    plain = _read(implementation, query, key, value, filled, top_k=top_k)
    more = [np.concatenate([x, np.zeros_like(x[:2])]) for x in (key, value, filled)]
    larger = _read(implementation, query, *more, top_k=top_k)
    np.testing.assert_allclose(larger, plain, atol=5e-7)


@pytest.mark.parametrize("top_k", [None, 3])
def test_an_object_without_memory_reads_zeros(implementation, top_k):
    query, key, value, filled = _random()
    with_all = _read(implementation, query, key, value, filled, top_k=top_k)
    filled[:, 1] = False
    out = _read(implementation, query, key, value, filled, top_k=top_k)
    assert not out[1].any()
    np.testing.assert_array_equal(out[[0, 2]], with_all[[0, 2]])
    filled[:] = False
    assert not _read(implementation, query, key, value, filled, top_k=top_k).any()


@partial(jax.jit, static_argnums=(4, 5))
@partial(jax.value_and_grad, argnums=(0, 1, 2))
def _value_and_grad(query, key, value, filled, top_k, implementation):
    out = space_time_read(
        query, key, value, filled, top_k=top_k, implementation=implementation
    )
    return jnp.sin(out).sum()


@pytest.mark.parametrize("top_k", [None, 3])
def test_gradients_are_finite_without_memory(implementation, top_k):
    query, key, value, filled = _random()
    filled[:, 1] = False
    args = query, key, value, filled, top_k, implementation
    gradients = [np.asarray(g) for g in _value_and_grad(*args)[1]]
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(not gradient[~filled].any() for gradient in gradients[1:])


def test_a_query_key_moves_weight_to_the_cell_it_points_at(implementation):
    query, key, value, filled = _random()
    query = 50 * key[0, 0] / np.linalg.norm(key[0, 0], axis=-1, keepdims=True)
    key = np.where(np.arange(4)[:, None, None, None, None] == 0, key, -key[:1])
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    filled[:] = True
    out = _read(implementation, query, key, value, filled)
    np.testing.assert_allclose(out[0], value[0, 0], atol=0.1)


def test_enormous_scores_choose_a_cell_and_stay_finite(implementation):
    query, key, value, filled = _random()
    query, key = 1e3 * query, 1e3 * key
    out = _read(implementation, query, key, value, filled)
    np.testing.assert_allclose(out, _loops(query, key, value, filled), atol=1e-6)


def test_weights_are_a_distribution_over_filled_cells(implementation):
    query, key, _, filled = _random()
    weights = _attention(implementation, query, key, filled)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    by_slot = weights.reshape(*weights.shape[:3], len(key), -1)
    used = by_slot.any((1, 2, 4))
    np.testing.assert_array_equal(used, filled.T)


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_exactly_the_best_cells_have_weight(implementation, top_k):
    query, key, _, filled = _random(slots=3, cells=(4, 5), key_dim=16)
    weights = _attention(implementation, query, key, filled, top_k=top_k)
    dense = _attention(implementation, query, key, filled)
    assert ((weights > 0).sum(-1) == top_k).all()
    best = np.sort(dense, axis=-1)[..., -top_k:]
    kept = np.where(weights > 0, dense, 0)
    np.testing.assert_array_equal(np.sort(kept, axis=-1)[..., -top_k:], best)


def test_keeping_as_many_cells_as_there_are_is_the_dense_read(implementation):
    args = _random()
    dense = _read(implementation, *args)
    for top_k in (4 * 6, 4 * 6 + 1):
        out = _read(implementation, *args, top_k=top_k)
        np.testing.assert_array_equal(out, dense)


def test_keeping_more_cells_than_are_filled_is_the_dense_read(implementation):
    query, key, value, filled = _random()
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


def _gap(query, key, filled, top_k):
    """The least difference of the scores of the last cell kept and the next."""
    scores = np.einsum("hwc,nokc->hwonk", query, key.reshape(*key.shape[:2], -1, 5))
    scores = np.where(filled.T[..., None], scores / np.sqrt(5), -np.inf)
    ordered = np.sort(scores.reshape(*scores.shape[:3], -1), axis=-1)
    return (ordered[..., -top_k] - ordered[..., -top_k - 1]).min()


@pytest.mark.parametrize("top_k", [None, 4])
def test_gradients_agree_with_finite_differences(implementation, top_k):
    query, key, value, filled = _random(objects=2, seed=222)
    assert _gap(query, key, filled, 4) > 0.04  # Much more than a step: no cell changes.

    @jax.jit
    def read(query, key, value):
        return space_time_read(
            query, key, value, filled, top_k=top_k, implementation=implementation
        )

    check_grads(
        read, (query, key, value), 1, atol=2e-4, rtol=2e-4, eps=1e-3, modes=["rev"]
    )


@pytest.mark.parametrize("top_k", [None, 5])
def test_jit_and_vmap_and_a_loop_agree(implementation, top_k):
    videos = [_random(seed=seed) for seed in (0, 1)]
    videos[1][3][1:] = False

    def read(*args):
        return space_time_read(*args, top_k=top_k, implementation=implementation)

    loop = np.stack([_read(implementation, *video, top_k=top_k) for video in videos])
    eager = read(*map(jnp.asarray, videos[0]))
    np.testing.assert_allclose(eager, loop[0], atol=1e-6)
    stacked = [jnp.stack(x) for x in zip(*videos, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(read))(*stacked), loop, atol=1e-6)


@pytest.mark.parametrize("top_k", [None, 40])
def test_bfloat16_is_near_float32_and_accumulates_in_it(implementation, top_k):
    *args, filled = _random(cells=(4, 6), key_dim=16)
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in args]
    out = space_time_read(
        *rounded, jnp.asarray(filled), top_k=top_k, implementation=implementation
    )
    assert out.dtype == jnp.float32
    exact = _loops(*(np.asarray(x, np.float32) for x in rounded), filled, top_k)
    # Weights are rounded to 8 bits: 2^-9 of values of size 1, averaged.
    np.testing.assert_allclose(out, exact, atol=1e-2)


def test_memory_use_is_bounded_unless_the_formula_is_asked_for(implementation):
    slots, objects, cells = 8, 2, 64
    query, key, value, filled = _random(slots, objects, (8, 8), 4, 4)

    def largest(read):
        jaxpr = jax.make_jaxpr(read)(*map(jnp.asarray, (query, key, value)))
        return max(_sizes(jaxpr.jaxpr))

    def total(query, key, value):
        read = space_time_read(
            query, key, value, jnp.asarray(filled), implementation=implementation
        )
        return read.sum()

    affinity = slots * objects * cells * cells
    sizes = largest(total), largest(jax.grad(total, (0, 1, 2)))
    if implementation == "chunked":
        assert max(sizes) <= affinity // slots
    else:
        assert min(sizes) == affinity


def _sizes(jaxpr):
    """Sizes of all arrays that a program makes, in inner programs too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from _sizes(inner)


@pytest.mark.parametrize("top_k", [None, 1, 6])
def test_a_read_and_its_gradients_equal_those_of_the_default(implementation, top_k):
    args = _random(5, 2, (5, 6), 16, 8)
    one = _value_and_grad(*args, top_k, implementation)
    other = _value_and_grad(*args, top_k, "auto")
    # The value is a sum of some 500 terms of size one that nearly cancel.
    np.testing.assert_allclose(one[0], other[0], atol=500 * np.finfo(np.float32).eps)
    for x, y in zip(jax.tree.leaves(one[1]), jax.tree.leaves(other[1]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)
