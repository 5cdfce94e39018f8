"""What is to be detected in: groups of frames, a video or many still images each."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vos_jax.data.sources.files import read_frame
from vos_jax.errors import InputError
from vos_jax.media.fingerprint import fingerprint_frames
from vos_jax.media.frames import open_frames
from vos_jax.media.listing import IMAGE_SUFFIXES, list_files

SHARD = 1000
"""Still images of one group."""


class Group(NamedTuple):
    """Frames that are read in order.

    Attributes:
      name: Of the file of their results, where each group has its own.
      images: A name for each, `file_name` in the results.
      fingerprint: Says in a few digits what the frames hold.
      frames: Yields those from an index on, uint8 `[H, W, 3]`.
    """

    name: str
    images: tuple[str, ...]
    fingerprint: Callable[[], str]
    frames: Callable[[int], Iterator[np.ndarray]]


def video_group(path: Path) -> Group:
    """A video file or a folder of frames.

    Raises:
      InputError: As `open_frames`.
    """
    source = open_frames(path)
    # A name may have dots of its own; before an ending none of them is taken for one.
    images = tuple(f"{name}.jpg" for name in source.names)
    fingerprint = partial(_fingerprint_video, path, source.names)
    return Group(path.stem, images, fingerprint, source.frames)


def sequence_group(name: str, paths: Sequence[Path]) -> Group:
    """A sequence of a data set: its name, and all frames of its folder in order.

    Nothing is opened before it is asked for.
    """
    folder = paths[0].parent
    return Group(
        name,
        tuple(f"{name}/{path.name}" for path in paths),
        partial(_fingerprint_video, folder, [path.stem for path in paths]),
        lambda start: open_frames(folder).frames(start),
    )


def still_groups(folder: Path, shard: int = SHARD) -> list[Group]:
    """A folder of still images, which may differ in size, `shard` to a group.

    Raises:
      InputError: It holds no images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one of the images")
    paths = list_files(folder, IMAGE_SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no images; name another folder")
    groups = []
    for begin in range(0, len(paths), shard):
        part = paths[begin : begin + shard]
        groups.append(
            Group(
                f"{begin // shard:05d}",
                tuple(path.name for path in part),
                partial(_fingerprint_stills, part),
                partial(_read_stills, part),
            )
        )
    return groups


def _read_stills(paths: Sequence[Path], start: int) -> Iterator[np.ndarray]:
    return map(read_frame, paths[start:])


def _fingerprint_video(path: Path, names: Sequence[str]) -> str:
    return _checksum(fingerprint_frames(path, names).items())


def _fingerprint_stills(paths: Sequence[Path]) -> str:
    # Reading a hundred thousand images to see that they are the same takes too long.
    return _checksum((path.name, path.stat().st_size) for path in paths)


def _checksum(parts: Iterable[object]) -> str:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(repr(part).encode(), checksum)
    return f"{checksum:08x}"
