"""Blocks of LCM against the formulas of their papers, a pair of cells at a time."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.randomized import randomized
from vos_jax.methods.lcm.blocks import ObjectRelation, PositionGuidance
from vos_jax.nn.numerics import Numerics
from vos_jax.ops.object_relation import CellSet, cell_set
from vos_jax.ops.position_code import position_code

HALF = Numerics(dtype="bfloat16")


def _random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@cache
def _jitted(module):
    return jax.jit(module.apply)


def _apply(module, variables, *inputs):
    return np.asarray(_jitted(module)(variables, *inputs))


def _assert_every_parameter_matters(module, variables, *inputs):
    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sin(10 * module.apply({"params": params}, *inputs)).sum()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path


# Position guidance


def _keys(objects=3, cells=(4, 5), channels=8):
    query = _random(*cells, channels)
    memory = _random(objects, *cells, channels, seed=1)
    coverage = np.random.default_rng(2).random((objects, *cells)).astype(np.float32)
    return query, memory, coverage


def _guidance(query, memory, coverage, params, k=8, normalize=True, scaled=True):
    """Projected places, a softmax over the query's cells, the mean of the strongest."""
    code = np.asarray(position_code(*query.shape, normalize=normalize), np.float64)
    kernel, bias = (np.asarray(params["project"][x], float) for x in ("kernel", "bias"))
    places = [
        (x + code).reshape(-1, x.shape[-1]) @ kernel[0, 0] + bias
        for x in (query, *memory)
    ]
    out = np.zeros((len(memory), len(places[0])))
    for o, own in enumerate(places[1:]):
        scores = places[0] @ own.T
        if scaled:
            scores /= np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=0))
        weights /= weights.sum(axis=0)
        weights *= np.exp(coverage[o].reshape(-1).astype(float) - 1)
        out[o] = np.sort(weights, axis=-1)[:, -k:].mean(axis=-1)
    return out.reshape(coverage.shape)


@pytest.mark.parametrize(
    "options", [{}, {"k": 3}, {"normalize": False}, {"scaled": False}]
)
def test_the_position_map_follows_its_formula(options):
    inputs = _keys()
    variables = randomized(PositionGuidance(), *inputs)
    expected = _guidance(*inputs, variables["params"], **options)
    out = _apply(PositionGuidance(**options), variables, *inputs)
    assert out.dtype == np.float32
    # Float32 scores of size up to 30 are off by some 1e-5, and so are shares.
    np.testing.assert_allclose(out, expected, rtol=5e-5)
    if options:
        plain = _guidance(*inputs, variables["params"])
        assert np.abs(out - plain).max() > 0.01


def test_both_implementations_of_the_position_map_can_be_asked_for():
    inputs = _keys()
    variables = randomized(PositionGuidance(), *inputs)
    found = {
        read: jax.make_jaxpr(PositionGuidance(read=read).apply)(variables, *inputs)
        for read in ("reference", "slots")
    }
    assert "scan" in str(found["slots"]) and "scan" not in str(found["reference"])


def _identity(channels):
    """Filters that leave places as they are."""
    kernel = np.eye(channels, dtype=np.float32)[None, None]
    return {"params": {"project": {"kernel": kernel, "bias": np.zeros(channels)}}}


@pytest.mark.parametrize(("scale", "channels"), [(0, 16), (1, 128)])
def test_a_frame_matched_with_itself_is_likely_where_its_mask_is(scale, channels):
    """Each cell is once an object's whole mask; with scale 0 only places speak."""
    query = scale * _random(4, 5, channels)
    memory = np.broadcast_to(query, (20, *query.shape))
    coverage = np.eye(20, dtype=np.float32).reshape(20, 4, 5)
    variables = _identity(channels)
    out = _apply(PositionGuidance(), variables, query, memory, coverage)
    np.testing.assert_array_equal(out.reshape(20, 20).argmax(1), np.arange(20))


def test_objects_are_guided_independently_of_each_other():
    query, memory, coverage = _keys()
    variables = randomized(PositionGuidance(), query, memory, coverage)
    together = _apply(PositionGuidance(), variables, query, memory, coverage)
    order = np.array([2, 0, 1])
    moved = _apply(PositionGuidance(), variables, query, memory[order], coverage[order])
    np.testing.assert_allclose(moved, together[order], rtol=1e-5)
    alone = _apply(PositionGuidance(), variables, query, memory[1:2], coverage[1:2])
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-5)


def test_one_projection_of_all_places_is_all_there_is_to_learn():
    inputs = _keys()
    variables = randomized(PositionGuidance(), *inputs)
    shapes = jax.tree.map(np.shape, variables["params"])
    assert shapes == {"project": {"kernel": (1, 1, 8, 8), "bias": (8,)}}
    _assert_every_parameter_matters(PositionGuidance(), variables, *inputs)


def test_guidance_in_bfloat16_is_near_float32_and_gives_it():
    inputs = _keys()
    variables = randomized(PositionGuidance(), *inputs)
    plain = _apply(PositionGuidance(), variables, *inputs)
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in inputs[:2]]
    module = PositionGuidance(numerics=HALF)
    out = _apply(module, variables, *rounded, inputs[2])
    assert out.dtype == np.float32
    # Scores of size 10 from places of 8 bits: off by up to 0.1, and so are shares.
    np.testing.assert_allclose(out, plain, rtol=0.1)


# Object relations

CHANNELS = 32


def _values(objects=3, cells=(3, 4)):
    """Of first frames and of a frame, and the objects' cells; the last has none."""
    first = _random(objects, *cells, CHANNELS, seed=1)
    chosen = np.random.default_rng(2).random((objects, *cells)) < 0.5
    chosen[-1] = False
    return first, chosen, _random(*cells, CHANNELS)


def _cells(first, chosen):
    return jax.jit(cell_set)(first, chosen)


def _gathered(x, others, params, d):
    """What the cells `x` gather from the cells `others`."""
    kernel, bias = np.asarray(params["kernel"][0, 0], float), np.asarray(params["bias"])
    out = np.zeros(x.shape)
    for j, i in np.ndindex(len(x), len(others)):
        out[j] += (others[i] @ x[j]) * (others[i] @ kernel + bias) / d
    return out


def _dense(x, params):
    return x @ np.asarray(params["kernel"], float) + np.asarray(params["bias"])


def _relation(first, chosen, value, params):
    """The formulas, from the object's cells alone."""
    query = value.reshape(-1, CHANNELS).astype(float)
    out = []
    for o, is_chosen in enumerate(chosen):
        own, d = first[o][is_chosen].astype(float), is_chosen.size
        seen = query + _gathered(query, own, params, d)
        enhanced = own + _gathered(own, query, params, d)
        mean = enhanced.sum(0) / max(len(own), 1)
        hidden = np.maximum(_dense(mean, params["squeeze"]), 0)
        weights = 1 / (1 + np.exp(-_dense(hidden, params["open"])))
        out.append((seen * weights).reshape(value.shape))
    return np.stack(out)


def _related():
    """Inputs, the module's variables and what it makes of them."""
    first, chosen, value = _values()
    cells = _cells(first, chosen)
    variables = randomized(ObjectRelation(), cells, value)
    out = _apply(ObjectRelation(), variables, cells, value)
    return first, chosen, value, variables, out


def test_relations_follow_their_formula():
    """One object of them is empty."""
    first, chosen, value, variables, out = _related()
    expected = _relation(first, chosen, value, variables["params"])
    assert out.dtype == np.float32 and out.shape == (3, 3, 4, CHANNELS)
    # Sums of some 12 x 32 products, of size up to a hundred.
    np.testing.assert_allclose(out, expected, atol=2e-5 * np.abs(expected).max())


def test_the_background_of_the_first_frame_is_irrelevant_to_the_last_bit():
    first, chosen, value, variables, plain = _related()
    for outside in (_random(*first.shape, seed=9), np.float32(3e38)):
        other = np.where(chosen[..., None], first, outside)
        out = _apply(ObjectRelation(), variables, _cells(other, chosen), value)
        np.testing.assert_array_equal(out, plain)
    inside = np.where(chosen[..., None], 1.1 * first, first)
    out = _apply(ObjectRelation(), variables, _cells(inside, chosen), value)
    assert (out[:2] != plain[:2]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(out[2], plain[2])


def test_an_empty_mask_leaves_the_values_but_for_constant_weights():
    *_, value, variables, out = _related()
    params = variables["params"]
    hidden = np.maximum(np.asarray(params["squeeze"]["bias"]), 0)
    weights = 1 / (1 + np.exp(-_dense(hidden, params["open"])))
    np.testing.assert_allclose(out[-1], value * weights, rtol=1e-6, atol=1e-7)

    @jax.jit
    @jax.grad
    def gradient(first):
        cells = cell_set(first, np.zeros((1, 3, 4), bool))
        return ObjectRelation().apply(variables, cells, value).sum()

    assert not np.asarray(gradient(_random(1, 3, 4, CHANNELS))).any()


def test_permuting_objects_permutes_related_values():
    first, chosen, value, variables, plain = _related()
    order = np.array([2, 0, 1])
    cells = _cells(first[order], chosen[order])
    moved = _apply(ObjectRelation(), variables, cells, value)
    largest = np.abs(plain).max()
    np.testing.assert_allclose(moved, plain[order], atol=1e-6 * largest)
    alone = _apply(ObjectRelation(), variables, _cells(first[1:2], chosen[1:2]), value)
    np.testing.assert_allclose(alone[0], plain[1], atol=1e-6 * largest)


@pytest.mark.parametrize("options", [{}, {"reduction": 4}])
def test_parameters_have_the_shapes_of_published_ones(options):
    first, chosen, value = _values()
    cells = _cells(first, chosen)
    variables = randomized(ObjectRelation(**options), cells, value)
    hidden = CHANNELS // options.get("reduction", 16)
    assert jax.tree.map(np.shape, variables["params"]) == {
        "kernel": (1, 1, CHANNELS, CHANNELS),
        "bias": (CHANNELS,),
        "squeeze": {"kernel": (CHANNELS, hidden), "bias": (hidden,)},
        "open": {"kernel": (hidden, CHANNELS), "bias": (CHANNELS,)},
    }


def test_every_parameter_of_relations_matters():
    first, chosen, value, variables, _ = _related()
    inputs = _cells(first, chosen), value
    _assert_every_parameter_matters(ObjectRelation(), variables, *inputs)


def test_relations_may_begin_with_nothing_gathered():
    first, chosen, value = _values()
    cells = _cells(first, chosen)
    init = jax.jit(ObjectRelation(zero_init=True).init_with_output)
    out, variables = init(jax.random.key(0), cells, value)
    params = variables["params"]
    assert not params["kernel"].any() and params["squeeze"]["kernel"].any()
    hidden = np.maximum(_dense(np.asarray(cells.mean), params["squeeze"]), 0)
    weights = 1 / (1 + np.exp(-_dense(hidden, params["open"])))
    expected = value[None] * weights[:, None, None]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)

    @jax.jit
    def usual(key):
        return ObjectRelation().init(key, cells, value)["params"]["kernel"]

    assert usual(jax.random.key(0)).any()


def test_relations_in_bfloat16_are_near_float32():
    first, chosen, value, variables, plain = _related()
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in (first, value)]
    cells = _cells(rounded[0], chosen)
    assert all(x.dtype == jnp.float32 for x in cells)
    module = ObjectRelation(numerics=HALF)
    out = _apply(module, variables, cells, rounded[1])
    assert out.dtype == jnp.bfloat16
    # 8 bits of values that are summed up to some ten times their size.
    error = np.abs(out.astype(np.float32) - plain).max()
    assert error < 0.03 * np.abs(plain).max()


def test_cells_of_several_frames_are_related_one_frame_at_a_time():
    """Under `vmap` as in a loop."""
    first, chosen, value, variables, _ = _related()
    frames = np.stack([value, _random(*value.shape, seed=7)])
    cells = _cells(first, chosen)
    many = CellSet(*(jnp.stack([x, 2 * x]) for x in cells))

    def relate(cells, value):
        return ObjectRelation().apply(variables, cells, value)

    together = jax.jit(jax.vmap(relate))(many, frames)
    for which in range(2):
        own = CellSet(*(x[which] for x in many))
        expected = _apply(ObjectRelation(), variables, own, frames[which])
        largest = np.abs(expected).max()
        np.testing.assert_allclose(together[which], expected, atol=1e-6 * largest)
