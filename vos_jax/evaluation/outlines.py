"""Outlines of a mask along the cracks between its pixels, as few points as will do.

Points are pixel corners: x is a column 0..W, y a row 0..H, and the screen's y points
down. The image border counts as background. The rules are those of the program that
DAVIS 2016 (F. Perazzi et al., CVPR 2016, section 4) measures temporal stability with.
Where one looks arbitrary it is, but the scores depend on it.

Letters: `H W` image, `n` corners at which an outline turns, `N` points.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from vos_jax.errors import InputError

_UP, _LEFT, _DOWN, _RIGHT = range(4)
_BACK = (_DOWN, _RIGHT, _UP, _LEFT)
_TURNS = ((_LEFT, _RIGHT), (_UP, _DOWN), (_LEFT, _RIGHT), (_UP, _DOWN))
_NONE = -1
# Pixels. The first pass is not without effect: where it has to choose between equally
# far points it may keep one on a straight line, and then the second pass starts there.
_TOLERANCES = (0.05, 1.5)
_LONGEST_EDGE = 3.0


class _Corners(NamedTuple):
    """The corners at which cracks turn or meet, in row order, and what joins them.

    Attributes:
      points: x and y, int64 `[n, 2]`.
      links: The next corner up, left, down and right of each, `_NONE` where no crack
        leads there: int64 `[n, 4]`.
      contacts: The corners at which four cracks meet, where two pixels touch only
        diagonally; ascending.
    """

    points: np.ndarray
    links: np.ndarray
    contacts: np.ndarray


class _Piece(NamedTuple):
    """A chain of corners between two contacts, which may be the same.

    Attributes:
      corners: All of them, both ends included.
      leaves: The direction of its first crack.
      arrives: The direction of its last crack.
    """

    corners: list[int]
    leaves: int
    arrives: int

    def reverse(self) -> "_Piece":
        return _Piece(self.corners[::-1], _BACK[self.arrives], _BACK[self.leaves])


def main_outline(mask: np.ndarray) -> np.ndarray | None:
    """The simplified outline of most points, the later of two that have as many.

    It may be a hole's. Outer outlines run clockwise on the screen, holes the other way.

    Args:
      mask: `[H, W]`, foreground where not zero.

    Returns:
      int64 `[N, 2]` of x and y, the first point repeated at the end; None where no
      outline keeps more than three points, as with a single pixel.

    Raises:
      InputError: The mask has another number of axes.
    """
    mask = np.asarray(mask)
    lines = outlines(mask)
    ways = [_foreground_is_right(mask, line) for line in lines]
    for tolerance in _TOLERANCES:
        lines = simplify(lines, tolerance)
    best = max(range(len(lines)), key=lambda i: (len(lines[i]), i), default=None)
    if best is None or len(lines[best]) <= 3:
        return None
    return lines[best] if ways[best] else lines[best][::-1]


def upsample(outline: np.ndarray) -> np.ndarray:
    """Cuts edges longer than 3 pixels into as few equal parts as are not longer.

    Args:
      outline: `[n, 2]`, at least two points.

    Returns:
      float32 `[N, 2]`; the points of an edge are sums of its rounded step, because
      the program adds them up.
    """
    points = outline.astype(np.float32)
    edges = np.diff(points, axis=0)
    lengths = np.sqrt((edges.astype(np.float64) ** 2).sum(axis=1))
    parts = np.maximum(np.ceil(lengths / _LONGEST_EDGE).astype(np.int64), 1)
    steps = edges / parts[:, None].astype(np.float32)
    cut = np.repeat(steps[:, None], parts.max(), axis=1)
    cut = np.concatenate([points[:-1, None], cut], axis=1).cumsum(axis=1)
    wanted = np.arange(cut.shape[1]) < parts[:, None]
    return np.concatenate([cut[wanted], points[-1:]])


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Follows the cracks between foreground and background, of holes too.

    No outline passes a corner twice: two pixels that touch diagonally and nowhere else
    are two outlines. One that meets no such contact starts at the upper end of its
    first vertical crack in row order and goes down.

    Args:
      mask: `[H, W]`, foreground where not zero.

    Returns:
      The corners of each outline, one crack apart: int64 `[N, 2]` of x and y, the first
      repeated at the end. They come in the order in which the program finishes them.

    Raises:
      InputError: The mask has another number of axes.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise InputError(f"mask must be [H, W], not {list(mask.shape)}")
    corners = _corners(mask != 0)
    links = corners.links.tolist()
    contacts = corners.contacts.tolist()
    pieces = _pieces(links, contacts)
    # What is left are the outlines without contact. Their starts count as contacts with
    # the highest numbers, and the highest number comes first.
    free = [_follow(links, start, _DOWN, {start}).corners for start in _starts(links)]
    found = chain(reversed(free), _join(pieces, contacts))
    return [_every_crack(corners.points[loop]) for loop in found]


def simplify(lines: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Drops points that a polygon can do without, in the direction of each line.

    First every point closer than `tolerance` to the last one kept, then by the rule of
    Douglas and Peucker (1973) all whose distance to a segment is not greater; of points
    equally far the later one is kept. Both ends stay.

    Args:
      lines: int64 `[N, 2]` each, at least two points.
      tolerance: Pixels.
    """
    lines = [_thin(line, tolerance) for line in lines]
    if not lines:
        return []
    sizes = np.array([len(line) for line in lines])
    points = np.concatenate(lines).astype(np.float64)
    last = np.cumsum(sizes) - 1
    keep = np.zeros(len(points), bool)
    first = last - sizes + 1
    ends, keep[first], keep[last] = last[:-1] + 1, True, True
    # All segments of all lines are split at once, level by level.
    while (divisible := last - first > 1).any():
        first, last = first[divisible], last[divisible]
        farthest, distance = _farthest(points, first, last)
        split = distance > tolerance * tolerance
        first, farthest, last = first[split], farthest[split], last[split]
        keep[farthest] = True
        first, last = (
            np.concatenate([first, farthest]),
            np.concatenate([farthest, last]),
        )
    kept = np.split(keep, ends)
    return [line[those] for line, those in zip(lines, kept, strict=True)]


def _corners(mask: np.ndarray) -> _Corners:
    padded = np.pad(mask, 1)
    # Whether a crack leads up, left, down and right of each corner: [H + 1, W + 1].
    across, along = padded[:, :-1] != padded[:, 1:], padded[:-1] != padded[1:]
    up, down, left, right = across[:-1], across[1:], along[:, :-1], along[:, 1:]
    meets = left & right & up & down
    y, x = np.nonzero((left != right) | meets)
    links = np.full((len(x), 4), _NONE)
    # A crack that leaves a corner ends at the next one of the row or the column.
    start = np.flatnonzero(right[y, x])
    links[start, _RIGHT], links[start + 1, _LEFT] = start + 1, start
    by_column = np.lexsort((y, x))
    start = np.flatnonzero(down[y, x][by_column])
    links[by_column[start], _DOWN] = by_column[start + 1]
    links[by_column[start + 1], _UP] = by_column[start]
    return _Corners(np.stack([x, y], axis=1), links, np.flatnonzero(meets[y, x]))


def _follow(
    links: list[list[int]], start: int, direction: int, ends: Collection[int]
) -> _Piece:
    """Walks from a corner to one of `ends` and takes the cracks off `links`."""
    corners, leaves = [start], direction
    while True:
        corner = links[corners[-1]][direction]
        links[corners[-1]][direction] = links[corner][_BACK[direction]] = _NONE
        corners.append(corner)
        if corner in ends:
            return _Piece(corners, leaves, direction)
        one, other = _TURNS[direction]
        direction = one if links[corner][one] != _NONE else other


def _starts(links: list[list[int]]) -> Iterator[int]:
    """The corners in row order that still have a crack downwards when reached."""
    return (corner for corner, ways in enumerate(links) if ways[_DOWN] != _NONE)


def _pieces(links: list[list[int]], contacts: list[int]) -> list[_Piece]:
    ends = set(contacts)
    return [
        _follow(links, contact, direction, ends)
        for contact in reversed(contacts)
        for direction in (_UP, _LEFT, _DOWN, _RIGHT)
        if links[contact][direction] != _NONE
    ]


def _join(pieces: list[_Piece], contacts: list[int]) -> Iterator[list[int]]:
    """Joins pieces to loops that pass no contact twice."""
    # By number, each as it leaves the contact.
    free: dict[int, list[tuple[int, _Piece]]] = {contact: [] for contact in contacts}
    for number, piece in enumerate(pieces):
        free[piece.corners[0]].append((number, piece))
        free[piece.corners[-1]].append((number, piece.reverse()))
    for contact in reversed(contacts):
        trail: list[_Piece] = []
        places: dict[int, int] = {}
        while trail or free[contact]:
            here = trail[-1].corners[-1] if trail else contact
            ways = free[here]
            straight = bool(trail) and ways[0][1].leaves == trail[-1].arrives
            number, piece = ways[1 if straight and len(ways) > 1 else 0]
            for end in {here, piece.corners[-1]}:
                free[end] = [way for way in free[end] if way[0] != number]
            places[here] = len(trail)
            trail.append(piece)
            cut = places.get(piece.corners[-1])
            if cut is not None:
                loop, trail = trail[cut:], trail[:cut]
                for part in loop:
                    del places[part.corners[0]]
                yield [
                    loop[0].corners[0],
                    *chain.from_iterable(part.corners[1:] for part in loop),
                ]


def _every_crack(corners: np.ndarray) -> np.ndarray:
    """From the corners of an outline to all points that are one crack apart."""
    steps = np.diff(corners, axis=0)
    cracks = np.repeat(np.sign(steps), np.abs(steps).sum(axis=1), axis=0)
    return np.concatenate([corners[:1], corners[0] + np.cumsum(cracks, axis=0)])


def _foreground_is_right(mask: np.ndarray, line: np.ndarray) -> bool:
    """Whether the object lies to the right of an outline's first crack."""
    (x, y), (next_x, next_y) = line[:2].tolist()
    dx, dy = next_x - x, next_y - y
    column, row = x + (dx - dy - 1) // 2, y + (dx + dy - 1) // 2
    inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
    return inside and bool(mask[row, column])


def _thin(line: np.ndarray, tolerance: float) -> np.ndarray:
    """Drops each point closer than the tolerance to the last one kept."""
    limit = tolerance * tolerance
    if (np.square(np.diff(line, axis=0)).sum(axis=1) >= limit).all():
        return line
    points = line.tolist()
    kept = [0]
    kept_x, kept_y = points[0]
    for place, (x, y) in enumerate(points[1:-1], start=1):
        if (x - kept_x) ** 2 + (y - kept_y) ** 2 >= limit:
            kept.append(place)
            kept_x, kept_y = x, y
    return line[[*kept, len(points) - 1]]


def _farthest(
    points: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The point between the ends of each segment that is farthest from it.

    Returns:
      Its place, the later of equals, and its squared distance.
    """
    inner = last - first - 1
    starts = np.cumsum(inner) - inner
    segment = np.repeat(np.arange(len(first)), inner)
    place = np.arange(len(segment)) + (first + 1 - starts)[segment]
    distance = _distance2(points, place, first[segment], last[segment])
    longest = np.maximum.reduceat(distance, starts)
    equals = np.where(distance == longest[segment], place, -1)
    return np.maximum.reduceat(equals, starts), longest


def _distance2(
    points: np.ndarray, place: np.ndarray, first: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Squared distance of points to segments."""
    x, y = points[:, 0], points[:, 1]
    along_x, along_y = x[last] - x[first], y[last] - y[first]
    offset_x, offset_y = x[place] - x[first], y[place] - y[first]
    covered = offset_x * along_x + offset_y * along_y
    length2 = along_x * along_x + along_y * along_y
    # In float32 as in the program, which decides which of equally far points is kept.
    foot = (covered / np.maximum(length2, 1)).astype(np.float32).astype(np.float64)
    foot = np.where(covered >= length2, length2 > 0, np.maximum(foot, 0))
    return (offset_x - foot * along_x) ** 2 + (offset_y - foot * along_y) ** 2
