"""Relations of sets of cells against the sums over pairs that they stand for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops.object_relation import (
    CellSet,
    cell_set,
    foreground_cells,
    gather_matrix,
)

_foreground = jax.jit(foreground_cells)
_set = jax.jit(cell_set)
_gathering = jax.jit(gather_matrix)


def _random(objects=3, cells=(4, 5), channels=6, seed=0):
    """Values of each object's first frame and of a frame; the last object is empty."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(objects, *cells, channels)).astype(np.float32)
    frame = rng.normal(size=(*cells, channels)).astype(np.float32)
    chosen = rng.random((objects, *cells)) < 0.4
    chosen[-1] = False
    return first, frame, chosen


def _linear(channels=6, seed=5):
    """Kernel, inputs first, and bias of `g`."""
    rng = np.random.default_rng(seed)
    shapes = (channels, channels), (channels,)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def _enhanced(cells, others, kernel, bias, d, dtype=np.float64):
    """What the paper has each cell become: a sum over pairs, a pair at a time."""
    cells, others, kernel, bias = (
        np.asarray(x, dtype) for x in (cells, others, kernel, bias)
    )
    out = cells.copy()
    for j, i in np.ndindex(len(cells), len(others)):
        affinity = dtype(others[i] @ cells[j])
        out[j] += affinity * (others[i] @ kernel + bias) / dtype(d)
    return out


def _both_enhanced(first, frame, chosen, kernel, bias, dtype=np.float64):
    """The frame as each object sees it, and the mean of each object's enhanced set."""
    flat = frame.reshape(-1, frame.shape[-1])
    seen, mean = [], []
    for values, is_chosen in zip(first, chosen, strict=True):
        own = values[is_chosen]
        d = is_chosen.size
        seen.append(_enhanced(flat, own, kernel, bias, d, dtype))
        enhanced = _enhanced(own, flat, kernel, bias, d, dtype)
        mean.append(enhanced.sum(0) / dtype(max(len(own), 1)))
    return np.reshape(seen, (len(first), *frame.shape)), np.stack(mean)


@jax.jit
def _factored(first, frame, chosen, kernel, bias):
    """The same by matrices, as `vos_jax.methods.lcm.blocks` multiplies them."""
    cells = cell_set(first, chosen)
    everything = cell_set(frame, jnp.ones(frame.shape[:2], bool))
    of_object = gather_matrix(cells, kernel, bias)
    of_frame = gather_matrix(everything, kernel, bias)
    product = partial(jnp.einsum, precision="highest")
    seen = frame[None] + product("oij,hwj->ohwi", of_object, frame)
    return seen, cells.mean + product("ij,oj->oi", of_frame, cells.mean)


# Cells of an object


def test_an_object_has_the_cells_that_it_covers_by_half():
    coverage = np.array([[0, 0.2, 0.499], [0.5, 0.75, 1]], np.float32)
    chosen = _foreground(coverage)
    assert chosen.dtype == bool
    np.testing.assert_array_equal(chosen, [[False] * 3, [True] * 3])
    assert _foreground(np.ones((2, 3), np.float32)).all()


def test_a_small_object_has_the_cells_that_it_covers_most():
    coverage = np.array([[0, 0.1, 0.3], [0.3, 0.29, 1e-6]], np.float32)
    expected = [[False, False, True], [True, False, False]]
    np.testing.assert_array_equal(_foreground(coverage), expected)
    tiny = np.zeros((2, 3), np.float32)
    tiny[1, 2] = 1e-30
    np.testing.assert_array_equal(_foreground(tiny), tiny > 0)


def test_an_empty_mask_has_no_cells_beside_other_objects():
    coverage = np.zeros((3, 2, 3), np.float32)
    coverage[0, 0, 0], coverage[2, 1, 1] = 0.2, 0.9
    coverage[2, 1, 2] = 0.2  # Object 0's measure is not object 2's.
    expected = np.zeros((3, 2, 3), bool)
    expected[0, 0, 0] = expected[2, 1, 1] = True
    np.testing.assert_array_equal(_foreground(coverage), expected)
    np.testing.assert_array_equal(jax.vmap(_foreground)(coverage), expected)


# Sums over cells


def _sums(value, chosen, dtype=np.float64):
    """One cell after the other."""
    channels = value.shape[-1]
    products = np.zeros((channels, channels), dtype)
    total = np.zeros(channels, dtype)
    for cell in value[chosen].astype(dtype):
        products += np.outer(cell, cell)
        total += cell
    d, count = dtype(chosen.size), dtype(max(chosen.sum(), 1))
    return CellSet(products / d, total / d, total / count)


def _stacked_sums(value, chosen, dtype=np.float64):
    """`_sums` of every object."""
    sets = [_sums(*own, dtype) for own in zip(value, chosen, strict=True)]
    return CellSet(*map(np.stack, zip(*sets, strict=True)))


def _assert_near(found, expected, rounded):
    """Within eight times what float32 costs the same loops."""
    noise = np.abs(rounded - expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * noise)


def test_a_set_is_the_sums_of_its_cells():
    value, _, chosen = _random()
    found = _set(value, chosen)
    expected = _stacked_sums(value, chosen)
    rounded = _stacked_sums(value, chosen, np.float32)
    for parts in zip(found, expected, rounded, strict=True):
        assert parts[0].dtype == np.float32
        _assert_near(*parts)


def test_products_and_total_are_over_all_cells_of_a_frame_and_the_mean_is_not():
    value = np.full((4, 5, 2), 3, np.float32)
    chosen = np.zeros((4, 5), bool)
    chosen[0, :2] = True
    found = _set(value, chosen)
    np.testing.assert_allclose(found.products, np.full((2, 2), 9 * 2 / 20), rtol=1e-6)
    np.testing.assert_allclose(found.total, [3 * 2 / 20] * 2, rtol=1e-6)
    np.testing.assert_allclose(found.mean, [3, 3], rtol=1e-6)


def test_an_empty_set_is_zeros():
    value, _, chosen = _random()
    for x in _set(value, chosen):
        assert not np.asarray(x)[-1].any() and np.asarray(x)[:-1].any()


@pytest.mark.parametrize("outside", [-1.0, 3e38, np.inf, np.nan])
def test_what_is_outside_of_the_object_is_irrelevant_to_the_last_bit(outside):
    value, _, chosen = _random()
    plain = _set(value, chosen)
    other = np.where(chosen[..., None], value, np.float32(outside))
    jax.tree.map(np.testing.assert_array_equal, _set(other, chosen), plain)

    @jax.jit
    @jax.grad
    def gradient(value):
        return sum(jnp.sin(x).sum() for x in cell_set(value, chosen))

    found = np.asarray(gradient(other))
    assert np.isfinite(found).all() and found[chosen].all()
    assert not found[~chosen].any()


def test_the_order_of_cells_is_irrelevant():
    value, _, chosen = _random()
    plain = _set(value, chosen)
    for x, y in zip(
        _set(value[:, ::-1, ::-1], chosen[:, ::-1, ::-1]), plain, strict=True
    ):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_permuting_objects_permutes_sets():
    value, _, chosen = _random()
    order = np.array([2, 0, 1])
    plain, moved = _set(value, chosen), _set(value[order], chosen[order])
    for x, y in zip(moved, plain, strict=True):
        np.testing.assert_allclose(x, np.asarray(y)[order], atol=1e-6)


# What cells gather


def test_what_a_cell_gathers_is_the_sum_over_the_cells_of_a_set():
    value, frame, chosen = _random()
    kernel, bias = _linear()
    found = _gathering(_set(value, chosen), kernel, bias)
    assert found.dtype == np.float32
    x = frame[1, 2]
    for o in range(3):
        gathered = _enhanced(x[None], value[o][chosen[o]], kernel, bias, 20)[0] - x
        # Sums of six products of six numbers, of size up to ten.
        np.testing.assert_allclose(found[o] @ x, gathered, atol=1e-5)
    assert not np.asarray(found[2]).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_factored_form_is_the_sums_over_pairs_of_cells(seed):
    """Both sums of the paper, and the mean over the object's cells of the second."""
    args = *_random(seed=seed), *_linear(seed=5 + seed)
    expected = _both_enhanced(*args)
    rounded = _both_enhanced(*args, dtype=np.float32)
    for parts in zip(_factored(*args), expected, rounded, strict=True):
        _assert_near(*parts)
    value, frame, chosen = args[:3]
    assert np.abs(expected[0] - frame).max() > 0.5
    assert np.abs(expected[1] - _stacked_sums(value, chosen).mean).max() > 0.1


def test_the_enhanced_set_is_zero_off_the_set_whatever_the_bias():
    """So sums over all cells of the factored form are sums over the set."""
    value, frame, chosen = _random()
    kernel, bias = _linear()
    of_frame = _gathering(_set(frame, np.ones((4, 5), bool)), kernel, bias)
    kept = np.where(chosen[..., None], value, 0)
    enhanced = kept + np.einsum("ij,ohwj->ohwi", of_frame, kept)
    assert not enhanced[~chosen].any()
    count = np.maximum(chosen.sum((1, 2)), 1)[:, None]
    mean = enhanced.sum((1, 2)) / count
    expected = _both_enhanced(value, frame, chosen, kernel, bias)[1]
    np.testing.assert_allclose(mean, expected, atol=1e-5)


def test_a_gathering_of_one_set_needs_no_batch():
    value, _, chosen = _random()
    kernel, bias = _linear()
    together = _gathering(_set(value, chosen), kernel, bias)
    alone = [
        _gathering(_set(value[o], chosen[o]), kernel, bias) for o in range(len(value))
    ]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


# Programs


def test_gradients_agree_with_finite_differences():
    value, frame, chosen = _random(objects=2, cells=(2, 3), channels=3)
    chosen[-1] = ~chosen[0]
    args = value, frame, *_linear(3)

    @jax.jit
    def relate(value, frame, kernel, bias):
        return _factored(value, frame, chosen, kernel, bias)

    check_grads(relate, args, 1, atol=2e-3, rtol=2e-3, eps=1e-2)


def test_vmap_and_a_loop_agree():
    videos = [_random(seed=seed) for seed in (0, 1)]
    linear = _linear()
    loop = [_factored(*video, *linear) for video in videos]
    stacked = [jnp.stack(x) for x in zip(*videos, strict=True)]
    together = jax.vmap(_factored, (0, 0, 0, None, None))(*stacked, *linear)
    for which in range(2):
        expected = np.stack([out[which] for out in loop])
        # Sums of up to 120 products, of size up to ten.
        np.testing.assert_allclose(together[which], expected, atol=1e-5)


def test_bfloat16_is_near_float32_and_accumulates_in_it():
    value, _, chosen = _random(cells=(16, 20))
    rounded = jnp.asarray(value, jnp.bfloat16)
    found = _set(rounded, chosen)
    exact = np.asarray(rounded, np.float32)
    expected = _stacked_sums(exact, chosen)
    noise = _stacked_sums(exact, chosen, np.float32)
    # Only the inputs are rounded: products of theirs are exact in float32.
    for parts in zip(found, expected, noise, strict=True):
        assert parts[0].dtype == jnp.float32
        _assert_near(*parts)
    # Values of size 1 to 8 bits.
    for x, y in zip(found, _set(value, chosen), strict=True):
        np.testing.assert_allclose(x, y, atol=2e-3)
