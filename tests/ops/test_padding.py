"""Even padding to the stride."""

import jax.numpy as jnp
import numpy as np
import pytest

from vos_jax.ops.padding import crop, pad, padding


@pytest.mark.parametrize(
    ("size", "expected"),
    [(117, (5, 6)), (211, (6, 7)), (854, (5, 5)), (480, (0, 0)), (1, (7, 8))],
)
def test_the_odd_pixel_goes_after(size, expected):
    assert padding(size) == expected


def test_every_size_reaches_the_next_multiple_and_no_further():
    for multiple in (1, 7, 16):
        for size in range(1, 50):
            before, after = padding(size, multiple)
            assert after - before in (0, 1)
            assert 0 <= before + after < multiple
            assert (size + before + after) % multiple == 0


def test_the_border_is_zero_and_the_image_stays_in_place():
    image = np.random.default_rng(0).uniform(1, 2, (2, 11, 21, 3)).astype(np.float32)
    padded = np.array(pad(jnp.asarray(image)))
    assert padded.shape == (2, 16, 32, 3)
    np.testing.assert_array_equal(padded[:, 2:13, 5:26], image)
    padded[:, 2:13, 5:26] = 0
    assert not padded.any()


@pytest.mark.parametrize("shape", [(17, 33, 1), (16, 48, 2), (3, 15, 31, 4)])
def test_crop_undoes_pad(shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    *_, height, width, _ = shape
    back = crop(pad(jnp.asarray(image)), height, width)
    np.testing.assert_array_equal(back, image)
