"""Frames of a folder or a video file, forwards and backwards, a few at a time."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media.images import load_image, read_mode, read_size
from vos_jax.media.video import VIDEO_SUFFIXES, VideoFrames

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class FrameSource(Protocol):
    """Frames `uint8 [H, W, 3]`, RGB, upright; every iteration starts anew."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame."""
        ...

    @property
    def names(self) -> list[str]:
        """One name for each frame: file stems of a folder, `%05d` of a video."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames per second; None for a folder or where the video does not say."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it."""
        ...

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it."""
        ...

    def __reversed__(self) -> Iterator[np.ndarray]: ...


def open_frames(path: str | Path) -> FrameSource:
    """Opens a folder of images or a video file.

    Raises:
      InputError: The path is neither, holds no frames, frames of different sizes, or
        cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return FolderFrames(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return VideoFrames(path)
    if suffix in IMAGE_SUFFIXES:
        raise InputError(f"{path} is one image; give the folder of the frames")
    known = ", ".join(sorted(VIDEO_SUFFIXES))
    raise InputError(f"{path} is no folder and no video file ({known}); convert it")


class FolderFrames:
    """The images of one folder in natural order (`frame2` before `frame10`)."""

    def __init__(self, folder: str | Path) -> None:
        """Lists the images and reads their headers.

        Raises:
          InputError: No images, two with one stem, different sizes, a damaged header.
        """
        self._paths = _list_images(Path(folder))
        self.names = [path.stem for path in self._paths]
        self.size = _common_size(self._paths)
        self.fps: float | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def __reversed__(self) -> Iterator[np.ndarray]:
        return self.reversed()

    def frames(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yields frame `start` and those after it, decoded one by one."""
        return (self._read(path) for path in self._paths[start:])

    def reversed(self, start: int | None = None) -> Iterator[np.ndarray]:
        """Yields frame `start` (the last one by default) and those before it."""
        stop = len(self) if start is None else start + 1
        return (self._read(path) for path in self._paths[:stop][::-1])

    def _read(self, path: Path) -> np.ndarray:
        frame = _to_rgb(load_image(path))
        if frame.shape[:2] != self.size:
            raise InputError(f"{path} changed its size while it was read; run again")
        return frame


def _list_images(folder: Path) -> list[Path]:
    try:
        files = list(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder} cannot be listed ({error.strerror}); name a readable folder"
        ) from error
    paths = [
        path
        for path in files
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{folder} holds no images ({known}); name another folder")
    paths.sort(key=lambda path: (_natural(path.stem), path.name))
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.get(path.stem)
        by_stem[path.stem] = path if other is None else _the_frame(other, path)
    return list(by_stem.values())


def _the_frame(a: Path, b: Path) -> Path:
    """Of two files of one stem, takes the photograph and leaves the label map."""
    modes = read_mode(a), read_mode(b)
    if modes.count("P") != 1:
        raise InputError(
            f"{a.parent} holds both {a.name} and {b.name}, whose masks would have one "
            "name; keep one of them"
        )
    return b if modes[0] == "P" else a


def _natural(text: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _common_size(paths: list[Path]) -> tuple[int, int]:
    sizes = [read_size(path) for path in paths]
    size = Counter(sizes).most_common(1)[0][0]
    for path, other in zip(paths, sizes, strict=True):
        if other != size:
            raise InputError(
                f"{path} is {other[1]}x{other[0]} but most frames of the folder are "
                f"{size[1]}x{size[0]} (width x height); remove or rescale it"
            )
    return size


def _to_rgb(image: Image.Image) -> np.ndarray:
    # Pillow clips 16-bit grey when it converts, so the high byte is taken here.
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
