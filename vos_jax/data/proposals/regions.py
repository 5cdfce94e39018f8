"""The region proposer: what may be an object, from colours and texture alone.

It stands in for a detector where nothing is to be downloaded: on generated clips, which
look like nothing that detectors know. It sees one frame and no masks. Masks are worked
on within their boxes: a frame of 128 x 208 takes some 0.2 s of a core, one of 480 x 854
two seconds. On generated clips (difficulty 0.2 to 0.6) the mean best IoU is about 0.75
among the thirty and 0.68 after suppression; on photographs it is 0.4, far from a
detector's.

    frame -> features at three scales -> clusters of 4 and of 8 -> connected components
    -> they and unions of two that touch -> scored by the edge that they lie on
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vos_jax.data.proposals.select import COUNT

VERSION = 1
"""Goes up with every change of what is proposed."""

_SCALES = (1, 2, 4)
_CLUSTERS = (4, 8)
# Objects and what is behind them often differ by nothing else.
_TEXTURE = 5.0
_SAMPLED = 7
_STEPS = 8
_COMPONENTS = 20
_SMALLEST_COMPONENT = 0.001
_AREAS = (0.004, 0.5)
_REACH = 2
# Up to this share of the frame a larger region is the likelier object.
_LARGE = 0.1
_SAME = 0.8
# Room around a mask for its dilations.
_ROOM = 3
# Neighbours that are connected; made once, for it takes as long as a small mask.
_FOUR = ndimage.generate_binary_structure(2, 1)

Floats = NDArray[np.float32]
"""float32 of any shape."""


class Region(NamedTuple):
    """A mask in its box.

    Attributes:
      top: First row of the box.
      left: First column.
      mask: bool, the part of the frame from there on.
    """

    top: int
    left: int
    mask: np.ndarray

    @property
    def bottom(self) -> int:
        """One beyond the last row."""
        return self.top + self.mask.shape[0]

    @property
    def right(self) -> int:
        """One beyond the last column."""
        return self.left + self.mask.shape[1]


class _Scored(NamedTuple):
    region: Region
    area: int
    score: float


def propose_regions(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Proposes objects of a frame; equal frames give equal bits.

    Args:
      frame: uint8 `[H, W, 3]`.

    Returns:
      bool `[M, H, W]` and float32 `[M]`: at most thirty masks and their scores from 0
      on, best first. Of two masks with an IoU above 0.8 the better one is there.
    """
    size = frame.shape[:2]
    unit = min(size) / 128
    image: Floats = (frame / np.float32(255)).astype(np.float32, copy=False)
    edges = _edges(image, unit)
    scored = []
    for scale in _SCALES:
        features = _features(image, unit, scale * unit)
        for count in _CLUSTERS:
            clusters = _cluster(features, count).reshape(size)
            for region in _candidates(_components(clusters, count)):
                if (found := _score(region, edges)) is not None:
                    scored.append(found)
    scored.sort(key=lambda each: -each.score)
    kept = _distinct(scored)
    masks = np.zeros((len(kept), *size), np.bool_)
    for whole, (region, _, _) in zip(masks, kept, strict=True):
        whole[region.top : region.bottom, region.left : region.right] = region.mask
    return masks, np.array([each.score for each in kept], np.float32)


def _features(image: Floats, unit: float, sigma: float) -> Floats:
    """Colour and texture of every pixel, `[H * W, 4]`."""
    grey = image.mean(axis=-1)
    texture = np.abs(grey - ndimage.gaussian_filter(grey, 2 * unit))
    planes = [*np.moveaxis(image, -1, 0), _TEXTURE * texture]
    smooth = [ndimage.gaussian_filter(plane, sigma) for plane in planes]
    return np.stack(smooth, axis=-1).reshape(-1, len(planes))


def _edges(image: Floats, unit: float) -> Floats:
    """How much colours change at every pixel, `[H, W]`."""
    total = np.zeros(image.shape[:2], np.float32)
    for plane in np.moveaxis(image, -1, 0):
        smooth = ndimage.gaussian_filter(plane, unit)
        for axis in (0, 1):
            total += ndimage.sobel(smooth, axis) ** 2
    return np.sqrt(total)


def _cluster(features: Floats, count: int) -> NDArray[np.intp]:
    """Assigns every pixel to a cluster: k-means of every seventh, farthest first."""
    some = features[::_SAMPLED]
    lengths = (some**2).sum(axis=1)
    mean = some.mean(axis=0)
    first = (lengths + _squared(some, mean[None])[:, 0]).argmin()
    centres = some[first][None]
    nearest = _squared(some, centres)[:, 0]
    for _ in range(count - 1):
        centres = np.concatenate([centres, some[(lengths + nearest).argmax()][None]])
        nearest = np.minimum(nearest, _squared(some, centres[-1:])[:, 0])
    for _ in range(_STEPS):
        member = _squared(some, centres).argmin(axis=1)
        sizes = np.bincount(member, minlength=count)[:, None]
        sums = np.stack(
            [np.bincount(member, plane, minlength=count) for plane in some.T], axis=1
        )
        # One that is empty stays where it is.
        centres = np.where(sizes, sums / np.maximum(sizes, 1), centres)
        centres = centres.astype(np.float32)
    return _squared(features, centres).argmin(axis=1)


def _squared(points: Floats, centres: Floats) -> Floats:
    """Squared distances `[points, centres]`, but for what all centres share."""
    return (centres**2).sum(axis=1) - 2 * (points @ centres.T)


def _components(clusters: NDArray[np.intp], count: int) -> list[Region]:
    """The largest connected components of all clusters, the largest first."""
    found = []
    for cluster in range(count):
        labels, _ = ndimage.label(clusters == cluster, _FOUR)
        sizes = np.bincount(labels.ravel())
        boxes = ndimage.find_objects(labels)
        large = sizes >= _SMALLEST_COMPONENT * clusters.size
        for label in np.flatnonzero(large[1:]) + 1:
            rows, columns = boxes[label - 1]
            mask = labels[rows, columns] == label
            found.append((sizes[label], Region(rows.start, columns.start, mask)))
    found.sort(key=lambda each: -each[0])
    return [region for _, region in found[:_COMPONENTS]]


def _candidates(components: list[Region]) -> Iterator[Region]:
    """Yields the components, and the unions of two that touch with their seams."""
    wide = [_pad(each, _REACH) for each in components]
    wide = [each._replace(mask=_dilate(each.mask, _REACH)) for each in wide]
    yield from components
    for one, other in combinations(range(len(components)), 2):
        seam = _common(wide[one], wide[other])
        if seam is not None:
            yield _union(components[one], components[other], seam)


def _common(one: Region, other: Region) -> Region | None:
    """Where two regions are both; None if that is nowhere."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom, right = min(one.bottom, other.bottom), min(one.right, other.right)
    if top >= bottom or left >= right:
        return None
    box = top, left, bottom, right
    both = _cut(one, *box) & _cut(other, *box)
    return Region(top, left, both) if both.any() else None


def _union(*regions: Region) -> Region:
    top = min(each.top for each in regions)
    left = min(each.left for each in regions)
    bottom = max(each.bottom for each in regions)
    right = max(each.right for each in regions)
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for each in regions:
        part = mask[each.top - top : each.bottom - top]
        part[:, each.left - left : each.right - left] |= each.mask
    return Region(top, left, mask)


def _cut(region: Region, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    rows = slice(top - region.top, bottom - region.top)
    return region.mask[rows, left - region.left : right - region.left]


def _pad(region: Region, room: int) -> Region:
    return Region(region.top - room, region.left - room, _padded(region.mask, room))


def _padded(mask: np.ndarray, room: int) -> np.ndarray:
    """What NumPy's function does in thirty times the time."""
    height, width = mask.shape
    wide = np.zeros((height + 2 * room, width + 2 * room), np.bool_)
    wide[room : room + height, room : room + width] = mask
    return wide


def _fill(region: Region) -> Region:
    """Fills what is not connected with the outside of the box."""
    outside, count = ndimage.label(~_padded(region.mask, 1), _FOUR)
    if count == 1:
        return region
    return region._replace(mask=(outside != outside[0, 0])[1:-1, 1:-1])


def _dilate(mask: np.ndarray, times: int) -> np.ndarray:
    """Grows a mask by its four neighbours."""
    for _ in range(times):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def _score(region: Region, edges: Floats) -> _Scored | None:
    """Scores a region by the edge along its outline, for being compact, whole, large.

    Returns:
      None for one that is too small or too large.
    """
    least, most = (share * edges.size for share in _AREAS)
    # Without its holes it is no larger than its box.
    if region.mask.size < least or np.count_nonzero(region.mask) > most:
        return None
    region = _within(_fill(region), edges.shape)
    area = int(np.count_nonzero(region.mask))
    if not least <= area <= most:
        return None
    wide = _pad(region, _ROOM)
    near = _dilate(~wide.mask, 1)
    outline = np.count_nonzero(near & wide.mask)
    # From two pixels inside to one outside.
    band = _within(
        wide._replace(mask=_dilate(near, 1) & _dilate(wide.mask, 1)), edges.shape
    )
    seen = edges[band.top : band.bottom, band.left : band.right]
    edge = float(seen[band.mask].mean())
    border = min(1.0, _border_pixels(region, edges.shape) / outline)
    compact = min(1.0, 4 * np.pi * area / outline**2)
    large = min(1.0, area / (_LARGE * edges.size))
    return _Scored(region, area, edge * (1 - border) * (compact * large) ** 0.5)


def _within(region: Region, size: tuple[int, ...]) -> Region:
    """Leaves out what lies beyond the frame."""
    top, left = max(region.top, 0), max(region.left, 0)
    bottom, right = min(region.bottom, size[0]), min(region.right, size[1])
    return Region(top, left, _cut(region, top, left, bottom, right))


def _border_pixels(region: Region, size: tuple[int, ...]) -> int:
    """Pixels of a region on the border of the frame."""
    mask = region.mask
    inside = region.top > 0 and region.left > 0
    if inside and region.bottom < size[0] and region.right < size[1]:
        return 0
    on = np.zeros(mask.shape, np.bool_)
    on[0] |= region.top == 0
    on[-1] |= region.bottom == size[0]
    on[:, 0] |= region.left == 0
    on[:, -1] |= region.right == size[1]
    return int((mask & on).sum())


def _distinct(scored: list[_Scored]) -> list[_Scored]:
    """The best ones, without those that are nearly the same as a better one."""
    kept: list[_Scored] = []
    for each in scored:
        if not any(_are_same(each, other) for other in kept):
            kept.append(each)
            if len(kept) == COUNT:
                break
    return kept


def _are_same(one: _Scored, other: _Scored) -> bool:
    if min(one.area, other.area) <= _SAME * max(one.area, other.area):
        return False
    common = _common(one.region, other.region)
    if common is None:
        return False
    both = int(common.mask.sum())
    return both > _SAME * (one.area + other.area - both)
