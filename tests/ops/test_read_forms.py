"""What the forms of a memory read share, beyond what holds for every read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.ops.every import bank, counted, counted_weights
from vos_jax.ops.l2_read import l2_read, l2_usage
from vos_jax.ops.read import space_time_read, space_time_usage
from vos_jax.ops.read_forms import blocks, pallas, read
from vos_jax.ops.read_forms.problem import Problem, Rules
from vos_jax.ops.read_forms.top_k import grouped_top_k

FORMS = ("reference", "slots", "blocks")
NOISE = 1e-6
"""Of the same numbers added in another order."""


# The best of many


@pytest.mark.parametrize(("length", "k"), [(1620, 20), (997, 20), (60, 3), (9, 9)])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_groups_have_the_best_in_the_order_of_a_sort(length, k, levels):
    rng = np.random.default_rng(length)
    scores = jnp.asarray(rng.integers(-levels, levels, (2, 5, length)), jnp.float32)
    found = jax.jit(partial(grouped_top_k, k=k))(scores)
    for one, other in zip(found, lax.top_k(scores, k), strict=True):
        np.testing.assert_array_equal(one, other)


def test_less_is_sorted_than_there_is():
    program = jax.make_jaxpr(partial(grouped_top_k, k=20))(jnp.zeros((1, 38880)))
    sorted_ = [x.invars[0].aval.shape[-1] for x in program.eqns if "top_k" in str(x)]
    assert sorted_ and max(sorted_) < 1000


# Blocks


@pytest.mark.parametrize("top_k", [None, 4])
@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_the_last_block_counts_no_slot_twice(similarity, top_k):
    """Five slots in blocks of two: the last one begins a slot earlier."""
    (query, key, value), (filled,) = bank(5)
    filled = np.ones_like(filled)
    ties = "all" if similarity == "dot" else "first"
    rules = Rules(similarity, top_k, ties)
    query = query.reshape(1, -1, query.shape[-1])
    problem = Problem(query, key, value, filled.astype(np.int32), rules)
    budget = 2 * 4 * 3 * 6 * 6
    assert blocks._Blocks(problem, budget).count == 3
    found = blocks.read(problem, True, budget=budget)
    expected = read(problem, "reference", None, with_usage=True)
    np.testing.assert_allclose(found.value, expected.value, atol=NOISE)
    np.testing.assert_allclose(found.usage, expected.usage, atol=NOISE)


def test_no_slot_is_too_large_for_a_block():
    args = bank(3)
    (floats, rest) = args
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BUDGET", 1)
        found = space_time_read(*floats, *rest, implementation="blocks")
    expected = space_time_read(*floats, *rest, implementation="reference")
    np.testing.assert_allclose(found, expected, atol=NOISE)


# Keys of each object


@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("form", FORMS)
def test_objects_with_keys_of_their_own_are_read_each_by_itself(form, top_k):
    (query, key, value), (copies,) = counted()
    keys = np.stack([key, key[::-1], 2 * key], axis=1)
    counts = np.stack([copies, 0 * copies, copies[::-1]], axis=1)
    options = {"top_k": top_k, "implementation": form}
    read = jax.jit(partial(l2_read, **options))
    found = read(query, keys, value, counts)
    for o in range(3):
        own = read(query, keys[:, o], value[:, [o]], counts[:, o])
        np.testing.assert_allclose(found[o], own[0], atol=NOISE)


# Usage


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top_k", [None, 3])
def test_what_cells_give_is_added_up_over_the_query(form, top_k):
    (query, key, value), (copies,) = counted()
    weights = counted_weights(query, key, copies, top_k)
    options = {"top_k": top_k, "implementation": form}
    out, usage = jax.jit(partial(l2_usage, **options))(query, key, value, copies)
    expected = weights.sum(0).reshape(key.shape[:3])
    np.testing.assert_allclose(usage, expected, atol=NOISE)
    plain = jax.jit(partial(l2_read, **options))(query, key, value, copies)
    np.testing.assert_allclose(out, plain, atol=NOISE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top_k", [None, 3])
def test_usage_adds_up_to_the_cells_that_ask_and_what_is_not_filled_has_none(
    form, top_k
):
    (query, key, value), (filled,) = bank()
    filled[:, 1] = False
    options = {"top_k": top_k, "implementation": form}
    out, usage = jax.jit(partial(space_time_usage, **options))(
        query, key, value, filled
    )
    assert not usage[~filled].any()
    total = np.asarray(usage).sum((0, 2, 3))
    np.testing.assert_allclose(total, [6, 0, 6], rtol=1e-5)
    plain = space_time_read(query, key, value, filled, **options)
    np.testing.assert_allclose(out, plain, atol=NOISE)


# In one kernel


def _kernel_problem(similarity, copies):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    arrays = draw(1, 9, 64), draw(2, 1, 3, 3, 64), draw(2, 2, 3, 3, 128)
    return Problem(*arrays, jnp.asarray(copies), Rules(similarity))


@pytest.mark.parametrize("similarity", ["dot", "l2"])
def test_the_kernel_reads_what_the_formula_says_and_has_its_gradient(similarity):
    # What is there twice counts twice; only distances have such memories.
    copies = np.array([[2], [1]], np.int32) if similarity == "l2" else np.eye(2, 1)
    problem = _kernel_problem(similarity, copies.astype(np.int32))

    def total(form, arrays):
        value = form(Problem(*arrays, *problem[3:]), False).value
        return jnp.sin(value).sum(), value

    kernel = partial(pallas.read, platform="tpu", interpret=True)
    given = problem[:3]
    (grads, value), (others, other) = (
        jax.jit(jax.grad(partial(total, form), has_aux=True))(given)
        for form in (kernel, blocks.read)
    )
    np.testing.assert_allclose(value, other, atol=2e-6)
    for one, two in zip(grads, others, strict=True):
        # Of sums of 36 terms, which the kernel rounds otherwise than the blocks.
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"platform": None}, "needs to know what the program is built for"),
        ({"platform": "cpu"}, 'platform is "cpu"'),
        ({"rules": Rules(top_k=3)}, "no kernel with top_k=3"),
        ({"rules": Rules(bias=lambda slot, which: 0)}, "no kernel with a bias"),
        ({"query": jnp.zeros((2, 9, 64))}, "no kernel with a query for each object"),
        ({"with_usage": True}, "no kernel with usage"),
    ],
)
def test_what_the_kernel_can_not_do_is_refused(options, words):
    problem = _kernel_problem("dot", np.ones((2, 1), np.int32))
    call = {"platform": "tpu", "with_usage": False}
    call |= {name: x for name, x in options.items() if name in call}
    fields = {name: x for name, x in options.items() if name not in call}
    with pytest.raises(ValueError, match=words):
        pallas.read(problem._replace(**fields), **call)
