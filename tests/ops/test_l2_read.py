"""The top-k read of STCN and RDE-VOS against loops, and which cells it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.test_util import check_grads

from vos_jax.ops.l2_read import l2_read, l2_similarity

IMPLEMENTATIONS = ["reference", "chunked"]

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def _scores(query, key, dtype=np.float64):
    """Similarities by the differences of the keys, with the query's own part."""
    query, key = query.astype(dtype), key.astype(dtype)
    distances = np.square(query[:, None] - key[None]).sum(-1)
    squares = np.square(query).sum(-1)
    return (squares[:, None] - distances) / np.sqrt(dtype(query.shape[-1]))


def _weights(query, key, copies, top_k=None, dtype=np.float64):
    """Weights `[q, M]`, one query cell and one memory cell at a time."""
    channels, cells = query.shape[-1], key.shape[1] * key.shape[2]
    scores = _scores(query.reshape(-1, channels), key.reshape(-1, channels), dtype)
    weights = np.zeros_like(scores)
    for row, line in zip(weights, scores, strict=True):
        left = np.inf if top_k is None else top_k
        for m in np.argsort(-line, kind="stable"):
            taken = min(copies[m // cells], left)
            if not taken:
                continue
            left -= taken
            row[m] = taken * np.exp(line[m] - line[np.repeat(copies, cells) > 0].max())
        row /= row.sum() or 1
    return weights


def _loops(query, key, value, copies, top_k=None, dtype=np.float64):
    weights = _weights(query, key, copies, top_k, dtype)
    values = (
        value.astype(dtype).swapaxes(0, 1).reshape(value.shape[1], len(weights.T), -1)
    )
    out = np.einsum("qm,omc->oqc", weights, values)
    return out.reshape(-1, *query.shape[:2], value.shape[-1])


def _random(slots=4, objects=3, cells=(2, 3), key_dim=5, value_dim=6, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(*cells, key_dim))
    key = rng.normal(size=(slots, *cells, key_dim))
    value = rng.normal(size=(slots, objects, *cells, value_dim))
    copies = np.array([1, 2, 0, 1, 2, 1])[:slots].astype(np.int32)
    return *(x.astype(np.float32) for x in (query, key, value)), copies


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
    query, key = (x.reshape(-1, 5) for x in _random()[:2])
    found = l2_similarity(jnp.asarray(query), jnp.asarray(key))
    np.testing.assert_allclose(found, _scores(query, key), atol=2e-6)


@each
@pytest.mark.parametrize("top_k", [None, 1, 2, 4, 7, 1000])
def test_a_read_equals_loops_in_float64(implementation, top_k):
    args = _random()
    expected = _loops(*args, top_k)
    noise = np.abs(_loops(*args, top_k, np.float32) - expected).max()
    # Eight times what float32 costs the same loops; a top-1 read costs them nothing.
    tolerance = 8 * max(noise, 6e-8)
    out = _read(implementation, *args, top_k=top_k)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=0, atol=tolerance)


# Ties and copies


@each
@pytest.mark.parametrize("top_k", [1, 3, 8, 12])
def test_of_cells_that_tie_the_earlier_one_comes_first(implementation, top_k):
    query, key, _, copies = _tied()
    scores = _scores(query.reshape(-1, 4), key.reshape(-1, 4))
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
    expected = _weights(query, key, copies, top_k)
    found = _attention(implementation, query, key, copies, top_k)
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, atol=3e-7)


@each
@pytest.mark.parametrize("top_k", [None, 1, 5, 17])
def test_a_memory_of_one_repeated_cell_is_read_as_that_cell(implementation, top_k):
    query, key, value, copies = _random()
    key = np.broadcast_to(key[:1, :1, :1], key.shape)
    value = np.broadcast_to(value[:1, :, :1, :1], value.shape)
    out = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_allclose(out, np.broadcast_to(value[0], out.shape), rtol=1e-6)


@each
@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 7, 30])
def test_a_copy_is_worth_a_slot_more(implementation, top_k):
    query, key, value, copies = _random()
    once = np.repeat(np.arange(4), copies)
    ones = np.ones(len(once), np.int32)
    written_out = _read(
        implementation, query, key[once], value[once], ones, top_k=top_k
    )
    counted = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_allclose(counted, written_out, atol=5e-7)


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
    expected = _weights(query, key, copies, top_k)
    found = [_attention(x, query, key, copies, top_k) for x in IMPLEMENTATIONS]
    for weights in found:
        np.testing.assert_array_equal(weights > 0, expected > 0)
        np.testing.assert_allclose(weights, expected, atol=3e-7)
    np.testing.assert_allclose(*found, atol=1e-7)


def test_of_equal_keys_the_first_k_are_averaged():
    query, key, value, copies = _equal_keys()
    # Slot 0 has six cells that count once; of slot 1, where they count twice, five fit.
    cells = value.swapaxes(0, 1).reshape(2, 24, 5)[:, :9]
    expected = np.average(cells, axis=1, weights=[1] * 6 + [2, 2, 1])
    out = _read("chunked", query, key, value, copies, top_k=11)
    wide = np.broadcast_to(expected[:, None, None], out.shape)
    np.testing.assert_allclose(out, wide, atol=3e-7)


@each
@pytest.mark.parametrize("top_k", [None, 3])
def test_what_uncounted_slots_hold_is_irrelevant(implementation, top_k):
    query, key, value, copies = _random()
    copies = copies[[2, 0, 1, 3]]
    plain = _read(implementation, query, key, value, copies, top_k=top_k)
    key[0], value[0] = query, 1e6
    other = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_array_equal(other, plain)


@each
@pytest.mark.parametrize("top_k", [6, 7, 1000])
def test_fewer_cells_than_asked_for_are_all_read(implementation, top_k):
    query, key, value, _ = _random()
    copies = np.array([0, 1, 0, 0], np.int32)
    dense = _loops(query, key, value, copies)
    out = _read(implementation, query, key, value, copies, top_k=top_k)
    np.testing.assert_allclose(out, dense, atol=1e-6)


@each
@pytest.mark.parametrize("top_k", [None, 3])
def test_no_memory_reads_zeros_and_has_no_gradient(implementation, top_k):
    query, key, value, copies = _random()
    out, gradients = _value_and_grad(
        query, key, value, 0 * copies, top_k, implementation
    )
    assert out == 0
    assert not any(np.asarray(gradient).any() for gradient in gradients)


@each
@pytest.mark.parametrize("top_k", [None, 4])
def test_enormous_similarities_stay_finite(implementation, top_k):
    query, key, value, copies = _random()
    args = 1e3 * query, 1e3 * key, value, copies
    out = _read(implementation, *args, top_k=top_k)
    np.testing.assert_allclose(out, _loops(*args, top_k), atol=1e-6)


# Gradients


@partial(jax.jit, static_argnums=(4, 5))
@partial(jax.value_and_grad, argnums=(0, 1, 2))
def _value_and_grad(query, key, value, copies, top_k, implementation):
    out = l2_read(query, key, value, copies, top_k=top_k, implementation=implementation)
    return jnp.sin(out).sum()


def _gap(query, key, copies, top_k):
    """The least difference of the similarities of the last cell taken and the next."""
    scores = _scores(query.reshape(-1, 5), key.reshape(-1, 5))
    counts = np.repeat(copies, 6)
    scores, counts = scores[:, counts > 0], counts[counts > 0]
    order = np.argsort(-scores, axis=-1)
    last = (np.cumsum(counts[order], axis=-1) < top_k).sum(-1)[:, None]
    ordered = np.take_along_axis(scores, order, -1)
    last, after = (np.take_along_axis(ordered, last + i, -1) for i in (0, 1))
    return (last - after).min()


@each
@pytest.mark.parametrize("top_k", [None, 4])
def test_gradients_agree_with_finite_differences(implementation, top_k):
    seed = max(range(40), key=lambda s: _gap(*_pick(_random(objects=2, seed=s)), 4))
    query, key, value, copies = _random(objects=2, seed=seed)
    assert _gap(query, key, copies, 4) > 0.03  # More than a step: no cell changes.

    @jax.jit
    def read(query, key, value):
        return l2_read(
            query, key, value, copies, top_k=top_k, implementation=implementation
        )

    check_grads(
        read, (query, key, value), 1, atol=5e-4, rtol=5e-4, eps=1e-3, modes=["rev"]
    )


def _pick(args):
    return args[0], args[1], args[3]


@pytest.mark.parametrize("top_k", [None, 1, 6, 1000])
def test_both_implementations_have_the_same_gradients(top_k):
    args = _random(5, 2, (5, 6), 16, 8)
    one, other = (_value_and_grad(*args, top_k, name) for name in IMPLEMENTATIONS)
    # The value is a sum of some 500 terms of size one that nearly cancel.
    np.testing.assert_allclose(one[0], other[0], atol=500 * np.finfo(np.float32).eps)
    for x, y in zip(one[1], other[1], strict=True):
        # The weight of a single cell is 1 whatever the keys are.
        assert np.isfinite(x).all() and (np.asarray(x).any() or top_k == 1)
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize(
    ("memory", "top_k"),
    [
        (_tied, 11),
        (_equal_keys, 20),
        (_one_slot, 7),
        (_one_cell, 3),
        (_nothing_else, 2),
    ],
)
def test_hard_memories_have_the_gradients_of_the_whole_affinity(memory, top_k):
    """Where cells tie, both must choose the same ones to have the same gradients."""
    args = memory()
    (one, gradients), (other, expected) = (
        _value_and_grad(*args, top_k, name) for name in IMPLEMENTATIONS
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    for x, y in zip(gradients, expected, strict=True):
        assert np.isfinite(x).all()
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    assert np.asarray(gradients[2]).any()


# How it computes


@each
@pytest.mark.parametrize("top_k", [None, 5])
def test_jit_and_vmap_and_a_loop_agree(implementation, top_k):
    videos = [_random(seed=seed) for seed in (0, 1)]
    videos[1][3][1:] = 0

    def read(*args):
        return l2_read(*args, top_k=top_k, implementation=implementation)

    loop = np.stack([_read(implementation, *video, top_k=top_k) for video in videos])
    eager = read(*map(jnp.asarray, videos[0]))
    np.testing.assert_allclose(eager, loop[0], atol=1e-6)
    stacked = [jnp.stack(x) for x in zip(*videos, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(read))(*stacked), loop, atol=1e-6)


@each
@pytest.mark.parametrize("top_k", [None, 10])
def test_bfloat16_is_near_float32_and_accumulates_in_it(implementation, top_k):
    *args, copies = _random(cells=(4, 6), key_dim=16)
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in args]
    out = _jitted(*rounded, copies, top_k=top_k, implementation=implementation)
    assert out.dtype == jnp.float32
    exact = _loops(*(np.asarray(x, np.float32) for x in rounded), copies, top_k)
    # At most the weights are rounded to 8 bits: 2^-9 of values of size 1, averaged.
    np.testing.assert_allclose(out, exact, atol=1e-2)


def test_objects_share_one_affinity():
    """Its size does not grow with the objects."""
    args = [_random(4, objects, (8, 8), 4, 1) for objects in (1, 6)]
    sizes = [_largest(partial(_total, "reference", 8), *x) for x in args]
    assert sizes[0] == sizes[1] == 4 * 64 * 64


@pytest.mark.parametrize("top_k", [None, 8])
def test_memory_use_is_bounded_unless_the_formula_is_asked_for(top_k):
    slots, cells = 8, 64
    query, key, value, copies = _random(slots, 2, (8, 8), 4, 4, seed=1)
    copies = np.ones(slots, np.int32)
    for implementation in IMPLEMENTATIONS:
        total = partial(_total, implementation, top_k)
        sizes = [
            _largest(program, query, key, value, copies)
            for program in (total, jax.grad(total, (0, 1, 2)))
        ]
        if implementation == "reference":
            assert min(sizes) >= slots * cells * cells
        else:
            # One slot's affinity beside the best cells so far, not that of all.
            assert max(sizes) <= cells * (cells + 8) * (2 if top_k is None else 1)


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
        for inner in jaxprs_in_params(equation.params):
            yield from _sizes(inner)


def test_compiled_temporaries_do_not_hold_the_affinity_of_all_slots():
    slots, cells = 16, 256
    query, key, value, _ = _random(slots, 1, (16, 16), 4, 4)[:4]
    copies = np.ones(slots, np.int32)
    affinity = 4 * slots * cells * cells
    used = {}
    for implementation in IMPLEMENTATIONS:
        read = _jitted.lower(
            query, key, value, copies, top_k=8, implementation=implementation
        )
        used[implementation] = read.compile().memory_analysis().temp_size_in_bytes
    assert used["reference"] >= affinity
    assert used["chunked"] < affinity / 3
