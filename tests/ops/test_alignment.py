"""Alignment against loops over cells, and that it forgives another pose."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests.ops.every import IMPLEMENTATIONS
from vos_jax.ops.alignment import align, compare_unaligned

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def _maps(objects=2, proposals=3, side=3, channels=5, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (objects, side, side, channels), (proposals, side, side, channels)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def _loops(template, proposals, alpha, center=False, dtype=np.float64):
    """Similarity, aligned proposals and correspondence, one cell after the other."""
    template, proposals = (
        x.reshape(len(x), -1, x.shape[-1]).astype(dtype) for x in (template, proposals)
    )
    if center:
        template, proposals = (
            x - x.mean(1, keepdims=True) for x in (template, proposals)
        )
    cells, channels = template.shape[1:]
    pairs = len(template), len(proposals)
    similarity = np.zeros(pairs, dtype)
    aligned = np.zeros((*pairs, cells, channels), dtype)
    correspondence = np.zeros((*pairs, cells, cells), dtype)
    for o, n, i in np.ndindex(*pairs, cells):
        own, others = template[o, i], proposals[n]
        scores = dtype(alpha) * np.array([_cosine(own, x) for x in others], dtype)
        weights = np.exp(scores - scores.max())
        correspondence[o, n, i] = weights / weights.sum()
        aligned[o, n, i] = correspondence[o, n, i] @ others
        similarity[o, n] += _cosine(own, aligned[o, n, i]) / cells
    return similarity, aligned, correspondence


def _cosine(x, y):
    return x @ y / np.sqrt((x @ x) * (y @ y))


@cache
def _aligned(implementation):
    program = partial(align, implementation=implementation)
    return jax.jit(program, static_argnames="center")


@cache
def _with_gradients(implementation):
    def total(maps):
        found = align(*maps, 4.0, implementation=implementation).similarity
        return jnp.sin(3 * found).sum(), found

    return jax.jit(jax.grad(total, has_aux=True))


# The formula


@each
@pytest.mark.parametrize(("alpha", "center"), [(100, False), (4, False), (4, True)])
def test_alignments_are_those_of_loops(implementation, alpha, center):
    maps = _maps()
    found = _aligned(implementation)(*maps, alpha, center=center)
    exact, rounded = (_loops(*maps, alpha, center, x) for x in (np.float64, np.float32))
    shapes = (2, 3), (2, 3, 3, 3, 5), (2, 3, 9, 9)
    for one, other, plain, shape in zip(found, exact, rounded, shapes, strict=True):
        if one is None:
            assert implementation != "reference"
            continue
        noise = np.abs(plain - other).max()
        assert one.dtype == np.float32 and one.shape == shape
        one = np.asarray(one).reshape(other.shape)
        np.testing.assert_allclose(one, other, rtol=0, atol=8 * max(noise, 6e-8))
    assert (implementation == "reference") == (found.correspondence is not None)


def test_without_jit_it_is_the_same():
    maps = [jnp.asarray(x) for x in _maps()]
    plain = align(*maps, 4.0).similarity
    found = _aligned("auto")(*maps, 4.0).similarity
    np.testing.assert_allclose(found, plain, atol=1e-6)


def test_cells_of_the_same_place_are_compared_where_nothing_is_aligned():
    template, proposals = _maps()
    found = jax.jit(compare_unaligned)(template, proposals)
    expected = [
        [
            np.mean([_cosine(x, y) for x, y in zip(own, other, strict=True)])
            for other in proposals.reshape(3, 9, 5).astype(np.float64)
        ]
        for own in template.reshape(2, 9, 5).astype(np.float64)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    centred = [x - x.mean((1, 2), keepdims=True) for x in (template, proposals)]
    np.testing.assert_allclose(
        compare_unaligned(template, proposals, center=True),
        compare_unaligned(*centred),
        atol=1e-6,
    )


# What it says


@each
def test_a_proposal_in_another_pose_is_as_alike_as_in_the_same(implementation):
    """Turned by a quarter, and brighter: every cell finds its like."""
    template, _ = _maps(channels=16)
    turned = 3 * np.rot90(template, axes=(1, 2)).copy()
    found = _aligned(implementation)(template, turned, 100.0).similarity
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)
    assert found[0, 1] < 0.9
    assert np.diag(compare_unaligned(template, turned)).max() < 0.6


@each
def test_the_order_of_objects_and_proposals_is_that_of_the_results(implementation):
    template, proposals = _maps(3, 4)
    plain = np.asarray(_aligned(implementation)(template, proposals).similarity)
    rows, columns = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
    found = _aligned(implementation)(template[rows], proposals[columns]).similarity
    np.testing.assert_allclose(found, plain[rows][:, columns], atol=1e-6)


@each
def test_the_order_of_a_proposals_cells_is_irrelevant(implementation):
    template, proposals = _maps()
    plain = _aligned(implementation)(template, proposals).similarity
    found = _aligned(implementation)(template, proposals[:, ::-1, ::-1]).similarity
    np.testing.assert_allclose(found, plain, atol=1e-6)


@each
def test_maps_of_zeros_are_like_nothing_and_give_finite_gradients(implementation):
    template, proposals = _maps()
    template[0], proposals[1] = 0, 0
    gradients, found = _with_gradients(implementation)((template, proposals))
    assert not np.asarray(found[0]).any() and not np.asarray(found[:, 1]).any()
    assert all(np.isfinite(x).all() for x in gradients)


# Programs


def test_gradients_agree_with_finite_differences():
    compare = jax.jit(partial(align, alpha=4.0, implementation="reference"))
    check_grads(
        lambda *maps: compare(*maps).similarity,
        _maps(2, 2, 2, 3, seed=3),
        1,
        modes=["rev"],
        atol=2e-3,
        rtol=2e-3,
        eps=1e-2,
    )


def test_all_implementations_have_the_same_gradients():
    maps = _maps(3, 4)
    one, *others = (_with_gradients(x)(maps)[0] for x in IMPLEMENTATIONS)
    for other in others:
        for x, y in zip(one, other, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)


@each
def test_inputs_of_bfloat16_are_compared_in_float32(implementation):
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in _maps()]
    found = _aligned(implementation)(*rounded, 4.0).similarity
    exact = [np.asarray(x, np.float32) for x in rounded]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _loops(*exact, 4)[0], atol=1e-6)


@pytest.mark.parametrize(
    "differentiated", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_ten_objects_and_thirty_proposals_take_less_than_200_megabytes(differentiated):
    """The formula would hold 46 MB of each of several arrays, and 60 MB of others."""
    shapes = (10, 14, 14, 256), (30, 14, 14, 256)
    maps = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]

    def total(maps):
        return align(*maps).similarity.sum()

    program = jax.grad(total) if differentiated else total
    compiled = jax.jit(program).lower(maps).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 200e6
