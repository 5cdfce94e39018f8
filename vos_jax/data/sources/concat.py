"""Several sources as one."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from vos_jax.data.source import Labelled, Source, Video
from vos_jax.errors import InputError


class ConcatSource:
    """The videos of several sources, one source after the other.

    To draw from a small source more often, give it under several names.

    Attributes:
      sources: In their order.
      videos: Of all of them.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """Joins the lists.

        Args:
          sources: By the name that becomes the first part of the names of its videos.

        Raises:
          InputError: There is no source.
        """
        if not sources:
            raise InputError("no sources to join; give at least one")
        self.sources = tuple(sources.values())
        self._ends = list(accumulate(len(each.videos) for each in self.sources))
        self.videos: tuple[Video, ...] = tuple(
            video._replace(name=f"{name}/{video.name}")
            for name, source in sources.items()
            for video in source.videos
        )

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads from the source that the video belongs to."""
        which = bisect_right(self._ends, video)
        first = self._ends[which - 1] if which else 0
        return self.sources[which].read(video - first, times)
