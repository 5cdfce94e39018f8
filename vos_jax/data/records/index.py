"""The list of videos beside the records, so that no record is read to know it.

It lies in the `metadata.json` that TFDS keeps with every data set: written with the
rest of it, or not at all. One column for each field of `Video`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vos_jax.data.source import Video

_COLUMNS = ("name", "length", "starts", "stride")


def to_index(videos: Sequence[Video]) -> dict[str, list[Any]]:
    """Returns the columns of a list of videos, fit for JSON."""
    return {name: [getattr(video, name) for video in videos] for name in _COLUMNS}


def from_index(columns: Mapping[str, Sequence[Any]]) -> tuple[Video, ...]:
    """Returns the videos of columns that JSON has kept.

    Raises:
      AttributeError, KeyError, TypeError, ValueError: They are damaged.
    """
    return tuple(
        # The keys of a JSON object are text.
        Video(
            str(name),
            int(length),
            None if starts is None else {int(k): int(v) for k, v in starts.items()},
            int(stride),
        )
        for name, length, starts, stride in zip(
            *(columns[name] for name in _COLUMNS), strict=True
        )
    )
