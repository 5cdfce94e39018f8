import os
import warnings
from math import atan2, degrees, dist
from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.evaluation.temporal_stability import (
    LEFT_OUT,
    align,
    matching_costs,
    mean_matched_cost,
    mean_stability,
    shape_contexts,
    temporal_stability,
)
from vos_jax.media import read_labels

REFERENCE = np.load(Path(__file__).with_name("temporal_reference.npz"))
CASES = REFERENCE["cases"].tolist()
DETAILED = [case for case in CASES if f"{case}_hist0" in REFERENCE]


def disk(x, y, radius, height=70, width=90):
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (1.3 * (rows - y)) ** 2 < radius**2


def contexts_by_loops(points, some):
    """Point by point with angles in degrees, for some of the points."""
    points = points.tolist()
    mean = np.mean([dist(one, other) for one in points for other in points])
    histograms = []
    for x, y in points[some]:
        histogram = np.zeros((5, 12), int)
        for other_x, other_y in points:
            share = dist((x, y), (other_x, other_y)) / mean
            ring = sum(share < edge for edge in (0.125, 0.25, 0.5, 1, 2))
            angle = degrees(atan2(other_y - y, other_x - x)) % 360
            if ring:
                histogram[ring - 1, int(angle // 30)] += 1
        histograms.append(histogram.ravel())
    return np.array(histograms)


def path_by_loops(costs):
    """The sums of all cells one by one, and back from the last."""
    height, width = costs.shape
    sums = np.full((height + 1, width + 1), np.inf)
    for i in range(height):
        for j in range(width):
            ways = sums[i, j], sums[i, j + 1], sums[i + 1, j]
            sums[i + 1, j + 1] = 0 if i == j == 0 else min(ways) + costs[i, j]
    path = [(height - 1, width - 1)]
    while path[-1] != (0, 0):
        i, j = path[-1]
        ways = sums[i, j], sums[i, j + 1], sums[i + 1, j]
        down, right = ((1, 1), (1, 0), (0, 1))[int(np.argmin(ways))]
        path.append((i - down, j - right))
    return path


def mean_by_loops(costs):
    """The cheapest cell but the first, the path that ends there, and one to one."""
    best = min(path_by_loops(costs)[:-1], key=lambda cell: costs[cell])
    shift = best[0] + 1, best[1] + 1
    rows, columns = {}, {}
    for i, j in path_by_loops(np.roll(costs, (-shift[0], -shift[1]), axis=(0, 1))):
        cell = (i + shift[0]) % costs.shape[0], (j + shift[1]) % costs.shape[1]
        if cell[0] not in rows or costs[cell] < costs[rows[cell[0]]]:
            rows[cell[0]] = cell
    for cell in rows.values():
        if cell[1] not in columns or costs[cell] < costs[columns[cell[1]]]:
            columns[cell[1]] = cell
    return np.mean([costs[cell] for cell in columns.values()])


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_official_program(case):
    masks = REFERENCE[f"{case}_mask0"], REFERENCE[f"{case}_mask1"]
    (found,) = temporal_stability(masks)
    # The points are the same float32 numbers; what remains are sums in float64.
    np.testing.assert_allclose(found, REFERENCE[f"{case}_T"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("side", "01")
@pytest.mark.parametrize("case", DETAILED)
def test_shape_contexts_are_those_of_the_official_program(case, side):
    found = shape_contexts(REFERENCE[f"{case}_points{side}"])
    np.testing.assert_array_equal(found, REFERENCE[f"{case}_hist{side}"])


@pytest.mark.parametrize("case", DETAILED)
def test_costs_and_paths_are_those_of_the_official_program(case):
    costs = matching_costs(REFERENCE[f"{case}_hist0"], REFERENCE[f"{case}_hist1"])
    if f"{case}_cost" in REFERENCE:
        # The program adds 2e-16 to each of 60 divisors.
        np.testing.assert_allclose(costs, REFERENCE[f"{case}_cost"], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(align(costs), REFERENCE[f"{case}_path_first"])


@pytest.mark.parametrize("count", [4, 40, 700])
def test_points_are_counted_by_distance_and_direction(count):
    rng = np.random.default_rng(count)
    # On a grid, so that many lie exactly on the axes, and some twice.
    points = rng.integers(0, 12, (count, 2))
    found = shape_contexts(points)
    # So many that rows are taken in blocks would take the loops long.
    some = slice(None, None, 1 + count // 20)
    np.testing.assert_array_equal(found[some], contexts_by_loops(points, some))


def test_equal_histograms_cost_nothing_and_strangers_one():
    counts = np.random.default_rng(0).integers(0, 9, (50, 60))
    assert (np.diag(matching_costs(counts, counts)) == 0).all()
    even, odd = np.zeros((2, 1, 60), int)
    even[0, ::2], odd[0, 1::2] = 3, 5
    assert matching_costs(even, odd) == 1


def test_costs_are_half_the_chi_squared_distance():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, (7, 60)), rng.integers(0, 4, (9, 60))
    a = (first / first.sum(axis=1, keepdims=True))[:, None]
    b = (second / second.sum(axis=1, keepdims=True))[None]
    expected = 0.5 * ((a - b) ** 2 / np.maximum(a + b, 1e-300)).sum(axis=2)
    found = matching_costs(first, second)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (9, 2), (13, 11), (11, 30)])
@pytest.mark.parametrize("levels", [2, 1000])
def test_the_path_is_that_of_loops_over_cells(shape, levels):
    # Two levels make many paths of one cost. Small integers have exact sums.
    costs = np.random.default_rng(levels).integers(0, levels, shape).astype(float)
    assert list(map(tuple, align(costs).tolist())) == path_by_loops(costs)


@pytest.mark.parametrize("seed", range(4))
def test_points_are_matched_as_by_loops_over_cells(seed):
    costs = np.random.default_rng(seed).random((9 + 3 * seed, 14))
    assert mean_matched_cost(costs) == pytest.approx(mean_by_loops(costs), abs=1e-12)
    # The first cell is cheaper than all others and yet not the one to begin after.
    costs[0, 0] = 0
    assert mean_matched_cost(costs) == pytest.approx(mean_by_loops(costs), abs=1e-12)


def test_an_outline_that_stays_has_no_change():
    mask = disk(40, 30, 20)
    np.testing.assert_array_equal(temporal_stability([mask, mask, mask]), [0, 0])


def test_an_outline_that_only_moves_has_no_change():
    moved = temporal_stability([disk(40, 30, 20), disk(43, 35, 20)])
    # The points between are float32 sums, which may fall into other bins.
    np.testing.assert_allclose(moved, 0, atol=0.01)


def test_where_the_object_is_changes_nothing():
    pair = [disk(30, 30, 20), disk(31, 28, 14)]
    value = temporal_stability(pair)
    wide = [np.pad(mask, ((64, 3), (128, 9))) for mask in pair]
    assert value > 0
    np.testing.assert_allclose(temporal_stability(wide), value, atol=0.01)


def test_a_growing_change_of_shape_grows():
    masks = [disk(40, 30, 20)] * 3
    masks = [mask.copy() for mask in masks]
    masks[1][20:40, 55:60] = False
    masks[2][20:40, 45:60] = False
    small, large = (temporal_stability([masks[0], mask])[0] for mask in masks[1:])
    assert 0 < small < large


def test_a_hole_counts_only_if_its_outline_has_most_points():
    whole = np.zeros((60, 80), bool)
    whole[8:52, 8:72] = True
    hole = whole.copy()
    hole[20:30, 30:40] = False
    assert temporal_stability([whole, hole]) == 0
    hole[30:40, 30:34] = False
    assert temporal_stability([whole, hole]) > 0.05


def test_an_object_cut_by_the_frame_has_a_value():
    (value,) = temporal_stability([disk(0, 0, 30), disk(89, 69, 30)])
    assert 0 < value < 1


def test_pairs_without_an_outline_are_undefined_and_left_out():
    pixel = np.zeros((70, 90), bool)
    pixel[3, 4] = True
    masks = [disk(40, 30, 20), pixel, disk(40, 30, 20), disk(40, 30, 15), pixel * 0]
    changes = temporal_stability(iter(masks))
    assert np.isnan(changes).tolist() == [True, True, False, True]
    assert mean_stability(changes) == 5 * changes[2]


def test_no_pairs_give_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert temporal_stability([disk(40, 30, 20)]).shape == (0,)
        assert np.isnan(mean_stability(np.zeros(0)))
        assert np.isnan(mean_stability(np.full(3, np.nan)))


def test_a_mask_of_another_size_is_named():
    masks = [np.zeros((4, 5)), np.zeros((4, 5)), np.zeros((5, 4))]
    with pytest.raises(InputError, match=r"mask 2 is \[5, 4\]"):
        temporal_stability(masks)
    with pytest.raises(InputError, match=r"mask 0 is \[4, 5, 3\]"):
        temporal_stability([np.zeros((4, 5, 3))])


def test_23_of_the_50_sequences_are_left_out():
    assert len(LEFT_OUT) == 23
    assert {"bmx-trees", "paragliding"} <= LEFT_OUT
    assert not {"blackswan", "paragliding-launch", "scooter-black"} & LEFT_OUT


REAL = [
    "kite_surf_osvos",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("blackswan_osvos", "cows_osvos", "bmx_trees_osvos", "dog_osvos")
    ),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("dance_twirl_osvos", "blackswan_gt", "cows_gt", "kite_surf_gt")
    ),
]


@pytest.mark.parametrize("name", REAL)
def test_real_masks_get_the_official_values(name):
    if not {"VOS_JAX_PARITY", "VOS_JAX_DATA"} <= set(os.environ):
        pytest.skip("VOS_JAX_PARITY and VOS_JAX_DATA name no folders")
    parity, data = (Path(os.environ[f"VOS_JAX_{key}"]) for key in ("PARITY", "DATA"))
    sequence, kind = name.rsplit("_", 1)
    folder = "results/osvos" if kind == "osvos" else "Annotations/480p"
    files = (data / "davis2016" / folder / sequence.replace("_", "-")).glob("*.png")
    found = temporal_stability(read_labels(path) for path in sorted(files)[1:-1])
    with np.load(parity / "metrics.npz") as official:
        wanted = official[f"tdavis_{name}"]
    # Where two alignments cost the same the program may take the other.
    errors = np.abs(found - wanted)
    assert errors.max() < 5e-4
    assert (errors < 1e-9).mean() >= 0.8
    assert mean_stability(found) == pytest.approx(mean_stability(wanted), abs=1e-4)
