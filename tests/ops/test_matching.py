"""The matching layer against loops in float64, and that padding does not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.matching import match

COLUMNS = 7
CASES = [(1, 5), (3, 6), (3, 3), (4, 1), (2, 0)]
"""Objects and proposals; the last three need null columns."""

_match = jax.jit(match, static_argnames=("n_grad", "n_proj", "average"))


def _problem(objects, proposals, seed=0):
    """Similarities, what is valid of the columns, and that all objects are."""
    rng = np.random.default_rng((objects, proposals, seed))
    similarity = rng.uniform(0, 0.9, (objects, COLUMNS)).astype(np.float32)
    return similarity, np.arange(COLUMNS) < proposals, np.ones(objects, bool)


def _loops(similarity, n_grad=40, n_proj=5, average="iterates"):
    """Of proposals that there are alone, one entry after the other."""
    objects, proposals = similarity.shape
    cost = -np.concatenate(
        [similarity, np.zeros((objects, max(objects + 1 - proposals, 0)))], axis=1
    ).astype(np.float64)
    point = _first(cost)
    rows, columns = point.shape
    first, second, third = np.zeros((3, *point.shape))
    points = [point] if average == "iterates" else []
    for _ in range(n_grad):
        point = point - 0.1 * cost
        if average == "iterates":
            points.append(point)
        for _ in range(n_proj):
            moved = point + first
            point = np.maximum(moved, 0)
            first, moved = moved - point, point + second
            point = moved.copy()
            for n in range(columns):
                point[:, n] -= max(moved[:, n].sum() - 1, 0) / rows
            second, moved = moved - point, point + third
            point = moved.copy()
            for o in range(rows):
                point[o] -= (moved[o].sum() - 1) / columns
            third = moved - point
        if average == "projected":
            points.append(point)
    return np.mean(points, axis=0)


def _first(cost):
    start = np.zeros_like(cost)
    owner = cost.argmin(axis=0)
    for o, own in enumerate(cost):
        start[o, np.where(owner == o, own, cost.max()).argmin()] = 1
    return start


def _of_four_rows(similarity, proposal_valid, object_valid):
    """The same problem, so that all of them share a program."""
    extra = 4 - len(similarity)
    similarity = np.pad(similarity, ((0, extra), (0, 0)))
    return similarity, proposal_valid, np.pad(object_valid, (0, extra))


def _padded(found):
    """With the columns that are not of the problem, which are zeros."""
    return np.pad(found, ((0, 0), (0, COLUMNS - found.shape[1])))


# The layer


@pytest.mark.parametrize(("objects", "proposals"), CASES)
@pytest.mark.parametrize(
    "options", [{}, {"n_grad": 10}, {"n_proj": 4}, {"average": "projected"}], ids=str
)
def test_a_matching_is_that_of_loops(objects, proposals, options):
    args = _problem(objects, proposals)
    found = np.asarray(_match(*_of_four_rows(*args), **options))
    assert found.dtype == np.float32 and found.shape == (4, COLUMNS)
    assert not found[objects:].any()
    found = found[:objects]
    expected = _padded(_loops(args[0][:, :proposals], **options))
    # Sums of up to 600 steps of numbers below 4.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    assert not found[:, max(proposals, objects + 1) :].any()
    if options.get("average") == "projected":
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_objects_that_want_the_same_proposal_share_the_others_out():
    similarity = np.zeros((2, COLUMNS), np.float32)
    similarity[:, 0], similarity[:, 1] = (0.9, 0.85), (0.7, 0.2)
    valid = np.arange(COLUMNS) < 2
    found = np.asarray(_match(similarity, valid, np.ones(2, bool)))
    assert found[0].argmax() == 1 and found[1].argmax() == 0


def test_without_jit_it_is_the_same():
    args = _problem(3, 6)
    plain = match(*args, n_grad=1, n_proj=1)
    found = _match(*args, n_grad=1, n_proj=1)
    np.testing.assert_allclose(found, plain, atol=1e-6)


# What does not count


@pytest.mark.parametrize(("objects", "proposals"), [(4, 1), (2, 0)])
def test_padding_is_exact(objects, proposals):
    """To the last bit, whatever the padding holds."""
    similarity, proposal_valid, object_valid = _problem(objects, proposals)
    plain = np.asarray(_match(similarity, proposal_valid, object_valid))
    for junk in (0, -7, np.nan, np.inf):
        padded = np.full((5, COLUMNS), junk, np.float32)
        padded[:objects, :proposals] = similarity[:, :proposals]
        found = _match(padded, proposal_valid, np.arange(5) < objects)
        np.testing.assert_array_equal(found[:objects], plain)
        assert not np.asarray(found[objects:]).any()


def test_longer_columns_change_nothing_but_rounding():
    similarity, proposal_valid, object_valid = _problem(3, 6)
    plain = _match(similarity, proposal_valid, object_valid)
    longer = np.pad(similarity, ((0, 0), (0, 24)), constant_values=9)
    found = _match(longer, np.arange(len(longer[0])) < 6, object_valid)
    np.testing.assert_allclose(found[:, :COLUMNS], plain, atol=1e-6)
    assert not np.asarray(found[:, 6:]).any()


def test_rows_and_columns_may_be_in_any_order():
    similarity, proposal_valid, object_valid = _problem(4, 6)
    object_valid = object_valid & (np.arange(4) != 2)
    plain = np.asarray(_match(similarity, proposal_valid, object_valid))
    rows, columns = np.array([2, 0, 3, 1]), np.array([6, 3, 0, 5, 1, 4, 2])
    moved = similarity[rows][:, columns]
    found = _match(moved, proposal_valid[columns], object_valid[rows])
    np.testing.assert_allclose(found, plain[rows][:, columns], atol=1e-6)


def test_without_objects_nothing_is_matched():
    similarity, proposal_valid, object_valid = _problem(3, 6)
    found = np.asarray(_match(similarity, proposal_valid, ~object_valid))
    assert not found.any()


# Gradients


@jax.jit
def _pull(similarity, proposal_valid, object_valid, cotangent):
    def total(similarity):
        found = match(similarity, proposal_valid, object_valid, n_grad=10)
        return (found * cotangent).sum()

    return jax.grad(total)(similarity)


def _pulled(similarity, proposal_valid, object_valid, cotangent):
    args = _of_four_rows(similarity, proposal_valid, object_valid)
    extra = ((0, 4 - len(similarity)), (0, 0))
    found = _pull(*args, np.pad(cotangent, extra, constant_values=3))
    assert not np.asarray(found[len(similarity) :]).any()
    return np.asarray(found[: len(similarity)])


@pytest.mark.parametrize(("objects", "proposals"), CASES[:4])
def test_gradients_agree_with_finite_differences(objects, proposals):
    """Of the loops in float64."""
    args = _problem(objects, proposals, seed=1)
    cotangent = np.random.default_rng(5).normal(size=args[0].shape).astype(np.float32)
    found, step = _pulled(*args, cotangent), 1e-6
    own = args[0][:, :proposals].astype(np.float64)
    expected = np.zeros_like(found)
    for place in np.ndindex(own.shape):
        moved = np.zeros_like(own)
        moved[place] = step
        ahead, behind = (
            (_padded(_loops(own + sign * moved, 10)) * cotangent).sum()
            for sign in (1, -1)
        )
        expected[place] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_what_is_not_valid_gets_no_gradient_and_gives_no_nan():
    similarity, proposal_valid, object_valid = _problem(3, 4)
    similarity[:, 4:] = np.nan
    ones = np.ones((3, COLUMNS), np.float32)
    found = _pulled(similarity, proposal_valid, object_valid, ones)
    assert np.isfinite(found).all() and not found[:, 4:].any()


def test_a_wrong_choice_can_be_undone():
    """Averaged projected points would hardly move."""
    similarity = np.full((3, COLUMNS), 0.3, np.float32)
    similarity[0, :2], similarity[1, 2], similarity[2, 3] = (0.5, 0.9), 0.9, 0.9
    args = similarity, np.ones(COLUMNS, bool), np.ones(3, bool)
    cotangent = np.zeros((3, COLUMNS), np.float32)
    cotangent[0, :2] = 1, -1
    found = _pulled(*args, cotangent)
    assert found[0, 0] > 0.05 and found[0, 1] < -0.05


# Errors


def test_a_problem_without_room_for_null_columns_is_an_error():
    with pytest.raises(ValueError, match="3 columns for 3 objects: pad to at least 4"):
        match(jnp.zeros((3, 3)), np.ones(3, bool), np.ones(3, bool))


def test_an_unknown_average_is_an_error():
    with pytest.raises(ValueError, match="average='mean'"):
        match(*_problem(1, 2), average="mean")
