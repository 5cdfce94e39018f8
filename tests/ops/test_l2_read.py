"""Which cells the top-k read of STCN and RDE-VOS takes, and how often each counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import (
    IMPLEMENTATIONS,
    counted,
    counted_weights,
    distances,
    inner_programs,
)
from vos_jax.ops.l2_read import l2_read, l2_similarity

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def _tied(seed=0):
    """Whole numbers in few channels: most similarities are shared, and all exact."""
    rng = np.random.default_rng(seed)
    query = rng.integers(-1, 2, (2, 3, 4))
    key = rng.integers(-1, 2, (4, 2, 3, 4))
    value = rng.normal(size=(4, 2, 2, 3, 5))
    arrays = (x.astype(np.float32) for x in (query, key, value))
    return *arrays, np.array([1, 2, 0, 1], np.int32)


def _equal_keys():
    """Every cell is as near as any other, and tells by its value which one it is."""
    query, _, value, copies = _tied()
    return query, np.ones((4, 2, 3, 4), np.float32), value, copies


def _one_slot():
    query, key, value, _ = _tied(seed=1)
    return query, key, value, np.array([0, 0, 1, 0], np.int32)


def _one_cell(copies=(0, 2, 0, 0)):
    """Frames of a single cell, of which one counts."""
    query, key, value, _ = _tied(seed=2)
    frames = query[:1, :1], key[:, :1, :1], value[:, :, :1, :1]
    return *frames, np.array(copies, np.int32)


def _nothing_else():
    """The whole memory is one cell."""
    query, key, value, _ = _one_cell()
    return query, key[:1], value[:1], np.array([1], np.int32)


# Whole numbers in all of them: both implementations see the very same similarities.
HARD = {
    "ties within the k best": (_tied, 3),
    "ties in several slots": (_tied, 11),
    "all keys equal, one slot": (_equal_keys, 4),
    "all keys equal, all slots": (_equal_keys, 20),
    "as many cells as asked for": (_one_slot, 6),
    "fewer cells than asked for": (_one_slot, 7),
    "k beyond the capacity": (_equal_keys, 25),
    "one cell counts": (_one_cell, 1),
    "one cell counts, fewer than asked for": (_one_cell, 3),
    "one cell in all": (_nothing_else, 2),
}

hard = pytest.mark.parametrize(("memory", "top_k"), HARD.values(), ids=HARD)


_jitted = jax.jit(l2_read, static_argnames=("top_k", "implementation"))


def _read(implementation, *args, top_k=None):
    return np.asarray(_jitted(*args, top_k=top_k, implementation=implementation))


def _attention(implementation, query, key, copies, top_k=None):
    """The weights, read as the values of cells that hold their own number."""
    slots, height, width, _ = key.shape
    cells = slots * height * width
    value = np.eye(cells, dtype=np.float32).reshape(slots, 1, height, width, cells)
    read = _read(implementation, query, key, value, copies, top_k=top_k)
    return read.reshape(-1, cells)


def test_similarities_are_negative_squared_distances_but_for_the_query():
    query, key = (x.reshape(-1, 5) for x in counted()[0][:2])
    found = l2_similarity(jnp.asarray(query), jnp.asarray(key))
    np.testing.assert_allclose(found, distances(query, key), atol=2e-6)


# Ties and copies


@each
@pytest.mark.parametrize("top_k", [3, 12])
def test_of_cells_that_tie_the_earlier_one_comes_first(implementation, top_k):
    query, key, _, copies = _tied()
    scores = distances(query.reshape(-1, 4), key.reshape(-1, 4))
    last = [np.sort(s)[-top_k:] for s in np.repeat(scores, np.repeat(copies, 6), 1)]
    assert any(
        (line == low).sum() > (s == low).sum()
        for line, s, low in zip(
            np.repeat(scores, np.repeat(copies, 6), 1),
            last,
            (s[0] for s in last),
            strict=True,
        )
    )
    expected = counted_weights(query, key, copies, top_k)
    found = _attention(implementation, query, key, copies, top_k)
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, atol=3e-7)


@each
@pytest.mark.parametrize("top_k", [None, 5])
def test_a_memory_of_one_repeated_cell_is_read_as_that_cell(implementation, top_k):
    (query, key, value), (copies,) = counted()
    key = np.broadcast_to(key[:1, :1, :1], key.shape)
    value = np.broadcast_to(value[:1, :, :1, :1], value.shape)
    out = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_allclose(out, np.broadcast_to(value[0], out.shape), rtol=1e-6)


@each
@pytest.mark.parametrize("top_k", [None, 5])
def test_a_copy_is_worth_a_slot_more(implementation, top_k):
    (query, key, value), (copies,) = counted()
    once = np.repeat(np.arange(4), copies)
    ones = np.ones(len(once), np.int32)
    written_out = _read(
        implementation, query, key[once], value[once], ones, top_k=top_k
    )
    counts = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_allclose(counts, written_out, atol=5e-7)


@each
def test_the_last_cell_counts_as_often_as_still_fits(implementation):
    query = np.zeros((1, 1, 1), np.float32)
    key = np.array([1, 0, 2], np.float32).reshape(3, 1, 1, 1)
    copies = np.array([2, 2, 1], np.int32)
    for top_k, taken in ((1, [0, 1, 0]), (3, [1, 2, 0]), (4, [2, 2, 0])):
        expected = np.array(taken) * np.exp([-1, 0, -4])
        found = _attention(implementation, query, key, copies, top_k)[0]
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-6)


# Degenerate memories


@hard
def test_merged_selection_is_that_of_the_whole_affinity_and_of_loops(memory, top_k):
    query, key, _, copies = memory()
    expected = counted_weights(query, key, copies, top_k)
    found = [_attention(x, query, key, copies, top_k) for x in IMPLEMENTATIONS]
    for weights in found:
        np.testing.assert_array_equal(weights > 0, expected > 0)
        np.testing.assert_allclose(weights, expected, atol=3e-7)
    for weights in found[1:]:
        np.testing.assert_allclose(weights, found[0], atol=1e-7)


def test_of_equal_keys_the_first_k_are_averaged():
    query, key, value, copies = _equal_keys()
    # Slot 0 has six cells that count once; of slot 1, where they count twice, five fit.
    cells = value.swapaxes(0, 1).reshape(2, 24, 5)[:, :9]
    expected = np.average(cells, axis=1, weights=[1] * 6 + [2, 2, 1])
    out = _read("slots", query, key, value, copies, top_k=11)
    wide = np.broadcast_to(expected[:, None, None], out.shape)
    np.testing.assert_allclose(out, wide, atol=3e-7)


# Gradients


@partial(jax.jit, static_argnums=(4, 5))
@partial(jax.value_and_grad, argnums=(0, 1, 2))
def _value_and_grad(query, key, value, copies, top_k, implementation):
    out = l2_read(query, key, value, copies, top_k=top_k, implementation=implementation)
    return jnp.sin(out).sum()


@pytest.mark.parametrize(
    ("memory", "top_k"),
    [
        (_tied, 11),
        (_nothing_else, 2),
        *(
            pytest.param(*x, marks=pytest.mark.slow)
            for x in ((_equal_keys, 20), (_one_slot, 7), (_one_cell, 3))
        ),
    ],
)
def test_hard_memories_have_the_gradients_of_the_whole_affinity(memory, top_k):
    """Where cells tie, both must choose the same ones to have the same gradients."""
    args = memory()
    (one, expected), *found = (
        _value_and_grad(*args, top_k, name) for name in IMPLEMENTATIONS
    )
    for other, gradients in found:
        np.testing.assert_allclose(one, other, atol=1e-5)
        for x, y in zip(gradients, expected, strict=True):
            assert np.isfinite(x).all()
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
        assert np.asarray(gradients[2]).any()


# How it computes


def test_objects_share_one_affinity():
    """Its size does not grow with the objects."""
    args = [counted(4, objects, (8, 8), (4, 1)) for objects in (1, 6)]
    sizes = [_largest(partial(_total, "reference", 8), *x[0], *x[1]) for x in args]
    assert sizes[0] == sizes[1] == 4 * 64 * 64


def _total(implementation, top_k, query, key, value, copies):
    return l2_read(
        query, key, value, copies, top_k=top_k, implementation=implementation
    ).sum()


def _largest(program, *args):
    return max(_sizes(jax.make_jaxpr(program)(*map(jnp.asarray, args)).jaxpr))


def _sizes(jaxpr):
    """Sizes of all arrays that a program makes, in inner programs too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in inner_programs(equation):
            yield from _sizes(inner)


@pytest.mark.slow
@pytest.mark.full_compilation
def test_compiled_temporaries_do_not_hold_the_affinity_of_all_slots():
    slots, cells = 16, 256
    query, key, value = counted(slots, 1, (16, 16), (4, 4))[0]
    copies = np.ones(slots, np.int32)
    affinity = 4 * slots * cells * cells
    used = {}
    for implementation in IMPLEMENTATIONS:
        read = _jitted.lower(
            query, key, value, copies, top_k=8, implementation=implementation
        )
        used[implementation] = read.compile().memory_analysis().temp_size_in_bytes
    assert used["reference"] >= affinity
    assert used["slots"] < affinity / 3
