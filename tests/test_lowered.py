"""What is asked of lowered programs can fail."""

import jax
import jax.numpy as jnp
from jax import lax

from tests.lowered import branches, converted, lower, open_loops

SCALAR = jax.ShapeDtypeStruct((), jnp.float32)
MATRIX = jax.ShapeDtypeStruct((4, 4), jnp.float32)


def _module(function, *arguments):
    return lower(function, arguments, "cuda")


def test_a_branch_is_found():
    def branching(x):
        return lax.cond(x > 0, jnp.sin, jnp.cos, x)

    assert len(branches(_module(branching, SCALAR))) == 1
    assert not branches(_module(lambda x: jnp.where(x > 0, x, -x), SCALAR))


def test_a_branch_inside_of_a_loop_in_a_function_is_found():
    @jax.jit
    def inner(total, x):
        return lax.cond(x > 0, lambda: total + x, lambda: total), None

    module = _module(lambda x: lax.scan(inner, 0.0, x)[0], MATRIX.update(shape=(4,)))
    assert branches(module)
    assert not open_loops(module)


def test_a_loop_that_a_value_ends_is_found():
    def doubled(x, end):
        return lax.while_loop(lambda x: x < end, lambda x: 2 * x, x)

    assert open_loops(_module(doubled, SCALAR, SCALAR))


def test_a_loop_that_a_value_may_end_early_is_found():
    def early(x):
        return lax.while_loop(
            lambda s: (s[0] < 9) & (s[1] < 1), lambda s: (s[0] + 1, 2 * s[1]), (0, x)
        )

    assert open_loops(_module(early, SCALAR))


def test_a_loop_to_a_value_and_one_from_a_value_are_found():
    to, begin = jax.ShapeDtypeStruct((), jnp.int32), jnp.int32(0)

    def till(n, x):
        return lax.fori_loop(begin, n, lambda i, x: 2 * x, x)

    def since(n, x):
        return lax.fori_loop(n, jnp.int32(9), lambda i, x: 2 * x, x)

    assert open_loops(_module(till, to, SCALAR))
    assert open_loops(_module(since, to, SCALAR))


def test_a_loop_whose_steps_are_a_value_is_found():
    def strided(n, x):
        return lax.while_loop(
            lambda s: s[0] < 9, lambda s: (s[0] + n, 2 * s[1]), (jnp.int32(0), x)
        )

    assert open_loops(_module(strided, jax.ShapeDtypeStruct((), jnp.int32), SCALAR))


def test_scans_and_loops_between_numbers_are_closed():
    def turns(x):
        x = lax.fori_loop(0, 7, lambda i, x: i * x, x)
        x = lax.map(lambda row: lax.scan(lambda c, a: (c + a, c), 0.0, row)[1], x)
        return jax.grad(lambda x: lax.scan(lambda c, a: (c * a, None), 1.0, x)[0])(x[0])

    module = _module(turns, MATRIX)
    assert "stablehlo.while" in str(module)
    assert not open_loops(module)


def test_a_weight_that_changes_its_type_is_found_wherever_it_goes():
    def half(weights, x):
        return x @ weights.astype(jnp.bfloat16)

    def moved(weights, x):
        turned = jnp.pad(weights.T[:2].reshape(4, 2), ((0, 0), (0, 2)))
        return x @ turned.astype(jnp.bfloat16)

    def called(weights, x):
        return jax.jit(half)(weights, x)

    def scanned(weights, x):
        return lax.scan(lambda x, _: (half(weights, x), None), x, jnp.arange(3))[0]

    x = MATRIX.update(dtype=jnp.bfloat16)
    for function in (half, moved, called, scanned):
        assert converted(_module(function, MATRIX, x), 1), function.__name__


def test_what_is_computed_from_weights_or_beside_them_may_change_its_type():
    def fine(weights, x):
        return ((x @ weights) * jnp.float32(2)).astype(jnp.bfloat16)

    def given(weights, x):
        return x.astype(jnp.bfloat16) @ weights

    half = MATRIX.update(dtype=jnp.bfloat16)
    assert not converted(_module(fine, MATRIX, MATRIX), 1)
    assert not converted(_module(given, half, MATRIX), 1)
    assert converted(_module(given, half, MATRIX), 2)
