"""A source whose videos are folders of frames and folders of masks.

Opening lists names and opens no image. Everything that can be wrong with the pixels is
found when they are read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from vos_jax.data.source import FrameName, Labelled, Video
from vos_jax.data.sources.labels import load_8_bit
from vos_jax.errors import InputError
from vos_jax.media.listing import IMAGE_SUFFIXES, LABEL_SUFFIXES, files_by_stem


class VideoFiles(NamedTuple):
    """The files of a video: `frames[t]` is labelled by `masks[t]`.

    Attributes:
      frame_folder: Where the frames are.
      mask_folder: Where the masks are.
      frames: Their file names, in order of time.
      masks: As many.
    """

    frame_folder: Path
    mask_folder: Path
    frames: tuple[str, ...]
    masks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """Videos, or still images as videos of one frame, in image files.

    Attributes:
      videos: As listed.
      files: Those of each video.
      read_mask: Reads a mask file as labels `uint8 [H, W]`; see `labels`.
      still: Whether they are still images, whose names are those of their videos.
    """

    videos: tuple[Video, ...]
    files: tuple[VideoFiles, ...]
    read_mask: Callable[[Path], np.ndarray]
    still: bool = False

    def frame_name(self, video: int, time: int) -> FrameName:
        """Names the labelled frame `time` of the video of that index, as its file."""
        name = self.videos[video].name
        stem = Path(self.files[video].frames[time]).stem
        if not self.still:
            return FrameName(name, stem)
        # Of the pair's name the folders: the file may have an ending of its own.
        return FrameName(None, str(PurePosixPath(name).with_name(stem)))

    def read(self, video: int, times: Sequence[int]) -> Labelled:
        """Reads the labelled frames `times` of the video of that index.

        Raises:
          InputError: A file is missing or damaged, a mask is not as large as its frame,
            or frames differ in size.
        """
        files = self.files[video]
        return read_pairs(
            [
                (
                    files.frame_folder / files.frames[time],
                    files.mask_folder / files.masks[time],
                )
                for time in times
            ],
            self.read_mask,
        )


def read_pairs(
    paths: Sequence[tuple[Path, Path]], read_mask: Callable[[Path], np.ndarray]
) -> Labelled:
    """Reads frames and their masks, at least one.

    Raises:
      InputError: A file is missing or damaged, a mask is not as large as its frame, or
        frames differ in size.
    """
    frames: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for path, mask_path in paths:
        frame, mask = read_frame(path), read_mask(mask_path)
        if mask.shape != frame.shape[:2]:
            raise InputError(
                f"{mask_path} is {size_text(mask)} but {path} is {size_text(frame)}; "
                "a mask must be as large as its frame"
            )
        if frames and frame.shape != frames[0].shape:
            raise InputError(
                f"{path} is {size_text(frame)} but {paths[0][0]} is "
                f"{size_text(frames[0])}; scale the frames of a video to one size"
            )
        frames.append(frame)
        labels.append(mask)
    return Labelled(np.stack(frames), np.stack(labels))


def read_frame(path: Path) -> np.ndarray:
    """Decodes an image, `uint8 [H, W, 3]`, RGB, upright.

    Raises:
      InputError: The file is missing, damaged, or has more than 8 bits a channel.
    """
    return np.asarray(load_8_bit(path).convert("RGB"))


def size_text(image: np.ndarray) -> str:
    """Width x height, for messages."""
    return f"{image.shape[1]}x{image.shape[0]}"


def list_videos(
    names: Iterable[str],
    frame_root: Path,
    mask_root: Path,
    *,
    every_frame: bool,
) -> tuple[VideoFiles, ...]:
    """Lists videos that have a folder of their name below either root.

    Args:
      names: Of the videos.
      frame_root: Holds the folders of frames.
      mask_root: Holds the folders of masks.
      every_frame: Whether all frames must have a mask; if not, those without are left
        out.

    Raises:
      InputError: A folder is missing or empty, or a mask or frame lacks its partner.
    """
    # Most videos have the same file names; sharing them keeps 30000 videos small.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    listed = []
    for name in names:
        files = _list_video(frame_root / name, mask_root / name, every_frame)
        frames = shared.setdefault(files.frames, files.frames)
        masks = shared.setdefault(files.masks, files.masks)
        listed.append(files._replace(frames=frames, masks=masks))
    return tuple(listed)


def check_root(root: str | Path) -> Path:
    """Returns the folder of a data set as a path.

    Raises:
      InputError: There is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"data set folder {root} does not exist; check the path")
    return Path(root)


def _list_video(frame_folder: Path, mask_folder: Path, every_frame: bool) -> VideoFiles:
    frames = files_by_stem(frame_folder, IMAGE_SUFFIXES)
    masks = files_by_stem(mask_folder, LABEL_SUFFIXES)
    if lonely := [stem for stem in masks if stem not in frames]:
        raise InputError(
            f"{frame_folder} has no frame {lonely[0]} for "
            f"{mask_folder / masks[lonely[0]]}; extract the data set again"
        )
    if every_frame and len(masks) < len(frames):
        stem = next(stem for stem in frames if stem not in masks)
        raise InputError(
            f"mask {mask_folder / stem}.png of {frame_folder / frames[stem]} is "
            "missing; training needs one for every frame"
        )
    labelled = tuple(frames[stem] for stem in masks)
    return VideoFiles(frame_folder, mask_folder, labelled, tuple(masks.values()))
