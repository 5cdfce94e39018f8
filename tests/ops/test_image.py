import jax
import jax.numpy as jnp
import numpy as np

from vos_jax.ops.image import to_unit_range


def test_pixels_are_divided_to_the_last_bit():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32, 1)
    exact = pixels.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(to_unit_range(jnp.asarray(pixels)), exact)
    np.testing.assert_array_equal(jax.jit(to_unit_range)(pixels), exact)


def test_no_table_is_looked_up():
    """With one number a row, TPUs would make it 128 times as large."""
    program = jax.make_jaxpr(to_unit_range)(np.zeros((2, 3, 3), np.uint8))
    assert "gather" not in str(program)


def test_floats_are_passed_on():
    given = jnp.full((1, 2, 3), 0.3, jnp.bfloat16)
    assert to_unit_range(given).dtype == jnp.float32
    np.testing.assert_array_equal(to_unit_range(given), given)
