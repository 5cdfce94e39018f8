"""Frames of an animated GIF, WebP or PNG, as they are shown."""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.errors import InputError, warn
from vos_jax.media.containers import is_cut_off
from vos_jax.media.images import is_seen_through, open_image
from vos_jax.media.source import FrameSource, in_reverse

ANIMATION_SUFFIXES = frozenset({".gif", ".webp", ".png", ".apng"})
"""Of images that may hold several frames."""


class AnimationFrames(FrameSource):
    """The composed frames of an animation; how often it is repeated does not matter.

    Every frame needs those before it: late starts and reading backwards are slow.
    Transparent pixels are black.
    """

    def __init__(self, path: str | Path) -> None:
        """Decodes all frames once, to know how long each is shown.

        Raises:
          InputError: The file is no image, damaged, or cut off.
        """
        self.path = Path(path)
        if is_cut_off(self.path):
            raise InputError(f"{self.path} is cut off; copy or download it again")
        with open_image(self.path) as (image, orientation):
            self.size = orientation.size(image.height, image.width)
            # A PNG may have a picture beside the animation, for programs without it.
            self._first = int(getattr(image, "default_image", False))
            self._count = image.n_frames - self._first  # type: ignore[attr-defined]
            durations, is_opaque = self._scan(image)
            unit = 10 if image.format == "GIF" else 1
        self.fps = _rate(durations, unit)
        self.names = [f"{i:05d}" for i in range(self._count)]
        if not is_opaque:
            warn(
                f"{self.path} has transparent pixels; they are taken as black; lay its "
                "frames on a background if another colour is meant"
            )

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it."""
        return self._decode(start, self._count)

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it.

        Decodes the animation anew for every 32 frames.
        """
        stop = self._count if start is None else start + 1
        return in_reverse(self._decode, stop)

    def _decode(self, start: int, stop: int) -> Generator[np.ndarray, None, None]:
        with open_image(self.path) as (image, orientation):
            for i in range(start, stop):
                image.seek(i + self._first)
                yield orientation.apply(_over_black(image))

    def _scan(self, image: Image.Image) -> tuple[list[float], bool]:
        """Returns the milliseconds of each frame, and whether none is transparent."""
        durations, is_opaque = [], True
        for i in range(self._count):
            image.seek(i + self._first)
            image.load()
            durations.append(float(image.info.get("duration", 0)))
            is_opaque = is_opaque and not is_seen_through(image)
        return durations, is_opaque


def _rate(durations: list[float], unit: int) -> float | None:
    """Frames per second; None unless all last as long, up to the unit of the file."""
    shortest, longest = min(durations), max(durations)
    if shortest <= 0 or longest - shortest > unit:
        return None
    return 1000 * len(durations) / sum(durations)


def _over_black(image: Image.Image) -> np.ndarray:
    rgba = np.asarray(image.convert("RGBA"))
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)
