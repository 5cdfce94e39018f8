"""Generated clips as a source: any number of videos, and no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from vos_jax.data.source import Labelled, Video
from vos_jax.data.synthetic import generate_frames
from vos_jax.errors import InputError

# Its multiples spread evenly over 0 to 1, however many there are.
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class GeneratedSource:
    """Videos of `vos_jax.data.synthetic`, drawn when they are read.

    Video i is the scene of the seed `(seed, i)`. The numbers of objects take turns and
    difficulties are spread evenly, so that video i is the same for any `count`.

    Attributes:
      count: Number of videos.
      length: Of each, in frames; scenes have no end of their own.
      size: Height and width, each at least 32.
      objects: Least and largest number of objects.
      difficulty: Least and largest difficulty, 0 to 3.
      seed: Other seeds give other videos.
      theme: Of all of them, as `vos_jax.data.synthetic.generate_clip` explains.
    """

    count: int = 10_000
    length: int = 100
    size: tuple[int, int] = (128, 128)
    objects: tuple[int, int] = (1, 3)
    difficulty: tuple[float, float] = (0.2, 1.0)
    seed: int = 0
    theme: str = "shapes"

    def __post_init__(self) -> None:
        for name in ("count", "length"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise InputError(f"{name}={value} gives no frames; use at least 1")
        for name in ("objects", "difficulty"):
            least, largest = getattr(self, name)
            if least > largest:
                raise InputError(
                    f"{name}={(least, largest)} is no range; give the least value first"
                )
        # The generator names what is out of its own range. Both ends must fit.
        for objects, difficulty in zip(self.objects, self.difficulty, strict=True):
            generate_frames(self.seed, [0], self.size, objects, difficulty, self.theme)

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """All videos; every object shows in frame 0."""
        numbers = range(1, self.objects[1] + 1)
        starts = {n: dict.fromkeys(numbers[:n], 0) for n in numbers}
        return tuple(
            Video(f"{video:06d}", self.length, starts[self._objects(video)])
            for video in range(self.count)
        )

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Draws the frames `times` of the video of that index."""
        easiest, hardest = self.difficulty
        clip = generate_frames(
            (self.seed, video),
            times,
            self.size,
            self._objects(video),
            easiest + (hardest - easiest) * (video * _GOLDEN % 1),
            self.theme,
        )
        return Labelled(clip.frames, clip.labels)

    def _objects(self, video: int) -> int:
        least, largest = self.objects
        return least + video % (largest - least + 1)
