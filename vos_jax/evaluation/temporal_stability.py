"""Temporal stability T: how much the outline of a result changes from frame to frame.

F. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016, section 4: the outlines of two consecutive masks are described
by shape contexts (S. Belongie, J. Malik, J. Puzicha, PAMI 2002) and aligned by dynamic
time warping; the mean cost of the matched points is the value of the pair. The
annotation takes no part, and lower is better. Values are those of the official program
except where two alignments cost the same, which moves a pair by less than 5e-4.

Letters: `H W` image, `N M` points of two outlines.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from vos_jax.errors import InputError
from vos_jax.evaluation.outlines import main_outline, upsample

SCALE = 5.0
"""Brings the mean into the range of J and F, as the official toolkits do."""

LEFT_OUT = frozenset(
    {
        *("bmx-bumps", "bmx-trees", "breakdance", "breakdance-flare", "dance-twirl"),
        *("dog", "dog-agility", "drift-chicane", "goat", "horsejump-high"),
        *("horsejump-low", "libby", "lucia", "mallard-fly", "motocross-jump"),
        *("motorbike", "paragliding", "parkour", "rollerblade", "scooter-gray"),
        *("soccerball", "swing", "tennis"),
    }
)
"""The sequences of DAVIS 2016 whose objects are occluded or change their outline too
much for T, as listed in the authors' Matlab toolkit of 2016. 27 of the 50 remain."""

# Edges of the rings in mean distances; what is farther than the last is not counted.
_RINGS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
_SECTORS = 12
_BINS = len(_RINGS) * _SECTORS
# Cosines and sines of 0, 30, ..., 150 degrees; those that are 0 or 1 exactly.
_COS_30 = np.sqrt(3) / 2
_DIRECTIONS = (
    (1, 0),
    (_COS_30, 0.5),
    (0.5, _COS_30),
    (0, 1),
    (-0.5, _COS_30),
    (-_COS_30, 0.5),
)
# Of points; arrays of more are twice as slow, since they leave the cache.
_PAIRS_AT_ONCE = 2**14


def temporal_stability(masks: Iterable[np.ndarray]) -> np.ndarray:
    """The change of outline between each mask and the next.

    Args:
      masks: `[H, W]` each, foreground where not zero; an iterator is read one by one.

    Returns:
      float64, one value fewer than masks, not yet times `SCALE`; NaN where a mask of
      the pair has no outline of four points, as an empty one or a single pixel.

    Raises:
      InputError: A mask has another size than the first, or another number of axes.
    """
    contexts = _contexts_of(masks)
    return np.array([_change(*pair) for pair in pairwise(contexts)], np.float64)


def mean_stability(changes: np.ndarray) -> float:
    """T of a sequence from the values of its pairs: five times their mean without NaN.

    NaN, and no warning, where nothing is left.
    """
    changes = np.asarray(changes, np.float64)
    known = changes[~np.isnan(changes)]
    return SCALE * float(known.mean()) if known.size else float("nan")


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """Counts the points of an outline around each of them by distance and direction.

    Five rings with edges at 1/8 to 2 mean distances, in each twelve sectors of 30
    degrees from the x axis towards y. Every point is also in its own histogram. Takes
    O(N^2) time.

    Args:
      points: `[N, 2]` of x and y, not all the same.

    Returns:
      int64 `[N, 60]`, rings from outside to inside.
    """
    points = np.asarray(points, np.float64)
    ranks = _ranks_across(points)
    count = len(points)
    blocks = np.array_split(np.arange(count), 1 + count * count // _PAIRS_AT_ONCE)
    total = sum(_distances(points, rows).sum() for rows in blocks)
    edges = np.array(_RINGS) * (total / count**2)
    histograms = np.empty((count, _BINS), np.int64)
    for rows in blocks:
        distances = _distances(points, rows)
        rings = np.zeros(distances.shape, np.uint8)
        for edge in edges:
            rings += distances < edge
        # Ring 0 is outside.
        bins = _SECTORS * rings + _sectors(ranks, rows)
        bins = bins + (_BINS + _SECTORS) * np.arange(len(rows))[:, None]
        counts = np.bincount(bins.ravel(), minlength=len(rows) * (_BINS + _SECTORS))
        histograms[rows] = counts.reshape(len(rows), -1)[:, _SECTORS:]
    return histograms


def matching_costs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Half the chi-squared distance of each histogram to each other one, 0 to 1.

    Args:
      first: Counts `[N, 60]`, no row empty.
      second: Counts `[M, 60]`, no row empty.

    Returns:
      float64 `[N, M]`; exactly 0 where two histograms are the same.
    """
    sums = first.sum(axis=1)
    shares = first / sums[:, None]
    others = np.ascontiguousarray((second / second.sum(axis=1)[:, None]).T)
    costs = np.empty((len(first), len(second)))
    # With shares a and b that sum to 1, half the sum of (a - b)^2 / (a + b) is 1 - 2
    # times that of a b / (a + b), in which bins that are empty in a do not occur.
    for row, counts in enumerate(first):
        filled = np.flatnonzero(counts)
        other = others[filled]
        other /= other + shares[row, filled, None]
        np.matmul(counts[filled].astype(np.float64), other, out=costs[row])
    return 1 - 2 * costs / sums[:, None]


def align(costs: np.ndarray) -> np.ndarray:
    """The cheapest path from the first to the last cell: dynamic time warping.

    Steps go down, right or both at once and pay for the cell they enter; the first cell
    is free. Of equally cheap ways to a cell the diagonal is taken, then the one from
    above. Takes time and two bytes for each of N (N + M) cells.

    Args:
      costs: float64 `[N, M]`, both at least 2.

    Returns:
      Row and column of its cells from the last to the first, int64 `[length, 2]`.
    """
    height, width = costs.shape
    flat = np.ascontiguousarray(costs).ravel()
    # The sum of every cell of an anti-diagonal needs only the two before: from above
    # and the left those of the last, diagonally those of the one before the last. They
    # are kept by row, one place further down so that there is one above the first. It
    # and the rows that are not reached yet stay infinite.
    before, last, total = np.full((3, height + 1), np.inf)
    last[1] = 0
    upward, leftward = np.zeros((2, height + width - 1, height), bool)
    for place in range(1, height + width - 1):
        top, bottom = max(0, place - width + 1), min(height, place + 1)
        start = top * (width - 1) + place
        cost = flat[start : start + (bottom - top - 1) * (width - 1) + 1 : width - 1]
        above, left = last[top:bottom], last[top + 1 : bottom + 1]
        best, sums = before[top:bottom], total[top + 1 : bottom + 1]
        np.less(above, best, out=upward[place, top:bottom])
        np.minimum(above, best, out=sums)
        np.less(left, sums, out=leftward[place, top:bottom])
        np.minimum(left, sums, out=sums)
        sums += cost
        before, last, total = last, total, before
    return _path(upward, leftward)


def mean_matched_cost(costs: np.ndarray) -> float:
    """The value of two outlines from the costs of their points.

    Closed outlines may begin anywhere: the cheapest cell of a first alignment is where
    the second one ends, and begins after it. On that path each row keeps its cheapest
    cell, and of those each column its own.

    Args:
      costs: float64 `[N, M]`, both at least 2.
    """
    path = align(costs)[:-1]
    shift = path[np.argmin(costs[tuple(path.T)])] + 1
    path = (align(np.roll(costs, -shift, axis=(0, 1))) + shift) % costs.shape
    matched = costs[tuple(path.T)]
    for axis in (0, 1):
        kept = _cheapest(path[:, axis], matched)
        path, matched = path[kept], matched[kept]
    return float(matched.mean())


def _path(upward: np.ndarray, leftward: np.ndarray) -> np.ndarray:
    """Goes back from the last cell; both maps are by anti-diagonal and row."""
    place, row = upward.shape[0] - 1, upward.shape[1] - 1
    path = []
    while True:
        path.append((row, place - row))
        if not place:
            return np.array(path)
        if leftward[place, row]:
            place -= 1
        elif upward[place, row]:
            place, row = place - 1, row - 1
        else:
            place, row = place - 2, row - 1


def _contexts_of(masks: Iterable[np.ndarray]) -> Iterator[np.ndarray | None]:
    size = None
    for place, mask in enumerate(masks):
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.shape != (size or mask.shape):
            raise InputError(
                f"mask {place} is {list(mask.shape)}; all must be [H, W] of one size"
            )
        size = mask.shape
        outline = main_outline(mask)
        yield None if outline is None else shape_contexts(upsample(outline))


def _change(first: np.ndarray | None, second: np.ndarray | None) -> float:
    """The value of a pair from the shape contexts of its two outlines."""
    if first is None or second is None:
        return float("nan")
    return mean_matched_cost(matching_costs(first, second))


def _cheapest(places: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Which of all the entries with one place is the cheapest, the first of equals."""
    order = np.lexsort((costs, places))
    return order[np.unique(places[order], return_index=True)[1]]


def _distances(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    x, y = points.T
    dx, dy = x - x[rows, None], y - y[rows, None]
    return np.sqrt(dx * dx + dy * dy)


def _ranks_across(points: np.ndarray) -> np.ndarray:
    """The order of the points across each of the six directions.

    Points that are level are ordered along the direction, and only equal ones have the
    same rank. So `ranks[k, j] > ranks[k, i]` says that point j, seen from point i, lies
    at an angle from 30 k degrees on and before 30 k + 180. That is exact for the axes,
    on which real outlines have many points.

    Returns:
      int32 `[6, N]`.
    """
    x, y = points.T
    ranks = [
        np.unique(
            (cosine * y - sine * x) + 1j * (cosine * x + sine * y), return_inverse=True
        )[1]
        for cosine, sine in _DIRECTIONS
    ]
    return np.array(ranks, np.int32)


def _sectors(ranks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The sector, 0 to 11, of all points seen from some of them; 0 for equal points."""
    below = ranks[0] >= ranks[0, rows, None]
    count = np.zeros(below.shape, np.uint8)
    for rank in ranks[1:]:
        count += rank > rank[rows, None]
    return np.where(below, count, 11 - count)
