"""Codes of time against the formula in float64."""

import jax
import numpy as np
import pytest

from vos_jax.ops.time_code import time_code

_code = jax.jit(time_code, static_argnums=1)


def _formula(offsets, channels):
    out = np.zeros((*np.shape(offsets), channels))
    for *place, channel in np.ndindex(out.shape):
        n = np.asarray(offsets)[tuple(place)]
        angle = n / 10000 ** ((channel - channel % 2) / channels)
        out[(*place, channel)] = np.cos(angle) if channel % 2 else np.sin(angle)
    return out


@pytest.mark.parametrize("channels", [2, 6, 512])
def test_codes_are_sines_and_cosines_in_turn(channels):
    offsets = np.array([[0, 1, 3], [5, 37, 999]], np.int32)
    found = _code(offsets, channels)
    assert found.shape == (2, 3, channels) and found.dtype == np.float32
    np.testing.assert_allclose(found, _formula(offsets, channels), atol=1e-6)
    np.testing.assert_array_equal(time_code(offsets, channels), found)


def test_codes_late_in_a_video_are_as_exact():
    """In float32 the angle itself would be wrong by 4e-3 there."""
    offsets = np.array([99_991, 100_000], np.int32)
    np.testing.assert_allclose(_code(offsets, 64), _formula(offsets, 64), atol=1e-4)


def test_a_single_offset_has_a_single_code():
    assert jax.eval_shape(lambda: time_code(np.int32(3), 8)).shape == (8,)
    np.testing.assert_array_equal(_code(0, 4), [0, 1, 0, 1])


@pytest.mark.parametrize("channels", [0, 7])
def test_channels_that_are_no_pairs_are_an_error(channels):
    with pytest.raises(ValueError, match=f"channels={channels}: use an even number"):
        time_code(np.int32(0), channels)
