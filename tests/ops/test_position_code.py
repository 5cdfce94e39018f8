"""Codes of places against their formula, and what makes them codes of places."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.position_code import position_code

GRIDS = [(1, 1), (3, 5), (6, 4)]

normalized = pytest.mark.parametrize("normalize", [True, False])


def _loops(height, width, channels, normalize):
    """One sine and one cosine after the other: first all of the row's."""
    half = channels // 2
    code = np.zeros((height, width, channels))
    for y, x, k in np.ndindex(height, width, half // 2):
        for start, place, size in ((0, y + 1, height), (half, x + 1, width)):
            angle = 2 * math.pi * place / (size + 1e-6) if normalize else place
            angle /= 10000 ** (2 * k / half)
            code[y, x, start + 2 * k] = math.sin(angle)
            code[y, x, start + 2 * k + 1] = math.cos(angle)
    return code


@normalized
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("channels", [4, 12, 128])
def test_a_code_is_that_of_the_formula(grid, channels, normalize):
    code = position_code(*grid, channels, normalize=normalize)
    assert code.dtype == jnp.float32
    expected = _loops(*grid, channels, normalize)
    # Half a unit in the last place of float32 numbers up to 1: rounded once.
    np.testing.assert_allclose(code, expected, rtol=0, atol=2**-24 * 1.001)


def test_places_are_shares_of_the_grid_by_default():
    plain = position_code(3, 5, 8)
    np.testing.assert_array_equal(plain, position_code(3, 5, 8, normalize=True))
    assert np.abs(plain - position_code(3, 5, 8, normalize=False)).max() > 0.1


@normalized
def test_the_first_half_tells_the_row_and_the_second_the_column(normalize):
    code = np.asarray(position_code(3, 5, 8, normalize=normalize))
    rows, columns = code[..., :4], code[..., 4:]
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape))
    np.testing.assert_array_equal(columns, np.broadcast_to(columns[:1], columns.shape))
    turned = np.asarray(position_code(5, 3, 8, normalize=normalize)).swapaxes(0, 1)
    np.testing.assert_array_equal(turned[..., :4], columns)
    np.testing.assert_array_equal(turned[..., 4:], rows)


def test_plain_places_do_not_depend_on_the_grid():
    small, large = (
        np.asarray(position_code(*grid, 8, normalize=False))
        for grid in ((3, 5), (6, 9))
    )
    np.testing.assert_array_equal(small, large[:3, :5])


def test_normalized_places_have_one_range_on_all_grids():
    small, large = (np.asarray(position_code(*grid, 8)) for grid in ((3, 5), (6, 10)))
    # Angles up to 2 pi that differ by the 1e-6 beside the number of cells.
    np.testing.assert_allclose(small, large[1::2, 1::2], atol=2.1e-6)
    assert np.abs(small - large[:3, :5]).max() > 0.1


@normalized
def test_codes_are_equally_long_and_all_different(normalize):
    code = np.asarray(position_code(5, 7, 8, normalize=normalize), np.float64)
    products = code.reshape(35, 8) @ code.reshape(35, 8).T
    # Squares of four sines and their cosines.
    np.testing.assert_allclose(np.diag(products), 4, atol=1e-6)
    np.fill_diagonal(products, 0)
    assert products.max() < 3.99


def test_a_code_is_the_same_in_a_compiled_program():
    compiled = jax.jit(lambda: position_code(3, 5, 8))()
    np.testing.assert_array_equal(compiled, position_code(3, 5, 8))


@pytest.mark.parametrize("channels", [-4, 0, 2, 6, 127])
def test_channels_that_cannot_be_shared_out_are_refused(channels):
    with pytest.raises(ValueError, match=f"channels={channels}: use a multiple of 4"):
        position_code(3, 5, channels)
