"""What holds for every read, in each implementation of it."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import IMPLEMENTATIONS, READS, inner_programs
from vos_jax.ops import guided_read, position_map
from vos_jax.ops.read_forms import blocks

NOISE = 1e-6
"""Of the same numbers added in another order."""


def _cases(*, all_options=False):
    """Reads with options, as parameters."""
    return [
        pytest.param(name, index, id="-".join([name, *map(str, options.values())]))
        for name, read in READS.items()
        for index, options in enumerate(read.options)
        # Those of which tests compile more than one program.
        if all_options or index < (2 if "top_k" in options else 1)
    ]


each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
parted = pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
cases = pytest.mark.parametrize(("name", "index"), _cases())
# The second of a read's options where each is a program or two of its own.
first = pytest.mark.parametrize(
    ("name", "index"),
    [
        pytest.param(*x.values, id=x.id, marks=pytest.mark.slow if x.values[1] else [])
        for x in _cases()
    ],
)
gaps = pytest.mark.parametrize(
    ("name", "index"), [case for case in _cases() if READS[case.values[0]].emptied]
)


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """What is bounded comes in parts.

    The 35 cells of position maps are four parts of nine, the last of which lacks one.
    """
    monkeypatch.setattr(position_map, "CACHE", 350)
    monkeypatch.setattr(position_map, "ROOM", 350)
    monkeypatch.setattr(guided_read, "ROOM", 2**12)
    monkeypatch.setattr(blocks, "BUDGET", 500)
    monkeypatch.setattr(blocks, "TPU_BUDGET", 500)


def function(name, index, implementation, **more):
    """A read of floats and the rest."""
    read = READS[name]
    options = {**read.options[index], **more, "implementation": implementation}

    def call(floats, rest):
        return read.read(*floats, *rest, **options)

    return call


@functools.cache
def jitted(*case):
    return jax.jit(function(*case))


@functools.cache
def differentiated(*case):
    """What a read finds, and the gradients of a sum of its sines."""

    def total(floats, rest):
        out = function(*case)(floats, rest)
        return jnp.sin(3 * out).sum(), out

    program = jax.jit(jax.grad(total, has_aux=True))
    return lambda *args: program(*args)[::-1]


def expected(name, index, args, dtype=np.float64):
    floats, rest = args
    options = READS[name].options[index]
    return READS[name].loops(*floats, *rest, **options, dtype=dtype)


def assert_is_the_formula(out, *case):
    """Within eight times what float32 costs the same loops; a top-1 read costs none."""
    exact = expected(*case)
    noise = np.abs(expected(*case, dtype=np.float32) - exact).max()
    np.testing.assert_allclose(out, exact, rtol=0, atol=8 * max(noise, 6e-8))


# The formula


@each
@pytest.mark.parametrize(("name", "index"), _cases(all_options=True))
def test_a_read_equals_loops_in_float64(name, index, implementation):
    args = READS[name].random()
    out = jitted(name, index, implementation)(*args)
    assert out.dtype == jnp.float32
    assert_is_the_formula(out, name, index, args)


@parted
@first
def test_enormous_scores_stay_finite(name, index, implementation):
    (query, key, *floats), rest = READS[name].random()
    args = (1e3 * query, 1e3 * key, *floats), rest
    out, gradients = differentiated(name, index, implementation)(*args)
    np.testing.assert_allclose(out, expected(name, index, args), atol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@each
@first
def test_bfloat16_is_near_float32_and_accumulates_in_it(name, index, implementation):
    floats, rest = READS[name].random()
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in floats]
    out = jitted(name, index, implementation)(rounded, rest)
    assert out.dtype == jnp.float32
    total = differentiated(name, index, implementation)
    _, gradients = jax.eval_shape(total, rounded, rest)
    assert all(gradient.dtype == jnp.bfloat16 for gradient in gradients)
    exact = [np.asarray(x, np.float32) for x in rounded]
    # At most the weights are rounded to 8 bits: 2^-9 of values of size 1, averaged.
    np.testing.assert_allclose(out, expected(name, index, (exact, rest)), atol=1e-2)


# What may not change it


@parted
@cases
def test_the_order_of_objects_is_that_of_the_results(name, index, implementation):
    read, args = jitted(name, index, implementation), READS[name].random()
    plain, order = read(*args), np.array([1, 2, 0])
    moved = read(*READS[name].ordered(args, order))
    np.testing.assert_allclose(moved, plain[order], atol=NOISE)
    assert np.abs(plain - plain[order]).max() > 1e-3


@parted
@gaps
def test_where_nothing_is_remembered_zeros_are_read(name, index, implementation):
    floats, rest = READS[name].random()
    read = differentiated(name, index, implementation)
    plain, _ = read(floats, rest)
    for emptied in READS[name].emptied:
        out, gradients = read(floats, emptied(*rest))
        assert not np.asarray(out[1]).any()
        if np.asarray(out).any():
            np.testing.assert_array_equal(out[::2], plain[::2])
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        assert not any(np.asarray(gradient)[:, 1].any() for gradient in gradients[1:])


@parted
@gaps
def test_what_does_not_count_is_irrelevant(name, index, implementation):
    args = READS[name].random()
    read = differentiated(name, index, implementation)
    plain, other = read(*args), read(*READS[name].hidden(args))
    jax.tree.map(np.testing.assert_array_equal, plain, other)


@parted
@gaps
def test_more_that_does_not_count_changes_nothing(name, index, implementation):
    args = READS[name].random()
    read = jitted(name, index, implementation)
    longer = read(*READS[name].longer(args))
    np.testing.assert_allclose(longer, read(*args), atol=NOISE)


# Gradients


@parted
@cases
def test_gradients_agree_with_finite_differences(name, index, implementation):
    """Of the sum of sines, along the gradient and along another line."""
    floats, rest = READS[name].differentiated()
    case, step, rng = (name, index, implementation), 2e-3, np.random.default_rng(0)
    gradients = differentiated(*case)(floats, rest)[1]

    def total(moved):
        out = jitted(*case)(moved, rest)
        return np.sin(3 * np.asarray(out, np.float64)).sum()

    for place, gradient in enumerate(map(np.float64, gradients)):
        slope = np.linalg.norm(gradient)
        assert slope > 0
        for line in (gradient, slope * rng.normal(size=gradient.shape)):
            line = line / np.linalg.norm(line)
            ahead, behind = (
                (*floats[:place], np.float32(moved), *floats[place + 1 :])
                for moved in (floats[place] + step * line, floats[place] - step * line)
            )
            difference = (total(ahead) - total(behind)) / (2 * step)
            expected = np.vdot(gradient, line)
            np.testing.assert_allclose(difference, expected, atol=2e-3 * slope)


@cases
def test_parts_and_their_gradients_are_those_of_the_formula(name, index):
    args = READS[name].parts()
    one, *others = (
        [out, *gradients]
        for out, gradients in (
            differentiated(name, index, implementation)(*args)
            for implementation in IMPLEMENTATIONS
        )
    )
    for other in others:
        for x, y in zip(one, other, strict=True):
            assert x.dtype == y.dtype == jnp.float32
            assert np.isfinite(x).all() and np.asarray(x).any()
            scale = max(float(np.abs(x).max()), 1)
            # Sums of up to two thousand terms in another order.
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=4e-6 * scale)


# Programs


@parted
@first
def test_jit_and_vmap_and_a_loop_agree(name, index, implementation):
    videos = [READS[name].random(seed=seed) for seed in (0, 1)]
    if READS[name].emptied:
        floats, rest = videos[1]
        videos[1] = floats, READS[name].emptied[0](*rest)
    loop = [jitted(name, index, implementation)(*video) for video in videos]
    read = function(name, index, implementation)
    stacked = jax.tree.map(lambda *x: np.stack(x), *videos)
    mapped = jax.jit(jax.vmap(read))(*stacked)
    np.testing.assert_allclose(mapped, np.stack(loop), atol=NOISE)
    if index == 0:
        eager = read(*jax.tree.map(jnp.asarray, videos[0]))
        np.testing.assert_allclose(eager, loop[0], atol=NOISE)


def _sizes(jaxpr):
    """Sizes of all arrays that a program makes, in inner programs too."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in inner_programs(equation):
            yield from _sizes(inner)


@cases
def test_memory_use_is_bounded_unless_the_formula_is_asked_for(
    name, index, monkeypatch
):
    monkeypatch.setattr(position_map, "CACHE", 10_000)
    monkeypatch.setattr(position_map, "ROOM", 10_000)
    monkeypatch.setattr(blocks, "BUDGET", 4 * 2 * 64 * 64)
    floats, rest = READS[name].large()

    def largest(implementation, differentiate):
        def total(floats):
            return function(name, index, implementation)(floats, rest).sum()

        program = jax.grad(total) if differentiate else total
        return max(_sizes(jax.make_jaxpr(program)(floats).jaxpr))

    whole, given = READS[name].whole, max(x.size for x in floats)
    for differentiate in (False, True):
        assert largest("reference", differentiate) >= whole
        for form in ("slots", "blocks"):
            assert largest(form, differentiate) <= max(whole / 3, given)


def _program(name, implementation, **options):
    args = READS[name].random()
    read = partial(function(name, 0, implementation, **options))
    return str(jax.make_jaxpr(read)(*args))


@pytest.mark.parametrize("name", READS)
def test_the_platform_decides_unless_a_form_is_named(name):
    slots, blocks = (_program(name, form) for form in ("slots", "blocks"))
    assert "cond" not in blocks
    assert _program(name, "auto", platform="cpu") == slots
    assert _program(name, "auto", platform="cuda") == blocks
    assert _program(name, "auto", platform="tpu") == blocks
    assert _program(name, "slots", platform="cuda") == slots
