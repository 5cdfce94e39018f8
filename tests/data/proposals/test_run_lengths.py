"""Run lengths against pycocotools, and what damaged ones are."""

import numpy as np
import pytest

from vos_jax.data.proposals.run_lengths import from_text, mask_of, text_of, to_text

coco = pytest.importorskip("pycocotools.mask")


def drawn(share, height, width, seed=0):
    return np.random.default_rng(seed).random((height, width)) < share


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 48)])
def test_text_is_that_of_pycocotools_and_comes_back(share, size):
    mask = drawn(share, *size)
    text = text_of(mask)
    theirs = coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"]
    assert text == theirs.decode()
    np.testing.assert_array_equal(mask_of(text, size), mask)
    np.testing.assert_array_equal(mask_of(text.encode(), size), mask)


def test_long_and_negative_differences_come_back():
    lengths = np.array([0, 300_000, 1, 5, 70_000, 4, 9_999_999, 0, 16, 31, 32])
    np.testing.assert_array_equal(from_text(to_text(lengths)), lengths)


def test_numbers_are_read_column_by_column_zeros_first():
    expected = [[False, True], [False, False], [True, False]]
    np.testing.assert_array_equal(mask_of([2, 2, 2], (3, 2)), expected)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ([2, 2, 1], "add up to 5, not to 3 x 2"),
        ([2, 2, 3], "add up to 7, not to 3 x 2"),
        ([4, -2, 4], "negative"),
        ([2.0, 4.0], "no whole numbers"),
        ([[2], [4]], "no whole numbers"),
        ([], "add up to 0"),
        ("", "add up to 0"),
        (text_of(np.ones((9, 9), bool)), "add up to 81"),
        ("0\x7f", "damaged"),
        ("PPPPPPPPPP", "damaged"),
        (6, "int, no text or list"),
        (None, "NoneType, no text or list"),
    ],
)
def test_damaged_counts_are_told(counts, reason):
    with pytest.raises(ValueError, match=reason):
        mask_of(counts, (3, 2))
