import json
import warnings
from math import isqrt
from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.evaluation.measures import (
    boundary_map,
    contour_accuracy,
    region_similarity,
    score_frame,
    statistics,
)

REFERENCE = np.load(Path(__file__).with_name("metrics_reference.npz"))
SCALARS = json.loads(Path(__file__).with_name("metrics_reference.json").read_text())
CASES = [pytest.param(case["key"], id=case["name"]) for case in SCALARS["cases"]]
SMALL_CASES = [
    case["key"]
    for case in SCALARS["cases"]
    if f"{case['key']}_gt_boundary" in REFERENCE
]
CLIPS = ["alpha", "beta", "gamma", "delta"]
EXACT = {"rtol": 0, "atol": 1e-12}


def random_mask(rng, height=23, width=31):
    """A mask of blobs, ragged where a blob is noise."""
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = top + rng.integers(1, 12), left + rng.integers(1, 12)
        blob = mask[top:bottom, left:right]
        blob |= rng.random(blob.shape) < rng.choice([0.5, 1.0])
    return mask


def boundary_by_pixels(mask):
    height, width = mask.shape
    boundary = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if y + dy < height and x + dx < width:
                    boundary[y, x] |= mask[y, x] != mask[y + dy, x + dx]
    return boundary


def share_near(boundary, other, radius):
    """The share of boundary pixels with one of the other map within the radius."""
    there = np.argwhere(other)
    hits = [
        bool(((there - pixel) ** 2).sum(axis=1).min() <= radius**2)
        for pixel in np.argwhere(boundary)
    ]
    return sum(hits) / len(hits)


def contour_by_pixels(predicted, annotated, radius):
    first, second = boundary_by_pixels(predicted), boundary_by_pixels(annotated)
    if not first.any() or not second.any():
        return float(first.any() == second.any())
    precision = share_near(first, second, radius)
    recall = share_near(second, first, radius)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


@pytest.mark.parametrize("case", CASES)
def test_j_and_f_of_hand_made_pairs_are_those_of_the_official_evaluator(case):
    regions, contours = REFERENCE[f"{case}_J"], REFERENCE[f"{case}_F"]
    found = score_frame(
        REFERENCE[f"{case}_pred"], REFERENCE[f"{case}_gt"], range(1, len(regions) + 1)
    )
    np.testing.assert_allclose(found[0], regions, **EXACT)
    np.testing.assert_allclose(found[1], contours, **EXACT)


@pytest.mark.parametrize("case", CASES)
def test_mask_functions_agree_with_the_label_function(case):
    predicted, annotated = REFERENCE[f"{case}_pred"], REFERENCE[f"{case}_gt"]
    for label, (j, f) in enumerate(
        zip(REFERENCE[f"{case}_J"], REFERENCE[f"{case}_F"], strict=True), start=1
    ):
        masks = predicted == label, annotated == label
        assert region_similarity(*masks) == pytest.approx(j, abs=1e-12)
        assert contour_accuracy(*masks) == pytest.approx(f, abs=1e-12)


@pytest.mark.parametrize("side", ["gt", "pred"])
@pytest.mark.parametrize("case", SMALL_CASES)
def test_boundary_maps_are_those_of_the_official_evaluator(case, side):
    labels = REFERENCE[f"{case}_{side}"]
    for label, wanted in enumerate(REFERENCE[f"{case}_{side}_boundary"], start=1):
        np.testing.assert_array_equal(boundary_map(labels == label), wanted)


def test_void_pixels_count_neither_for_j_nor_for_f():
    case = next(case["key"] for case in SCALARS["cases"] if case["name"] == "void")
    predicted, annotated = REFERENCE[f"{case}_pred"], REFERENCE[f"{case}_gt"]
    for label in (1, 2):
        masks = predicted == label, annotated == label, annotated == 255
        j, f = REFERENCE[f"{case}_J_void"], REFERENCE[f"{case}_F_void"]
        assert region_similarity(*masks) == pytest.approx(j[label - 1], abs=1e-12)
        assert contour_accuracy(*masks) == pytest.approx(f[label - 1], abs=1e-12)


@pytest.mark.parametrize("clip", CLIPS)
def test_scores_of_clips_are_those_of_the_official_evaluator(clip):
    regions, contours = REFERENCE[f"syn_{clip}_J"], REFERENCE[f"syn_{clip}_F"]
    pairs = zip(
        REFERENCE[f"syn_{clip}_pred"][1:-1],
        REFERENCE[f"syn_{clip}_gt"][1:-1],
        strict=True,
    )
    found = np.array([score_frame(*pair, range(1, len(regions) + 1)) for pair in pairs])
    np.testing.assert_allclose(found[:, 0].T, regions, **EXACT)
    np.testing.assert_allclose(found[:, 1].T, contours, **EXACT)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8, 9])
def test_contour_accuracy_is_that_of_loops_over_pixels(radius):
    rng = np.random.default_rng(radius)
    for _ in range(20):
        masks = random_mask(rng), random_mask(rng)
        wanted = contour_by_pixels(*masks, radius)
        found = contour_accuracy(*masks, tolerance=radius)
        assert found == pytest.approx(wanted, abs=1e-12)


def test_boundary_map_is_that_of_loops_over_pixels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = random_mask(rng)
        np.testing.assert_array_equal(boundary_map(mask), boundary_by_pixels(mask))


def test_exchanging_the_masks_exchanges_precision_and_recall_and_keeps_f():
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, other = random_mask(rng), random_mask(rng)
        f = contour_accuracy(one, other)
        assert contour_accuracy(other, one) == pytest.approx(f, abs=1e-12)


def test_empty_space_around_the_objects_changes_nothing():
    rng = np.random.default_rng(2)
    for _ in range(20):
        masks = [np.pad(random_mask(rng), 1) for _ in range(2)]
        wide = [np.pad(mask, ((40, 3), (0, 70))) for mask in masks]
        assert region_similarity(*wide) == region_similarity(*masks)
        f = contour_accuracy(*masks, tolerance=2)
        assert contour_accuracy(*wide, tolerance=2) == f


@pytest.mark.parametrize("radius", range(1, 20))
def test_a_match_lies_within_the_disk_of_the_radius(radius):
    annotated = np.zeros((3 * radius + 8, 3 * radius + 8), bool)
    annotated[2, 2] = True
    dy = radius // 2
    for dx in (isqrt(radius**2 - dy**2), isqrt(radius**2 - dy**2) + 1):
        moved = np.roll(annotated, (dy, dx), axis=(0, 1))
        assert contour_accuracy(moved, annotated, tolerance=radius) == pytest.approx(
            contour_by_pixels(moved, annotated, radius), abs=1e-12
        )


@pytest.mark.parametrize("gap", range(30))
def test_boxes_at_any_distance_are_compared(gap):
    predicted, annotated = np.zeros((2, 40, 60), bool)
    predicted[10:14, 5:9] = True
    annotated[12:17, 9 + gap : 14 + gap] = True
    assert contour_accuracy(predicted, annotated, tolerance=6) == pytest.approx(
        contour_by_pixels(predicted, annotated, 6), abs=1e-12
    )


def test_objects_far_apart_match_nowhere():
    predicted, annotated = np.zeros((2, 60, 80), bool)
    predicted[5:10, 5:10] = True
    annotated[40:50, 60:70] = True
    assert region_similarity(predicted, annotated) == 0
    assert contour_accuracy(predicted, annotated) == 0


def test_labels_that_are_not_asked_for_are_background():
    annotated = np.zeros((20, 20), np.uint8)
    annotated[5:15, 5:15] = 7
    annotated[0:3] = 255
    regions, contours = score_frame(annotated, annotated == 7, [])
    assert regions.shape == contours.shape == (0,)
    regions, contours = score_frame(annotated, annotated, [9, 7])
    np.testing.assert_array_equal([regions, contours], np.ones((2, 2)))


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(InputError, match=r"\[4, 5\].*\[5, 4\]"):
        region_similarity(np.zeros((4, 5)), np.zeros((5, 4)))
    with pytest.raises(InputError, match="one size"):
        score_frame(np.zeros((4, 5)), np.zeros((5, 4)), [1])


def test_a_negative_tolerance_is_refused():
    with pytest.raises(InputError, match="tolerance -1"):
        contour_accuracy(np.ones((4, 4)), np.ones((4, 4)), tolerance=-1)


LENGTHS = sorted(
    key.split("_")[0] for key in REFERENCE if key.startswith("stat") and "_x" in key
)


@pytest.mark.parametrize("key", LENGTHS)
def test_statistics_are_those_of_the_official_evaluator(key):
    wanted = REFERENCE[f"{key}_MRD"]
    scores = REFERENCE[f"{key}_x"]
    # From 256 frames on the official decay overflows, which is not to be copied.
    compared = 3 if scores.size < 256 else 2
    found = statistics(scores)
    np.testing.assert_allclose(found[:compared], wanted[:compared], **EXACT)


def test_decay_of_a_long_falling_line_is_its_fall_between_the_bin_centres():
    # 301 frames: bins of 76 frames, 225 frames from the first to the last.
    scores = np.linspace(1, 0, 301)
    assert statistics(scores).decay == pytest.approx(225 / 300, abs=1e-12)


def test_a_score_of_exactly_one_half_is_no_recall():
    assert statistics(np.array([0.5, 0.6])).recall == 0.5


def test_scores_that_are_all_nan_give_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics(np.full(4, np.nan))
    assert np.isnan(found.mean)
    assert np.isnan(found.decay)
    assert found.recall == 0


def test_no_scores_are_refused():
    with pytest.raises(InputError, match="at least one frame"):
        statistics(np.zeros(0))
