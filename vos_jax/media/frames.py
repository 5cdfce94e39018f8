"""Frames of a folder or a video file, forwards and backwards, a few at a time."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.errors import InputError, warn
from vos_jax.media.animation import ANIMATION_SUFFIXES, AnimationFrames
from vos_jax.media.images import (
    Header,
    is_seen_through,
    load_deep,
    load_image,
    read_header,
)
from vos_jax.media.listing import IMAGE_SUFFIXES, list_files
from vos_jax.media.source import FrameSource
from vos_jax.media.tones import count_values, high_byte_table, tone_table
from vos_jax.media.video import VIDEO_SUFFIXES, VideoFrames


def open_frames(path: str | Path, *, allow_damaged: bool = False) -> FrameSource:
    """Opens a folder of images, a video file or an animated GIF, WebP or PNG.

    Args:
      path: What to open.
      allow_damaged: Go on past frames of a video that are damaged, with a warning.

    Raises:
      InputError: The path is none of these, holds no frames, frames of different sizes,
        or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return FolderFrames(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VideoFrames(path, allow_damaged=allow_damaged)
    if suffix in ANIMATION_SUFFIXES and read_header(path).is_animated:
        return AnimationFrames(path)
    if suffix in IMAGE_SUFFIXES | ANIMATION_SUFFIXES:
        raise InputError(f"{path} is one image; give the folder of the frames")
    known = ", ".join(sorted(VIDEO_SUFFIXES | ANIMATION_SUFFIXES))
    raise InputError(f"{path} is no folder and no video file ({known}); convert it")


def video_name(path: str | Path) -> str:
    """What a folder of frames is called, or a video without its extension."""
    at = Path(path).resolve()
    return at.name if at.is_dir() else at.stem


class FolderFrames(FrameSource):
    """The images of one folder in natural order (`frame2` before `frame10`).

    Frames of 16 bits are shown by one table, made from all of them when the first frame
    is read, which decodes them once more.
    """

    def __init__(self, folder: str | Path) -> None:
        """Lists the images and reads their headers.

        Raises:
          InputError: No images, two with one stem, different sizes, a damaged header,
            an animation among them, or pixels that are neither of 8 nor of 16 bits.
        """
        self.folder = Path(folder)
        self._headers = _read_headers(self.folder)
        self._paths = list(self._headers)
        self.names = [path.stem for path in self._paths]
        self.size = _common_size(self._headers)
        self.fps = None
        self._told_of_transparency = False

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it, decoded one by one."""
        return (self._read(path) for path in self._paths[start:])

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it."""
        stop = len(self) if start is None else start + 1
        return (self._read(path) for path in self._paths[:stop][::-1])

    def _read(self, path: Path) -> np.ndarray:
        if self._headers[path].is_deep:
            frame = self._tones[load_deep(path)]
            if frame.ndim == 2:
                frame = np.repeat(frame[..., None], 3, axis=2)
        else:
            frame = self._to_rgb(path, load_image(path))
        if frame.shape[:2] != self.size:
            raise InputError(f"{path} changed its size while it was read; run again")
        return frame

    @cached_property
    def _tones(self) -> np.ndarray:
        """What is shown for each 16-bit value."""
        deep = [path for path in self._paths if self._headers[path].is_deep]
        table = tone_table(count_values(_readable(deep)), self.folder)
        if table is None:
            return high_byte_table()
        if len(deep) < len(self):
            shallow = next(p for p in self._paths if not self._headers[p].is_deep)
            raise InputError(
                f"{self.folder} holds frames of 16 bits ({deep[0].name}) that use a "
                f"small part of their range, and frames of 8 bits ({shallow.name}); "
                "convert all of them to 8 bits"
            )
        return table

    def _to_rgb(self, path: Path, image: Image.Image) -> np.ndarray:
        if not self._told_of_transparency and is_seen_through(image):
            self._told_of_transparency = True
            warn(
                f"{path} has transparent pixels; the colours stored in them are used; "
                "lay the frames on a background if others are meant"
            )
        try:
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
        except ValueError as error:
            raise InputError(
                f"{path} has pixels of the kind {image.mode}; convert it to RGB"
            ) from error


def _readable(paths: list[Path]) -> Iterator[np.ndarray]:
    """Decodes frames; a damaged one is refused when its turn comes."""
    for path in paths:
        try:
            yield load_deep(path)
        except InputError:
            continue


def _read_headers(folder: Path) -> dict[Path, Header]:
    """Reads the header of each frame, in the order of the frames."""
    paths = list_files(folder, IMAGE_SUFFIXES)
    if not paths:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{folder} holds no images ({known}); name another folder")
    headers = {path: read_header(path) for path in paths}
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.get(path.stem)
        by_stem[path.stem] = path if other is None else _the_frame(other, path, headers)
    frames = {path: headers[path] for path in by_stem.values()}
    for path, header in frames.items():
        _check_header(path, header)
    return frames


def _the_frame(a: Path, b: Path, headers: dict[Path, Header]) -> Path:
    """Of two files of one stem, takes the photograph and leaves the label map."""
    modes = headers[a].mode, headers[b].mode
    if modes.count("P") != 1:
        raise InputError(
            f"{a.parent} holds both {a.name} and {b.name}, whose masks would have one "
            "name; keep one of them"
        )
    return b if modes[0] == "P" else a


def _check_header(path: Path, header: Header) -> None:
    if header.is_animated:
        raise InputError(
            f"{path} is an animation among the frames of a folder; give it by itself "
            "as the video, or export its frames"
        )
    if header.mode.startswith("F"):
        raise InputError(f"{path} has pixels of floats; convert it to 8 or 16 bits")


def _common_size(headers: dict[Path, Header]) -> tuple[int, int]:
    size = Counter(header.size for header in headers.values()).most_common(1)[0][0]
    for path, header in headers.items():
        if header.size != size:
            height, width = header.size
            raise InputError(
                f"{path} is {width}x{height} but most frames of the folder are "
                f"{size[1]}x{size[0]} (width x height); remove or rescale it"
            )
    return size
