"""What many videos are to whoever spreads them, and what becomes of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from vos_jax.errors import InputError
from vos_jax.inference.announce import plural
from vos_jax.inference.file_run import Beside, Report, count_objects


class Facts(NamedTuple):
    """What there is to know of a video before it is segmented.

    Attributes:
      size: Height and width of its frames.
      frames: Number of frames to segment.
      reserve: Number of frames to reserve memory for.
      objects: Number of objects.
      corrections: At most so many frames bring masks of objects that are there.
    """

    size: tuple[int, int]
    frames: int
    reserve: int
    objects: int
    corrections: int


def facts_of(
    size: tuple[int, int],
    given: Mapping[int, np.ndarray],
    frames: int,
    *,
    reserve: int | None = None,
) -> Facts:
    """The facts of a video.

    Args:
      size: Height and width of its frames.
      given: Label maps by frame index.
      frames: Number of frames to segment.
      reserve: Number of frames to reserve memory for; by default `frames`.
    """
    return Facts(size, frames, reserve or frames, count_objects(given), len(given) - 1)


class Video(NamedTuple):
    """One video to segment.

    Attributes:
      name: Unique among the videos.
      look: Finds its facts.
      run: Segments it, given what it shares with others, None for one by itself.
    """

    name: str
    look: Callable[[], Facts]
    run: Callable[[Beside | None], Report]


class Known(NamedTuple):
    """A video and its facts."""

    video: Video
    facts: Facts


def count_frames(videos: Iterable[Known]) -> int:
    """Frames to segment of all of them."""
    return sum(known.facts.frames for known in videos)


class Spread(NamedTuple):
    """How videos are spread.

    Attributes:
      devices: To work on, with a loop for each; none stands for the default device.
      videos: Of one working size, in one program, on each device.
      keep_going: Do the others when one cannot be done.
    """

    devices: tuple[jax.Device, ...] = ()
    videos: int = 1
    keep_going: bool = False


ONE_BY_ONE = Spread()
"""One after the other, on the default device."""


class Outcome(NamedTuple):
    """What became of a video: its report, or why there is none."""

    name: str
    report: Report | None
    error: InputError | None


def local_devices(count: int | None = None) -> tuple[jax.Device, ...]:
    """The first devices of this machine; all of them by default.

    Raises:
      InputError: There are not so many.
    """
    devices = jax.local_devices()
    if count is None:
        return tuple(devices)
    if not 1 <= count <= len(devices):
        kind = devices[0].platform
        raise InputError(
            f"--devices {count}: this process has {plural(len(devices), 'device')}"
            f" ({kind}); use 1 to {len(devices)}"
        )
    return tuple(devices[:count])


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Ends a run that kept going.

    Raises:
      InputError: Some videos are not done.
    """
    failed = [outcome.name for outcome in outcomes if outcome.error is not None]
    if failed:
        raise InputError(
            f"{len(failed)} of {plural(len(outcomes), 'video')} could not be done, for"
            f" the reasons above: {', '.join(failed)}; mend them and run the same"
            " command again, which goes on with the rest"
        )
