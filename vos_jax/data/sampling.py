"""What a training example is made of: pure functions of seed, step and index.

Every example draws from a generator of its own, so that any batch can be made again,
by any number of hosts and workers and in any order. NumPy alone: no pixel is read here.
The numbers stay the same as long as NumPy's generators do.

A `Recipe` says which choices there are. Where the STM paper gives none, the defaults
are those of published training code, named at each recipe.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vos_jax.data.augmentation import Affine, Blur, Colour, Spline, check_range
from vos_jax.data.source import Video
from vos_jax.errors import InputError

_STILL, _STRAIGHT, _PLAIN, _SHARP = Affine(), Spline(), Colour(), Blur()
_STCN_MOVE = Affine(rotation=20, shear=10, zoom=(0.9, 1.1), translation=0.1)
_STCN_COLOUR = Colour(brightness=0.1, contrast=0.05, saturation=0.05)
_STCN_CLIP_COLOUR = replace(_STCN_COLOUR, hue=0.05, grey=0.05)

_EXAMPLE, _ORDER = 0, 1
_IGNORE = 255
_LIMIT = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How clips are made; see its two kinds for the defaults.

    Attributes:
      frames: T, at least 2.
      size: (H, W) of the clips.
      other_sizes: More of them, which take turns with `size` step by step. One size
        alone teaches a small network where things are instead of what they look like.
      objects: O; more of them in the first frame become background.
      min_share: Least share of the first frame for an object that is asked for;
        smaller ones become background.
      cover: Smallest and largest size of the window that is cut out and scaled to
        `size`, 1 being the largest of that shape within the picture. Beyond 1 the
        window shows what lies outside of the picture.
      flip: Probability of a mirrored clip.
      clip_affine: One move of the whole clip.
      frame_affine: A move of each frame.
      spline: A bend of each frame.
      clip_colour: One change of the whole clip.
      frame_colour: A change of each frame.
      blur: Of each frame.
    """

    frames: int = 3
    size: tuple[int, int] = (384, 384)
    other_sizes: tuple[tuple[int, int], ...] = ()
    objects: int = 3
    min_share: float = 0.0007
    cover: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    clip_affine: Affine = _STILL
    frame_affine: Affine = _STILL
    spline: Spline = _STRAIGHT
    clip_colour: Colour = _PLAIN
    frame_colour: Colour = _PLAIN
    blur: Blur = _SHARP

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise InputError(f"frames={self.frames}: a clip has at least 2")
        for size in self.sizes:
            if min(size) < 16:
                raise InputError(f"size={size}: both sides must be 16 pixels or more")
        if not 1 <= self.objects < _IGNORE:
            raise InputError(f"objects={self.objects}: use a number from 1 to 254")
        if not 0 <= self.min_share < 1:
            raise InputError(f"min_share={self.min_share}: use a share below 1")
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip={self.flip}: use a probability from 0 to 1")
        check_range(self, "cover", 0.01, 10)

    def accepts(self, video: Video) -> bool:
        """Whether the video is long enough."""
        return video.length - first_time(video) >= self.shortest

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All (H, W), in their turn."""
        return (self.size, *self.other_sizes)

    def size_at(self, step: int) -> tuple[int, int]:
        """Returns the (H, W) of the clips of a step."""
        return self.sizes[step % len(self.sizes)]

    @property
    def shortest(self) -> int:
        """Labelled frames that a video must have."""
        raise NotImplementedError

    @property
    def needs_all(self) -> bool:
        """Whether an object must show in every frame of the clip."""
        return False

    def times(self, video: Video, step: int, rng: np.random.Generator) -> list[int]:
        """Draws which T labelled frames of a video are the clip's."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class StaticRecipe(Recipe):
    """Clips from single images: T random views of each (STM sec. 3.5, pre-training).

    STM names rotation, shearing, zooming, translation and cropping of three frames at
    384 x 384, and no ranges. Those of moves, colours and the clip's own zoom are of the
    published code of STCN (NeurIPS 2021), the 10 % of translation are AOT's (NeurIPS
    2021), up to three objects are XMem's (ECCV 2022). STCN also bends every third
    frame: `Spline(probability=0.33)`. AOT's stronger setting blurs:
    `Blur(probability=0.3)`.
    """

    cover: tuple[float, float] = (0.67, 1.25)
    frame_affine: Affine = _STCN_MOVE
    clip_colour: Colour = _STCN_CLIP_COLOUR
    frame_colour: Colour = _STCN_COLOUR

    @property
    def shortest(self) -> int:
        """One frame is enough."""
        return 1

    def times(self, video: Video, step: int, rng: np.random.Generator) -> list[int]:
        """Draws one frame, T times the same."""
        first = first_time(video)
        return [first + int(rng.integers(video.length - first))] * self.frames


@dataclass(frozen=True, kw_only=True)
class VideoRecipe(Recipe):
    """Clips from videos: T frames with random gaps (STM sec. 3.5, main training).

    STM takes three frames in order, crops 384 x 384, and lets the largest skip grow
    from 0 to 25. Pace and crop are those of a public reproduction (haochenheheda's
    Training-Code-of-STM): one more every 750 batches of four, and 384 pixels of a frame
    whose shorter side is 480 times 0.8 to 1.1. Up to three objects are XMem's (ECCV
    2022). STM names no colour change and no affine move here; STCN's (NeurIPS 2021) are
    `frame_affine=Affine(rotation=15, shear=10)`, `clip_colour=Colour(brightness=0.1,
    contrast=0.03, saturation=0.03, grey=0.05)`.

    Attributes:
      max_skip: Most video frames left out between two of the clip, in the end. Where
        labels are sparse (`Video.stride`), clips still have labelled frames only.
      first_skip: The same at step 0.
      skip_steps: Steps over which it grows; 0 for `max_skip` from the beginning.
      even: One gap for the whole clip instead of one after each frame.
      shuffle: The frames in random order (LCM's second stage).
      visible_throughout: Ask only for objects that show in every frame (LCM).
    """

    cover: tuple[float, float] = (0.73, 1.0)
    max_skip: int = 25
    first_skip: int = 0
    skip_steps: int = 19_500
    even: bool = False
    shuffle: bool = False
    visible_throughout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.first_skip <= self.max_skip:
            raise InputError(
                f"max_skip={self.max_skip} and first_skip={self.first_skip}: the skip "
                "grows, from 0 or more"
            )
        if self.skip_steps < 0:
            raise InputError(f"skip_steps={self.skip_steps}: use 0 or more")

    @property
    def shortest(self) -> int:
        """As many frames as a clip has."""
        return self.frames

    @property
    def needs_all(self) -> bool:
        """As configured."""
        return self.visible_throughout

    def skip_at(self, step: int) -> int:
        """Returns the largest skip at a step; each value lasts equally long."""
        if step >= self.skip_steps:
            return self.max_skip
        values = self.max_skip - self.first_skip + 1
        return self.first_skip + values * step // self.skip_steps

    def times(self, video: Video, step: int, rng: np.random.Generator) -> list[int]:
        """Draws T frames, none of them twice."""
        first = first_time(video)
        room = video.length - first - 1
        widest = 1 + self.skip_at(step) // video.stride
        widest = min(widest, room // (self.frames - 1))
        gaps = rng.integers(1, widest + 1, self.frames - 1)
        if self.even:
            gaps[:] = gaps[0]
        # The gaps first: drawn in the other order, ends of videos would be rare.
        begin = first + int(rng.integers(room - gaps.sum() + 1))
        times = begin + np.concatenate([[0], gaps.cumsum()])
        return (rng.permutation(times) if self.shuffle else times).tolist()


def example_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """Returns the generator of example `index` of the global batch of a step.

    Raises:
      InputError: A number is negative or above 2**32 - 1.
    """
    for name, value in (("seed", seed), ("step", step), ("index", index)):
        # Larger ones take several words, and different triples could be equal.
        if not 0 <= value < _LIMIT:
            raise InputError(f"{name}={value}: use a number from 0 to {_LIMIT - 1}")
    return np.random.default_rng([_EXAMPLE, seed, step, index])


def shuffled(seed: int, number: int, count: int) -> int:
    """Returns which of `count` videos example `number` of a run is from.

    Each epoch of `count` examples has every video once, in an order of its own.
    """
    epoch, place = divmod(number, count)
    return int(_order(seed, epoch, count)[place])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


def first_time(video: Video) -> int:
    """Returns the first labelled frame that can show an object."""
    return min(video.starts.values()) if video.starts else 0


def draw_window(
    labels: np.ndarray,
    target: int,
    window: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Draws where a window is cut out so that it holds the target.

    Along each axis it holds as much as fits of: all objects of the first frame in all
    frames; the target in all frames; the target in the first frame. If not even that
    fits, the window lies within the target.

    Args:
      labels: uint8 `[T, H, W]`.
      target: An id that the first frame shows.
      window: (height, width), which may be larger than the picture.
      rng: Where from.

    Returns:
      (x, y) of its upper left corner: whole pixels where there is a choice.
    """
    shown = np.isin(np.arange(256), object_ids(labels[0]))[labels].any(axis=0)
    every = (labels == target).any(axis=0)
    masks = (shown, every, labels[0] == target)
    y, x = (
        _draw_offset(
            [_extent(mask.any(axis=1 - axis)) for mask in masks],
            labels.shape[1 + axis],
            window[axis],
            rng,
        )
        for axis in (0, 1)
    )
    return x, y


def _extent(line: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


def _draw_offset(
    extents: Sequence[tuple[int, int]],
    side: int,
    window: float,
    rng: np.random.Generator,
) -> float:
    """Draws where a window begins along one axis; the widest extents come first."""
    low, high = min(0.0, side - window), max(0.0, side - window)
    for begin, end in extents:
        if end - begin <= window:
            low, high = max(low, end - window), min(high, begin)
            break
    else:
        low, high = begin, end - window
    offset = rng.uniform(low, high)
    # A window that needs no scaling keeps its pixels as they are.
    return float(round(offset)) if low <= round(offset) <= high else offset


def largest_window(
    picture: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float]:
    """Returns the largest (height, width) of the shape of `size` in a picture."""
    scale = min(picture[0] / size[0], picture[1] / size[1])
    return scale * size[0], scale * size[1]


def object_ids(labels: np.ndarray, pixels: float = 1) -> np.ndarray:
    """Returns the ids, neither background nor ignored, with at least `pixels` pixels.

    Args:
      labels: uint8 `[H, W]`.
      pixels: Least number.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    counts[[0, _IGNORE]] = 0
    return np.flatnonzero(counts >= max(pixels, 1))


def draw_objects(
    labels: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> np.ndarray:
    """Draws which ids of a clip's labels are its objects, in ascending order.

    Args:
      labels: uint8 `[T, H, W]`, as they will be seen.
      recipe: Says how many and how large.
      rng: Where from.

    Returns:
      At most O ids, none if no object is large enough in the first frame.
    """
    ids = object_ids(labels[0], math.ceil(recipe.min_share * labels[0].size))
    if recipe.needs_all:
        for later in labels[1:]:
            ids = np.intersect1d(ids, object_ids(later))
    return np.sort(rng.permutation(ids)[: recipe.objects])


def renumber(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Makes `ids` 1, 2, ... in their order, others background; 255 stays."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    table[_IGNORE] = _IGNORE
    return table[labels]
