"""Position maps against loops, and that they are highest where objects are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from vos_jax.ops import position_map as module
from vos_jax.ops.position_code import position_code
from vos_jax.ops.position_map import position_map, response

IMPLEMENTATIONS = ["reference", "chunked"]

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

_jitted = jax.jit(position_map, static_argnames=("k", "scaled", "implementation"))
_respond = jax.jit(response, static_argnames="scaled")


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """The 35 cells of most tests come as four parts of nine, the last lacks one."""
    monkeypatch.setattr(module, "_room", lambda: 350)


def _map(implementation, *args, **options):
    return np.asarray(_jitted(*args, **options, implementation=implementation))


def _random(objects=3, cells=(5, 7), channels=6, seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(*cells, channels))
    memory = rng.normal(size=(objects, *cells, channels))
    coverage = rng.random((objects, *cells))
    coverage[0, 0] = 0
    return (*(x.astype(np.float32) for x in (query, memory, coverage)),)


def _responses(query, memory, coverage, scaled=True, dtype=np.float64):
    """One memory cell of one object at a time: `[O, q, m]`."""
    channels = query.shape[-1]
    query = query.reshape(-1, channels).astype(dtype)
    memory = memory.reshape(len(memory), -1, channels).astype(dtype)
    coverage = coverage.reshape(len(memory), -1).astype(dtype)
    found = np.zeros((len(memory), len(query), memory.shape[1]), dtype)
    for o, m in np.ndindex(memory.shape[:2]):
        scores = query @ memory[o, m]
        if scaled:
            scores /= np.sqrt(dtype(channels))
        weights = np.exp(scores - scores.max())
        share = np.exp(coverage[o, m]) / np.exp(dtype(1))
        found[o, :, m] = weights / weights.sum() * share
    return found


def _loops(query, memory, coverage, k=8, scaled=True, dtype=np.float64):
    """The mean of the strongest of them, one query cell after the other."""
    responses = _responses(query, memory, coverage, scaled, dtype)
    out = np.zeros(responses.shape[:2], dtype)
    for o, q in np.ndindex(out.shape):
        out[o, q] = np.sort(responses[o, q])[::-1][:k].mean(dtype=dtype)
    return out.reshape(coverage.shape)


def _assert_is_the_formula(out, args, **options):
    expected = _loops(*args, **options)
    noise = np.abs(_loops(*args, **options, dtype=np.float32) - expected).max()
    # Eight times what float32 costs the same loops.
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * noise)


# The formula


@each
@pytest.mark.parametrize("options", [{}, {"scaled": False}, {"k": 1}])
def test_a_position_map_equals_loops_in_float64(implementation, options):
    """By default eight responses count, of scaled products."""
    args = _random()
    out = _map(implementation, *args, **options)
    assert out.dtype == np.float32
    _assert_is_the_formula(out, args, **options)


@each
def test_fewer_cells_than_k_all_count(implementation):
    args = _random(cells=(1, 3))
    out = _map(implementation, *args, k=8)
    _assert_is_the_formula(out, args, k=3)


def test_responses_are_softmaxes_over_the_query_and_each_needs_one_memory_cell():
    query, memory, coverage = _random()
    flat = query.reshape(35, -1), memory[0].reshape(35, -1), coverage[0].reshape(35)
    found = np.asarray(_respond(*flat))
    expected = _responses(query, memory, coverage)[0]
    noise = np.abs(_responses(query, memory, coverage, dtype=np.float32)[0] - expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * noise.max())
    # Sums of 35 numbers below 1.
    np.testing.assert_allclose(found.sum(0), np.exp(flat[2] - 1), rtol=1e-6)
    some = _respond(flat[0], flat[1][3:7], flat[2][3:7])
    np.testing.assert_allclose(some, found[:, 3:7], rtol=1e-6)


# What it says


def _frame(scale, channels, moved=(0, 0)):
    """Content of a frame's cells with their places; `scale` 0: nothing but places."""
    content = np.random.default_rng(1).normal(size=(5, 7, channels))
    code = np.asarray(position_code(5, 7, channels))
    return scale * np.roll(content, moved, (0, 1)).astype(np.float32) + code


@pytest.mark.parametrize(("scale", "channels"), [(0, 16), (0, 128), (1, 128)])
@pytest.mark.parametrize("scaled", [True, False])
def test_every_cell_of_a_frame_matched_with_itself_is_sent_to_itself(
    scale, channels, scaled
):
    """Codes are equally long, so none is nearer to another than to itself."""
    frame = _frame(scale, channels).reshape(35, -1)
    found = _respond(frame, frame, np.ones(35), scaled=scaled)
    np.testing.assert_array_equal(found.argmax(axis=0), np.arange(35))


@each
@pytest.mark.parametrize(("scale", "channels"), [(0, 16), (1, 128)])
def test_a_map_is_highest_where_all_of_the_mask_is(implementation, scale, channels):
    """Each cell is once an object's whole mask."""
    frame = _frame(scale, channels)
    memory = np.broadcast_to(frame, (35, *frame.shape))
    coverage = np.eye(35, dtype=np.float32).reshape(35, 5, 7)
    out = _map(implementation, frame, memory, coverage).reshape(35, 35)
    np.testing.assert_array_equal(out.argmax(axis=1), np.arange(35))


@each
def test_a_map_moves_with_the_content(implementation):
    """Content that speaks louder than its place is found where it went to."""
    coverage = np.zeros((1, 5, 7), np.float32)
    coverage[0, 2, 3] = 1
    out = _map(implementation, _frame(2, 64, (1, 2)), _frame(2, 64)[None], coverage)
    assert np.unravel_index(out[0].argmax(), (5, 7)) == (3, 5)


@each
def test_a_full_mask_is_worth_e_times_an_empty_one(implementation):
    query, memory, coverage = _random()
    full, none = (
        _map(implementation, query, memory, np.full_like(coverage, share))
        for share in (1, 0)
    )
    np.testing.assert_allclose(full, np.e * none, rtol=1e-6)
    assert (none > 0).all() and (full < 1).all()


@each
def test_more_mask_never_lowers_a_map(implementation):
    query, memory, coverage = _random()
    plain = _map(implementation, query, memory, coverage)
    more = coverage + (1 - coverage) * (np.arange(35).reshape(1, 5, 7) % 3 == 0)
    assert (_map(implementation, query, memory, more) >= plain).all()


# What may not change it


@each
def test_permuting_objects_permutes_maps(implementation):
    query, memory, coverage = _random()
    plain = _map(implementation, query, memory, coverage)
    order = np.array([2, 0, 1])
    moved = _map(implementation, query, memory[order], coverage[order])
    np.testing.assert_allclose(moved, plain[order], rtol=1e-6)
    assert np.abs(plain - plain[order]).max() > 1e-3


@each
def test_objects_do_not_see_each_other(implementation):
    query, memory, coverage = _random()
    plain = _map(implementation, query, memory, coverage)
    memory[1], coverage[1] = 1e3, 1
    other = _map(implementation, query, memory, coverage)
    np.testing.assert_array_equal(other[[0, 2]], plain[[0, 2]])
    assert (other[1] != plain[1]).any()


@each
def test_the_order_of_memory_cells_is_irrelevant_and_queries_carry_theirs(
    implementation,
):
    query, memory, coverage = _random()
    plain = _map(implementation, query, memory, coverage)
    mirrored = _map(
        implementation, query, memory[:, ::-1, ::-1], coverage[:, ::-1, ::-1]
    )
    # Scores of size up to ten, summed in another order.
    np.testing.assert_allclose(mirrored, plain, rtol=1e-5)
    turned = _map(implementation, query[::-1, ::-1], memory, coverage)
    np.testing.assert_allclose(turned, plain[:, ::-1, ::-1], rtol=1e-5)


# Gradients


def _gap(args, k):
    """The least difference between the last response that counts and the next."""
    ordered = np.sort(_responses(*args), axis=-1)
    return (ordered[..., -k] - ordered[..., -k - 1]).min()


def test_gradients_agree_with_finite_differences():
    args = _random(1, (1, 7), 3, seed=2949)
    assert _gap(args, 2) > 0.03  # Much more than a step: no cell changes.

    @jax.jit
    def find(query, memory, coverage):
        return 10 * position_map(
            query, memory, coverage, k=2, implementation="reference"
        )

    check_grads(find, args, 1, atol=2e-3, rtol=2e-3, eps=1e-3, modes=["rev"])


@partial(jax.jit, static_argnums=0)
def _gradients(implementation, *args):
    def total(*args):
        out = position_map(*args, implementation=implementation)
        return jnp.sin(30 * out).sum(), out

    (_, out), gradients = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(*args)
    return out, *gradients


def test_parts_and_their_gradients_are_those_of_the_formula():
    args = _random()
    one, other = (_gradients(name, *args) for name in IMPLEMENTATIONS)
    for x, y in zip(one, other, strict=True):
        assert x.dtype == y.dtype == np.float32
        assert np.isfinite(x).all() and np.asarray(x).any()
        # Sums of up to a hundred terms in another order.
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6 * np.abs(x).max())


@each
def test_enormous_scores_stay_finite(implementation):
    query, memory, coverage = _random()
    args = 1e3 * query, 1e3 * memory, coverage
    out, *gradients = _gradients(implementation, *args)
    np.testing.assert_allclose(out, _loops(*args), atol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# Programs


@each
def test_vmap_and_a_loop_agree(implementation):
    videos = [_random(seed=seed) for seed in (0, 1)]
    find = partial(position_map, implementation=implementation)
    loop = np.stack([_map(implementation, *video) for video in videos])
    stacked = [jnp.stack(x) for x in zip(*videos, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(find))(*stacked), loop, rtol=1e-5)


@each
def test_bfloat16_is_near_float32_and_accumulates_in_it(implementation):
    args = _random()
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in args]
    out = _map(implementation, *rounded)
    assert out.dtype == np.float32
    _, *gradients = jax.eval_shape(partial(_gradients, implementation), *rounded)
    assert all(gradient.dtype == jnp.bfloat16 for gradient in gradients)
    # Only the inputs are rounded: products of theirs are exact in float32.
    _assert_is_the_formula(out, [np.asarray(x, np.float32) for x in rounded])
    # Keys of size 1 to 8 bits: scores are off by some 2^-9 * sqrt(2), up to fourfold.
    np.testing.assert_allclose(out, _map(implementation, *args), rtol=0.02)


def test_memory_use_is_bounded_unless_the_formula_is_asked_for(monkeypatch):
    objects, cells, channels = 10, (30, 54), 4
    monkeypatch.setattr(module, "_room", lambda: 2**18)
    shapes = (*cells, channels), (objects, *cells, channels), (objects, *cells)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    responses = 4 * objects * np.prod(cells) ** 2

    def bytes_of(implementation, differentiated):
        def total(*args):
            return position_map(*args, implementation=implementation).sum()

        program = jax.grad(total, (0, 1, 2)) if differentiated else total
        compiled = jax.jit(program).lower(*args).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of("reference", False) >= responses
    for differentiated in (False, True):
        assert bytes_of("chunked", differentiated) <= responses / 4


def test_the_default_is_chunked():
    args = _random()
    programs = [
        str(jax.make_jaxpr(partial(position_map, **options))(*args))
        for options in ({}, {"implementation": "chunked"})
    ]
    assert programs[0] == programs[1] and "scan" in programs[0]
