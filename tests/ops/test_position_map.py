"""Responses against loops, and that maps are highest where objects are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.every import IMPLEMENTATIONS, places, responses
from vos_jax.ops import position_map as module
from vos_jax.ops.position_code import position_code
from vos_jax.ops.position_map import position_map, response

each = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


_jitted = jax.jit(position_map, static_argnames=("k", "scaled", "implementation"))
_respond = jax.jit(response, static_argnames="scaled")


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """The 35 cells of most tests come as four parts of nine, the last lacks one."""
    monkeypatch.setattr(module, "CACHE", 350)
    monkeypatch.setattr(module, "ROOM", 350)


def _map(implementation, *args, **options):
    return np.asarray(_jitted(*args, **options, implementation=implementation))


# The formula


def test_responses_are_softmaxes_over_the_query_and_each_needs_one_memory_cell():
    (query, memory, coverage), _ = places()
    flat = query.reshape(35, -1), memory[0].reshape(35, -1), coverage[0].reshape(35)
    found = np.asarray(_respond(*flat))
    expected = responses(query, memory, coverage)[0]
    noise = np.abs(responses(query, memory, coverage, dtype=np.float32)[0] - expected)
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
    (query, memory, coverage), _ = places()
    full, none = (
        _map(implementation, query, memory, np.full_like(coverage, share))
        for share in (1, 0)
    )
    np.testing.assert_allclose(full, np.e * none, rtol=1e-6)
    assert (none > 0).all() and (full < 1).all()


@each
def test_more_mask_never_lowers_a_map(implementation):
    (query, memory, coverage), _ = places()
    plain = _map(implementation, query, memory, coverage)
    more = coverage + (1 - coverage) * (np.arange(35).reshape(1, 5, 7) % 3 == 0)
    assert (_map(implementation, query, memory, more) >= plain).all()


# What may not change it


@each
def test_objects_do_not_see_each_other(implementation):
    (query, memory, coverage), _ = places()
    plain = _map(implementation, query, memory, coverage)
    memory[1], coverage[1] = 1e3, 1
    other = _map(implementation, query, memory, coverage)
    np.testing.assert_array_equal(other[[0, 2]], plain[[0, 2]])
    assert (other[1] != plain[1]).any()


@each
def test_the_order_of_memory_cells_is_irrelevant_and_queries_carry_theirs(
    implementation,
):
    (query, memory, coverage), _ = places()
    plain = _map(implementation, query, memory, coverage)
    mirrored = _map(
        implementation, query, memory[:, ::-1, ::-1], coverage[:, ::-1, ::-1]
    )
    # Scores of size up to ten, summed in another order.
    np.testing.assert_allclose(mirrored, plain, rtol=1e-5)
    turned = _map(implementation, query[::-1, ::-1], memory, coverage)
    np.testing.assert_allclose(turned, plain[:, ::-1, ::-1], rtol=1e-5)


# Gradients


# Programs


def test_memory_use_is_bounded_unless_the_formula_is_asked_for(monkeypatch):
    objects, cells, channels = 10, (30, 54), 4
    monkeypatch.setattr(module, "CACHE", 2**18)
    monkeypatch.setattr(module, "ROOM", 2**18)
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
        assert bytes_of("slots", differentiated) <= responses / 4
