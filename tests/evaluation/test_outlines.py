from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.evaluation.outlines import main_outline, outlines, simplify, upsample

REFERENCE = np.load(Path(__file__).with_name("temporal_reference.npz"))
MASKS = [
    (case, side)
    for case in REFERENCE["cases"].tolist()
    for side in "01"
    if f"{case}_contour{side}" in REFERENCE
]


def random_mask(seed, height=17, width=23):
    """Blobs and noise, with many pixels that touch only diagonally."""
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.choice([0.2, 0.5, 0.8])
    mask[2:9, 3:14] = True
    mask[4:7, 5:10] = rng.random((3, 5)) < 0.5
    return mask


def cracks(line):
    """Each crack of a line, as the middle between its ends in half pixels."""
    return [tuple(ends) for ends in (line[:-1] + line[1:]).tolist()]


def area(line):
    """In pixels, positive where the line runs clockwise on the screen."""
    (x, y), (next_x, next_y) = line[:-1].T, line[1:].T
    return int((x * next_y - next_x * y).sum()) / 2


def segment_distance2(point, first, last):
    """With the share of the segment in float32, as the program has it."""
    along, offset = last - first, point - first
    covered, length2 = int(offset @ along), int(along @ along)
    share = 0.0 if covered <= 0 else 1.0
    if 0 < covered < length2:
        share = float(np.float32(covered / length2))
    return float(((offset - share * along) ** 2).sum())


def simplify_by_recursion(line, tolerance):
    """One line at a time, one point after the other."""
    thin = [line[0]]
    for point in line[1:-1]:
        if ((point - thin[-1]) ** 2).sum() >= tolerance**2:
            thin.append(point)
    thin.append(line[-1])

    def between(first, last):
        far, place = -1.0, 0
        for inner in range(first + 1, last):
            distance = segment_distance2(thin[inner], thin[first], thin[last])
            if distance >= far:
                far, place = distance, inner
        if far <= tolerance**2:
            return []
        return [*between(first, place), place, *between(place, last)]

    kept = [0, *between(0, len(thin) - 1), len(thin) - 1]
    return np.array([thin[place] for place in kept])


@pytest.mark.parametrize(("case", "side"), MASKS)
def test_main_outlines_are_those_of_the_official_program(case, side):
    outline = main_outline(REFERENCE[f"{case}_mask{side}"])
    np.testing.assert_array_equal(outline, REFERENCE[f"{case}_contour{side}"])


@pytest.mark.parametrize(("case", "side"), MASKS)
def test_points_between_are_those_of_the_official_program(case, side):
    points = upsample(REFERENCE[f"{case}_contour{side}"])
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, REFERENCE[f"{case}_points{side}"])


@pytest.mark.parametrize("seed", range(12))
def test_outlines_use_every_crack_once_and_no_corner_twice(seed):
    mask = random_mask(seed)
    padded = np.pad(mask, 1)
    count = np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    count += np.count_nonzero(padded[1:] != padded[:-1])
    found = outlines(mask)
    used = [crack for line in found for crack in cracks(line)]
    assert len(used) == len(set(used)) == count
    for line in found:
        np.testing.assert_array_equal(line[0], line[-1])
        np.testing.assert_array_equal(np.abs(np.diff(line, axis=0)).sum(axis=1), 1)
        assert len(np.unique(line[:-1], axis=0)) == len(line) - 1


def test_outer_outlines_run_clockwise_and_holes_the_other_way():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 10:40] = True
    assert area(main_outline(mask)) == 25 * 30
    mask[12:20, 15:25] = False
    # A staircase has more points than the rectangle around it.
    mask[8:12, 15:20] = False
    outline = main_outline(mask)
    assert area(outline) < 0
    assert outline[:, 0].max() == 25


def test_an_outline_without_contact_starts_at_its_upper_left_and_goes_down():
    mask = np.zeros((9, 9), bool)
    mask[2:4, 3:5] = True
    (line,) = outlines(mask)
    expected = [(3, 2), (3, 3), (3, 4), (4, 4), (5, 4), (5, 3), (5, 2), (4, 2), (3, 2)]
    assert list(map(tuple, line.tolist())) == expected


def test_pixels_that_touch_at_a_corner_are_two_outlines_from_there():
    found = outlines(np.eye(2, dtype=bool))
    assert [line[0].tolist() for line in found] == [[1, 1], [1, 1]]
    assert sorted(line.min(axis=0).tolist() for line in found) == [[0, 0], [1, 1]]


def test_pixels_in_a_ring_are_taken_from_the_last_contact_on():
    ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    found = outlines(ring)
    # Of the pieces that leave the last contact, (2, 2), the first found goes up along
    # the hole; at (2, 1) the one to the right has a lower number than the one to the
    # left, and closes the pixel there. The others follow likewise. The hole, which they
    # share four contacts with, is no outline of its own.
    assert [line[0].tolist() for line in found] == [[2, 2], [2, 2], [1, 2], [2, 1]]
    upper_left = [line.min(axis=0).tolist() for line in found]
    assert upper_left == [[2, 1], [1, 2], [0, 1], [1, 0]]


def test_an_object_cut_by_the_frame_is_closed_along_it():
    outline = main_outline(np.ones((20, 30), bool))
    assert outline.tolist() == [[0, 0], [30, 0], [30, 20], [0, 20], [0, 0]]


def test_the_outline_of_most_points_wins_and_the_upper_one_on_ties():
    mask = np.zeros((60, 60), bool)
    mask[4:20, 4:20] = mask[30:50, 8:40] = True
    assert main_outline(mask)[:, 1].max() == 20
    mask[30:40, 8:20] = False
    assert main_outline(mask)[:, 1].max() == 50


@pytest.mark.parametrize(
    "shape", [(0, 0), (1, 1), (2, 2), (1, 12), (12, 1)], ids=lambda shape: str(shape)
)
def test_too_small_an_object_has_no_outline(shape):
    mask = np.zeros((20, 20), bool)
    mask[4 : 4 + shape[0], 5 : 5 + shape[1]] = True
    assert main_outline(mask) is None


def test_a_moved_object_has_a_moved_outline():
    mask = np.pad(random_mask(3), 1)
    moved = np.pad(mask, ((7, 0), (5, 2)))
    np.testing.assert_array_equal(main_outline(moved) - (5, 7), main_outline(mask))


@pytest.mark.parametrize("tolerance", [0.05, 1.0, 1.5])
def test_lines_are_simplified_as_one_at_a_time(tolerance):
    found = [line for seed in range(4) for line in outlines(random_mask(seed))]
    rng = np.random.default_rng(0)
    found += [rng.integers(0, 30, (count, 2)) for count in (2, 3, 40, 90)]
    for line, short in zip(found, simplify(found, tolerance), strict=True):
        np.testing.assert_array_equal(short, simplify_by_recursion(line, tolerance))


def test_points_of_an_edge_are_at_most_three_pixels_apart():
    line = np.array([[0, 0], [9, 12], [9, 15], [29, 15]])
    points = upsample(line)
    steps = np.hypot(*np.diff(points, axis=0).T)
    # Sums of float32 numbers up to 29.
    np.testing.assert_allclose(steps, [3] * 6 + [20 / 7] * 7, rtol=1e-5)
    for corner in line:
        assert (points == corner).all(axis=1).any()


def test_a_picture_is_no_mask():
    with pytest.raises(InputError, match=r"\[H, W\], not \[4, 5, 3\]"):
        main_outline(np.zeros((4, 5, 3)))
