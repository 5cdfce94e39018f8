"""Perturbed masks: edits against plain loops, how far they go, where they show."""

from dataclasses import replace

import numpy as np
import pytest

from vos_jax.data.clips import Clips, batch_at
from vos_jax.data.perturbation import dilate, ellipse, overlap, perturb
from vos_jax.data.pipeline import train_batches
from vos_jax.data.recipes import StaticRecipe
from vos_jax.data.show import draw_batch
from vos_jax.data.sources import GeneratedSource

RECIPE = StaticRecipe(size=(64, 64), objects=2, perturb=(0.85, 1.0))


def disc(side=96, radius=30):
    y, x = np.mgrid[:side, :side] - side // 2
    return x * x + y * y < radius * radius


@pytest.fixture(scope="module")
def source():
    return GeneratedSource(size=(64, 64), objects=(1, 1), count=4, length=3)


@pytest.mark.parametrize("iou", [0.85, 0.92, 0.99])
def test_a_mask_is_edited_until_it_overlaps_less(iou):
    found = [
        overlap(disc(), perturb(disc(), iou, np.random.default_rng(seed)))
        for seed in range(10)
    ]
    assert max(found) < iou
    # One round cannot take away everything.
    assert np.mean(found) > iou - 0.15


def test_the_mask_itself_is_left_alone():
    mask = disc()
    perturb(mask, 0.9, np.random.default_rng(0))
    np.testing.assert_array_equal(mask, disc())


def test_the_same_numbers_give_the_same_mask():
    one, same, other = (
        perturb(disc(), 0.9, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_an_unreachable_overlap_ends_after_all_rounds():
    empty = np.zeros((32, 32), bool)
    assert perturb(empty, 0.0, np.random.default_rng(0)).shape == (32, 32)


def element(rows):
    """The pixels (y, x) of a structuring element."""
    return {(y, x) for y, first, end in rows for x in range(first, end)}


def test_dilation_reaches_what_the_element_covers():
    mask = np.random.default_rng(0).random((9, 12)) < 0.1
    rows = ellipse(6, 5)
    expected = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        for dy, dx in element(rows):
            inside = 0 <= y + dy < 9 and 0 <= x + dx < 12
            expected[y, x] |= inside and mask[y + dy, x + dx]
    np.testing.assert_array_equal(dilate(mask, rows), expected)


def test_ellipses_are_opencv_s():
    # getStructuringElement(MORPH_ELLIPSE, (5, 5)): a cross's tips, three full rows.
    assert ellipse(5, 5) == (
        (-2, 0, 1),
        (-1, -2, 3),
        (0, -2, 3),
        (1, -2, 3),
        (2, 0, 1),
    )
    assert ellipse(3, 1) == ((0, 0, 1),)
    assert element(ellipse(1, 3)) == {(-1, 0), (0, 0), (1, 0)}
    assert all(
        -(width // 2) <= first < end <= width - width // 2
        for width in range(1, 10)
        for height in range(1, 10)
        for _, first, end in ellipse(width, height)
    )


def test_masks_of_a_batch_are_near_the_true_ones_and_empty_without_object(source):
    batch = batch_at(source, RECIPE, 0, 0, 4)
    assert batch.given.shape == (4, 2, 64, 64)
    assert batch.given.dtype == bool
    for labels, given, valid in zip(
        batch.labels, batch.given, batch.valid, strict=True
    ):
        assert valid.tolist() == [True, False]
        assert 0.4 < overlap(labels[0] == 1, given[0]) < 1
        assert not given[1].any()


def test_frames_and_labels_are_those_without_perturbation(source):
    with_masks = batch_at(source, RECIPE, 0, 3, 2)
    without = batch_at(source, replace(RECIPE, perturb=None), 0, 3, 2)
    np.testing.assert_array_equal(with_masks.frames, without.frames)
    np.testing.assert_array_equal(with_masks.labels, without.labels)
    assert without.given is None


def test_the_pipeline_gives_the_masks_that_are_made_one_by_one(source):
    pytest.importorskip("tensorflow")
    batches = train_batches(source, RECIPE, seed=5, batch=2, workers=2)
    for step in range(2):
        found, expected = next(batches), batch_at(source, RECIPE, 5, step, 2)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    batches.close()


def test_the_picture_of_a_batch_shows_the_masks_last(source):
    drawn, plain = (
        draw_batch(Clips(source, recipe, seed=0, batch=2), 0, cell_width=64)
        for recipe in (RECIPE, replace(RECIPE, perturb=None))
    )
    assert drawn.shape[1] - plain.shape[1] >= 64
