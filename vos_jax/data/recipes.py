"""How training clips are made: which choices there are, which frames are drawn.

Where the STM paper gives no numbers, the defaults are those of published training code,
named at each recipe.
"""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

import numpy as np

from vos_jax.data.augmentation import Affine, Spline
from vos_jax.data.colour import Blur, Colour
from vos_jax.data.ranges import (
    check_choice,
    check_number,
    check_range,
    check_size,
    check_whole,
)
from vos_jax.data.source import Video
from vos_jax.errors import InputError
from vos_jax.types import MAX_OBJECTS

_STILL, _STRAIGHT, _PLAIN, _SHARP = Affine(), Spline(), Colour(), Blur()
_STCN_MOVE = Affine(rotation=20, shear=10, zoom=(0.9, 1.1), translation=0.1)
_STCN_VIDEO_MOVE = Affine(rotation=15, shear=10)
_STCN_VIDEO_CLIP_COLOUR = Colour(
    brightness=0.1, contrast=0.03, saturation=0.03, grey=0.05
)
_STCN_VIDEO_COLOUR = Colour(brightness=0.01, contrast=0.01, saturation=0.01)
_STCN_COLOUR = Colour(brightness=0.1, contrast=0.05, saturation=0.05)
_STCN_CLIP_COLOUR = replace(_STCN_COLOUR, hue=0.05, grey=0.05)


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
      short_side: In place of `cover`: the window has `size` pixels of a picture whose
        shorter side has this many, so one stored like that is cut and not resampled.
      window: What the window holds; where it lies beyond that is random. "target": one
        object of the first frame, drawn for that, and all the others if they fit.
        "objects": all objects that may be asked for, in every frame of the clip (LCM).
        Along an axis where that does not fit, the window lies within it.
      flip: Probability of a mirrored clip.
      clip_affine: One move of the whole clip.
      frame_affine: A move of each frame.
      spline: A bend of each frame.
      clip_colour: One change of the whole clip.
      frame_colour: A change of each frame.
      blur: Of each frame.
      perturb: Lowest and highest IoU with the true masks for those that stand in for
        them in the first frame (RDE-VOS, CVPR 2022); None for no such masks.
    """

    frames: int = 3
    size: tuple[int, int] = (384, 384)
    other_sizes: tuple[tuple[int, int], ...] = ()
    objects: int = 3
    min_share: float = 0.0007
    cover: tuple[float, float] = (1.0, 1.0)
    short_side: int | None = None
    window: Literal["target", "objects"] = "target"
    flip: float = 0.5
    clip_affine: Affine = _STILL
    frame_affine: Affine = _STILL
    spline: Spline = _STRAIGHT
    clip_colour: Colour = _PLAIN
    frame_colour: Colour = _PLAIN
    blur: Blur = _SHARP
    perturb: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.frames, Integral) and int(self.frames) >= 2):
            raise InputError(
                f"{type(self).__name__} frames={self.frames!r}: a clip has at least 2;"
                " use a whole number"
            )
        check_size(self, "size", self.size, 16)
        if not isinstance(self.other_sizes, tuple):
            raise InputError(
                f"{type(self).__name__} other_sizes={self.other_sizes!r}: use a tuple"
                " of pairs (height, width)"
            )
        for size in self.other_sizes:
            check_size(self, "other_sizes", size, 16)
        check_whole(self, "objects", 1, MAX_OBJECTS)
        check_number(self, "min_share", 0, 0.99)
        self._check_window()
        check_number(self, "flip", 0, 1)
        if self.perturb is not None:
            check_range(self, "perturb", 0, 1)

    def _check_window(self) -> None:
        check_range(self, "cover", 0.01, 10)
        check_choice(self, "window", ("target", "objects"))
        if self.short_side is None:
            return
        check_whole(self, "short_side", 16)
        # What the class has for it is nobody's wish.
        if self.cover != type(self).cover:
            raise InputError(
                f"{type(self).__name__} short_side={self.short_side} and cover="
                f"{self.cover}: each says how large the window is; leave out either"
            )

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
        only every n-th one has labels (`Video.stride`), clips have those alone, and
        go on by 1 to 1 + max_skip // n of them, as in published code: with 25 and
        every fifth that is up to 30 video frames, of which 29 are left out. None for
        no limit in time (LCM's second stage): any T labelled frames, all sets of them
        equally likely. Then there is no gap for `even`, and the next three fields say
        nothing.
      first_skip: The same at step 0.
      skip_steps: Steps over which it grows; 0 for `max_skip` from the beginning.
      labelled_skip: Both skips count labelled frames, whatever the stride (LCM's third
        stage).
      even: One gap for the whole clip instead of one after each frame.
      shuffle: The frames in random order (LCM's second stage).
      visible_throughout: Ask only for objects that show in every frame (LCM).
    """

    cover: tuple[float, float] = (0.73, 1.0)
    max_skip: int | None = 25
    first_skip: int = 0
    skip_steps: int = 19_500
    labelled_skip: bool = False
    even: bool = False
    shuffle: bool = False
    visible_throughout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first_skip", "skip_steps"):
            check_whole(self, name, 0)
        if self.max_skip is None:
            if self.even:
                raise InputError(
                    f"{type(self).__name__} max_skip=None and even=True: frames without"
                    " a limit in time have no gap to keep; leave out either"
                )
            return
        check_whole(self, "max_skip", 0)
        if self.first_skip > self.max_skip:
            raise InputError(
                f"{type(self).__name__} max_skip={self.max_skip} and first_skip="
                f"{self.first_skip}: the skip grows; use a max_skip as large as that"
            )

    @property
    def shortest(self) -> int:
        """As many frames as a clip has."""
        return self.frames

    @property
    def needs_all(self) -> bool:
        """As configured."""
        return self.visible_throughout

    def skip_at(self, step: int) -> int | None:
        """Returns the largest skip at a step, None for no limit.

        Each value lasts equally long.
        """
        if self.max_skip is None or step >= self.skip_steps:
            return self.max_skip
        values = self.max_skip - self.first_skip + 1
        return self.first_skip + values * step // self.skip_steps

    def times(self, video: Video, step: int, rng: np.random.Generator) -> list[int]:
        """Draws T frames, none of them twice."""
        first, skip = first_time(video), self.skip_at(step)
        count = video.length - first
        if skip is None:
            times = np.sort(rng.choice(count, self.frames, replace=False))
        else:
            stride = 1 if self.labelled_skip else video.stride
            times = self._spaced(1 + skip // stride, count, rng)
        times = first + times
        return (rng.permutation(times) if self.shuffle else times).tolist()

    def _spaced(self, widest: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws T of `count` frames, in order, with gaps of 1 to `widest` at most."""
        room = count - 1
        widest = min(widest, room // (self.frames - 1))
        gaps = rng.integers(1, widest + 1, self.frames - 1)
        if self.even:
            gaps[:] = gaps[0]
        # The gaps first: drawn in the other order, ends of videos would be rare.
        begin = int(rng.integers(room - gaps.sum() + 1))
        return begin + np.concatenate([[0], gaps.cumsum()])


@dataclass(frozen=True, kw_only=True)
class JumpRecipe(Recipe):
    """Clips from videos as the published code of STCN and of RDE-VOS draws them.

    With J the largest jump, or all n frames of a shorter video: each frame follows the
    one before by 1 to J + 1, but no later than frame n - J // i for the i-th. So the
    last ones of a short video may repeat, or go back. The largest jump changes with the
    step; published, at the first epoch after that.

    Crops there are 36 % to 100 % of a frame's area, of an aspect from 3:4 to 4:3; here
    of the aspect of `size`, and each side 60 % to 100 %.

    Attributes:
      jumps: Pairs of a step, the first one 0, and the largest jump from there on, in
        video frames: it is divided by `Video.stride`, rounded down, but at least 1.
      spacious: Begin where there is room for all jumps (RDE-VOS); else for one (STCN).
      reverse: Probability of a clip that goes back in time.
    """

    cover: tuple[float, float] = (0.6, 1.0)
    frame_affine: Affine = _STCN_VIDEO_MOVE
    clip_colour: Colour = _STCN_VIDEO_CLIP_COLOUR
    frame_colour: Colour = _STCN_VIDEO_COLOUR
    jumps: tuple[tuple[int, int], ...] = ((0, 25),)
    spacious: bool = True
    reverse: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "reverse", 0, 1)
        if not _are_jumps(self.jumps):
            raise InputError(
                f"{type(self).__name__} jumps={self.jumps!r}: use pairs (step, largest"
                " jump), steps rising from 0, jumps of 1 or more"
            )

    @property
    def shortest(self) -> int:
        """Three frames, whatever the clip has."""
        return 3

    def jump_at(self, step: int) -> int:
        """Returns the largest jump at a step, in video frames."""
        return [jump for begin, jump in self.jumps if begin <= step][-1]

    def times(self, video: Video, step: int, rng: np.random.Generator) -> list[int]:
        """Draws T frames."""
        first = first_time(video)
        count = video.length - first
        largest = max(1, self.jump_at(step) // video.stride)
        jump = min(largest, count)
        begins = count - jump + 1
        if self.spacious:
            begins = max(largest // 2 + 1, count - self.frames * jump + 1)
        times = [int(rng.integers(min(begins, count)))]
        for number in range(1, self.frames):
            time = times[-1] + int(rng.integers(1, jump + 2))
            times.append(min(time, count - jump // number, count - 1))
        if rng.random() < self.reverse:
            times.reverse()
        return [first + time for time in times]


def _are_jumps(jumps: object) -> bool:
    if not (isinstance(jumps, tuple) and jumps):
        return False
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in jumps):
        return False
    if not all(type(x) is int for pair in jumps for x in pair):
        return False
    steps = [step for step, _ in jumps]
    rising = steps[0] == 0 and steps == sorted(set(steps))
    return rising and all(jump >= 1 for _, jump in jumps)


def first_time(video: Video) -> int:
    """Returns the first labelled frame that can show an object."""
    return min(video.starts.values()) if video.starts else 0
