"""SAM against its formulas in float64, and its recurrence over a clip."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import inner_programs
from vos_jax.ops.aggregation import (
    RATES,
    Affine,
    Enhance,
    Extract,
    Weights,
    aggregate,
    aggregate_clip,
    enhance,
)

CHANNELS = 8
# Sides of both parities: the pooling drops an odd last row or column.
SIZES = [(5, 7), (4, 6), (3, 2)]

each = pytest.mark.parametrize("implementation", ["reference", "auto"])


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _weights(channels=CHANNELS, seed=0):
    """Kernels that keep the scale, and no bias that is zero."""
    rng = np.random.default_rng((seed, 1))
    half, quarter = channels // 2, channels // 4

    def kernel(*shape):
        scale = np.prod(shape[:-1]) ** -0.5
        return rng.normal(0, scale, shape).astype(np.float32)

    def affine(*shape):
        bias = rng.normal(0, 0.5, shape[-1]).astype(np.float32)
        return Affine(kernel(*shape), bias)

    narrow = [affine(1, 1, channels, half) for _ in range(3)]
    rates = [kernel(1, 1, channels, quarter)]
    rates += [kernel(3, 3, channels, quarter) for _ in RATES]
    return Weights(
        Extract(*narrow, affine(1, 1, half, channels)),
        Enhance(tuple(rates), kernel(3, 3, channels, channels)),
        affine(2, 3, 3, channels, channels),
    )


def _clip(length, size=(5, 7), channels=CHANNELS, seed=0):
    return _random(length, 2, *size, channels, seed=seed)


@functools.cache
def _jitted(function, **options):
    return jax.jit(partial(function, **options))


# The formulas, one object after the other, frames `[T, h, w, C]`


def _conv(x, kernel, dilation=1):
    """Of every frame alone, tap by tap."""
    size = kernel.shape[0]
    reach = size // 2 * dilation
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    height, width = x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernel.shape[-1]), x.dtype)
    for i, j in np.ndindex(size, size):
        row, column = i * dilation, j * dilation
        out += padded[:, row : row + height, column : column + width] @ kernel[i, j]
    return out


def _pooled(x):
    frames, height, width, channels = x.shape
    out = np.zeros((frames, height // 2, width // 2, channels), x.dtype)
    for i, j in np.ndindex(out.shape[1:3]):
        out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return out


def _extract(weights, x):
    """Every cell with every pooled cell, as the paper draws it."""
    theta, phi, g = (_conv(x, w.kernel) + w.bias for w in weights[:3])
    phi, g = (_pooled(y).reshape(-1, y.shape[-1]) for y in (phi, g))
    found = np.zeros_like(theta)
    for place in np.ndindex(theta.shape[:3]):
        for key, value in zip(phi, g, strict=True):
            found[place] += theta[place] @ key / x.dtype.type(len(phi)) * value
    return x + _conv(found, weights.out.kernel) + weights.out.bias


def _enhance(weights, x):
    parts = [
        _conv(x, kernel, rate)
        for kernel, rate in zip(weights.rates, (1, 2, 4, 6), strict=True)
    ]
    joined = np.maximum(np.concatenate(parts, axis=-1), 0)
    return x + np.maximum(_conv(joined, weights.merge), 0)


def _loops(weights, recurrent, new, dtype=np.float64):
    weights = jax.tree.map(lambda x: np.asarray(x, dtype), weights)
    out = []
    for pair in zip(recurrent, new, strict=True):
        x = _extract(weights.extract, np.stack(pair).astype(dtype))
        x = _enhance(weights.enhance, x)
        old, late = weights.squeeze.kernel
        out.append((_conv(x[:1], old) + _conv(x[1:], late))[0] + weights.squeeze.bias)
    return np.stack(out)


def _clip_loops(weights, embeddings):
    found = [np.asarray(embeddings[0], np.float64)]
    for new in embeddings[1:]:
        found.append(_loops(weights, found[-1], new))
    return np.stack(found)


@each
@pytest.mark.parametrize("size", SIZES)
def test_an_update_equals_loops_in_float64(size, implementation):
    weights, pair = _weights(), _clip(2, size)
    out = _jitted(aggregate, implementation=implementation)(weights, *pair)
    exact = _loops(weights, *pair)
    noise = np.abs(_loops(weights, *pair, dtype=np.float32) - exact).max()
    np.testing.assert_allclose(out, exact, rtol=0, atol=8 * noise)
    assert noise < 1e-5 < np.abs(exact).max()


def test_context_is_of_each_frame_alone():
    weights, x = _weights().enhance, _random(1, 2, 9, 8, CHANNELS)
    out = _jitted(enhance)(weights, x)
    np.testing.assert_allclose(out[0], _enhance(weights, x[0]), atol=1e-5)
    moved = x.copy()
    moved[:, 1] += 1
    other = _jitted(enhance)(weights, moved)
    np.testing.assert_array_equal(other[:, 0], out[:, 0])
    assert np.abs(other - out).max() > 0.1


@each
def test_a_clip_is_one_update_after_the_other(implementation):
    weights, clip = _weights(), _clip(4)
    found = _jitted(aggregate_clip, implementation=implementation)(weights, clip)
    assert found.shape == clip.shape
    np.testing.assert_array_equal(found[0], clip[0])
    update, recurrent = _jitted(aggregate, implementation=implementation), clip[0]
    for new, expected in zip(clip[1:], found[1:], strict=True):
        recurrent = update(weights, recurrent, new)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(recurrent, expected, atol=3e-6 * scale)


def test_the_first_frame_is_what_a_clip_begins_with():
    clip = _clip(1)
    np.testing.assert_array_equal(aggregate_clip(_weights(), clip), clip)


@functools.cache
def _differentiated(implementation):
    """What a clip becomes, and the gradients of a sum of its sines, in float32."""

    def total(weights, clip):
        found = aggregate_clip(weights, clip, implementation=implementation)
        return jnp.sin(found.astype(jnp.float32)).sum(), found

    return jax.jit(jax.grad(total, (0, 1), has_aux=True))


@each
def test_gradients_of_a_clip_agree_with_finite_differences(implementation):
    """Those of the loops, whose steps are so small that no maximum changes place."""
    args, step = (_weights(), 0.5 * _clip(3, (3, 4))), 1e-6
    gradients, _ = _differentiated(implementation)(*args)
    flat, shape = jax.tree.flatten(jax.tree.map(np.float64, args))
    rng = np.random.default_rng(0)

    def total(place, moved):
        args = jax.tree.unflatten(shape, [*flat[:place], moved, *flat[place + 1 :]])
        return np.sin(_clip_loops(*args)).sum()

    for place, gradient in enumerate(map(np.float64, jax.tree.leaves(gradients))):
        slope = np.linalg.norm(gradient)
        assert slope > 0
        for line in (gradient, slope * rng.normal(size=gradient.shape)):
            line = line / np.linalg.norm(line)
            ahead, behind = (
                total(place, flat[place] + sign * step * line) for sign in (1, -1)
            )
            difference = (ahead - behind) / (2 * step)
            np.testing.assert_allclose(
                difference, np.vdot(gradient, line), atol=1e-4 * slope
            )


@each
def test_a_clip_in_bfloat16_is_near_float32_with_finite_gradients(implementation):
    weights, clip = _weights(), jnp.asarray(_clip(3), jnp.bfloat16)
    gradients, found = _differentiated(implementation)(weights, clip)
    assert found.dtype == gradients[1].dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(gradients[0]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    exact = _clip_loops(weights, np.asarray(clip, np.float32))
    # Eight bits after each of a dozen layers, twice, in a cubic function.
    assert np.abs(np.float64(found) - exact).max() < 0.05 * np.abs(exact).max()


def test_the_older_embedding_meets_the_first_tap():
    weights, (old, new) = _weights(), _clip(2)
    weights.squeeze.kernel[1] = 0
    weights.extract.out.kernel[:] = 0
    update = _jitted(aggregate)
    plain = update(weights, old, new)
    np.testing.assert_array_equal(update(weights, old, new + 1), plain)
    assert np.abs(update(weights, old + 1, new) - plain).max() > 0.1


def test_objects_do_not_see_each_other():
    weights, (old, new) = _weights(), _clip(2)
    together = _jitted(aggregate)(weights, old, new)
    for o in range(2):
        alone = _jitted(aggregate)(weights, old[o : o + 1], new[o : o + 1])[0]
        np.testing.assert_allclose(together[o], alone, rtol=1e-5, atol=1e-5)


def test_jit_and_vmap_and_a_loop_agree():
    weights, clips = _weights(), np.stack([_clip(3, seed=seed) for seed in (0, 1)])
    loop = np.stack([_jitted(aggregate_clip)(weights, clip) for clip in clips])
    mapped = jax.jit(jax.vmap(aggregate_clip, (None, 0)))(weights, clips)
    eager = aggregate_clip(weights, jnp.asarray(clips[0]))
    scale = np.abs(loop).max()
    np.testing.assert_allclose(mapped, loop, atol=3e-6 * scale)
    np.testing.assert_allclose(eager, loop[0], atol=3e-6 * scale)


def test_fewer_products_change_rounding_alone():
    weights, pair = _weights(16), _clip(2, (9, 8), 16)
    plain = _jitted(aggregate)(weights, *pair)
    fewer = _jitted(aggregate, few_products=True)(weights, *pair)
    np.testing.assert_allclose(fewer, plain, atol=2e-5 * np.abs(plain).max())
    assert np.abs(fewer - plain).max() > 0


def _sizes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in inner_programs(equation):
            yield from _sizes(inner)


def test_only_the_formula_has_a_matrix_of_all_cells():
    pair = _clip(2, (20, 20))
    matrix = 2 * 800 * 200
    for implementation in ("auto", "blocks", "reference"):
        call = partial(aggregate, implementation=implementation)
        largest = max(_sizes(jax.make_jaxpr(call)(_weights(), *pair).jaxpr))
        assert (largest >= matrix) == (implementation == "reference")
