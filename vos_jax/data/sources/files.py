"""A source whose videos are folders of frames and folders of masks.

Opening lists names and opens no image. Everything that can be wrong with the pixels is
found when they are read.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from os import scandir
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.source import Labelled, Video
from vos_jax.data.sources.labels import load_8_bit
from vos_jax.errors import InputError

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MASKS = frozenset({".png"})


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
    """

    videos: tuple[Video, ...]
    files: tuple[VideoFiles, ...]
    read_mask: Callable[[Path], np.ndarray]

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


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Lists the files of a kind: names by stem, in order of the stems.

    Raises:
      InputError: The folder is missing, has no such file, or two of one stem.
    """
    try:
        with scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if _is_kind(entry.name, suffixes)
            )
    except OSError as error:
        raise _folder_error(folder, error) from error
    if not names:
        raise InputError(f"{folder} holds no {_kinds(suffixes)} file; extract it again")
    files = {name[: name.rindex(".")]: name for name in names}
    if len(files) < len(names):
        twice = next(name for name in names if name not in files.values())
        raise InputError(f"{folder} holds {twice} under a second suffix; remove one")
    return dict(sorted(files.items()))


def list_folders(folder: Path) -> list[str]:
    """Lists the names of the folders in a folder, sorted.

    Raises:
      InputError: The folder is missing or has none.
    """
    try:
        with scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir()
            )
    except OSError as error:
        raise _folder_error(folder, error) from error
    if not names:
        raise InputError(f"{folder} holds no folders; extract the data set again")
    return names


def read_words(path: Path) -> list[list[str]]:
    """Reads the words of each line of a list file that is not empty.

    Raises:
      InputError: The file is missing, no text, or empty; tells which lists there are.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        there = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise InputError(
            f"list {path} cannot be read; splits there: {there or 'none'}"
        ) from error
    words = [line.split() for line in lines if line.strip()]
    if not words:
        raise InputError(f"list {path} is empty; copy it from the data set again")
    return words


def read_names(path: Path) -> list[str]:
    """Reads the names of a list file, one on each line.

    Raises:
      InputError: The file is missing or empty, names one twice or one that is no name.
    """
    return check_names([words[0] for words in read_words(path)], path)


def check_names(names: list[str], source: Path) -> list[str]:
    """Checks that names from a file can be joined to a folder, and are unique.

    Raises:
      InputError: One is not or cannot; names the file.
    """
    for name in names:
        if name in {"", ".", ".."} or "/" in name or "\\" in name:
            raise InputError(f"{source}: {name!r} is no folder name; correct it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source} lists {twice} twice; remove one")
    return names


def read_json(
    path: Path, each_object: Callable[[dict[str, Any]], Any] | None = None
) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
      path: The file.
      each_object: What the parser makes of every object inside, the innermost first.

    Raises:
      InputError: The file is missing, damaged, or holds something else.
    """
    try:
        content = json.loads(path.read_bytes(), object_hook=each_object)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check the root and the split"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; copy it again")
    return content


def check_root(root: str | Path) -> Path:
    """Returns the folder of a data set as a path.

    Raises:
      InputError: There is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"data set folder {root} does not exist; check the path")
    return Path(root)


def _list_video(frame_folder: Path, mask_folder: Path, every_frame: bool) -> VideoFiles:
    frames = list_files(frame_folder, IMAGES)
    masks = list_files(mask_folder, MASKS)
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


def _is_kind(name: str, suffixes: Collection[str]) -> bool:
    # Hidden files are what other systems leave: `._00000.jpg` is no image.
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in suffixes and not name.startswith(".")


def _kinds(suffixes: Collection[str]) -> str:
    return " or ".join(sorted(suffixes))


def _folder_error(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"folder {folder} cannot be listed ({error.strerror}); "
        "check the root and extract the data set again"
    )
