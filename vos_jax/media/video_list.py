"""Lists of videos with their masks: a text file, or a folder of videos."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vos_jax.errors import InputError
from vos_jax.media.frames import video_name
from vos_jax.media.given_masks import MASK_SUFFIXES
from vos_jax.media.listing import (
    IMAGE_SUFFIXES,
    list_files,
    list_folders,
    list_names,
    sort_names,
)
from vos_jax.media.text import read_text
from vos_jax.media.video import VIDEO_SUFFIXES

# Of animations only the kind that is never a single frame of a folder.
_LISTED = VIDEO_SUFFIXES | {".gif", ".apng"}
_COLUMNS = ("video", "mask", "name")
_FORMAT = (
    "a line is VIDEO, or VIDEO<tab>MASK, or VIDEO<tab>MASK<tab>NAME, with paths beside"
    " the list"
)


class ListedVideo(NamedTuple):
    """A video of a list.

    Attributes:
      name: What its results are called.
      video: Video file or folder of frames.
      mask: Label file of the first frame, or a folder of label files.
    """

    name: str
    video: Path
    mask: Path


def read_video_list(path: Path, masks: Path | None = None) -> list[ListedVideo]:
    """Reads a list of videos.

    Args:
      path: A text file with a line for each video: its path, and where columns follow
        behind tabs, its mask and a name of its own; or a folder of videos, of folders
        of frames, or of both. Paths in a file are relative to it.
      masks: Folder of the masks of those that name none: `NAME.png` or a folder `NAME`.

    Returns:
      The videos in the order of the file, or in the natural one of a folder.

    Raises:
      InputError: There are none, two have one name, one does not exist or has no mask,
        or `masks` holds some of no video.
    """
    if not path.exists():
        raise InputError(f"list {path} does not exist; check the path")
    if masks is not None and not masks.is_dir():
        raise InputError(f"--masks {masks}: no such folder; check the path")
    listed = _of_folder(path) if path.is_dir() else _of_file(path)
    _check_names(path, [name for name, _, _ in listed])
    there = _masks_in(masks)
    found = [
        ListedVideo(name, video, mask or _find_mask(masks, there, name, video))
        for name, video, mask in listed
    ]
    _check_used(masks, there, found)
    return found


def _of_folder(folder: Path) -> list[tuple[str, Path, Path | None]]:
    names = [*list_names(folder, _LISTED), *list_folders(folder)]
    if not names:
        images = list_names(folder, IMAGE_SUFFIXES)
        hint = (
            "frames of one video, which `vos-jax segment` takes"
            if images
            else "no video and no folder of frames"
        )
        raise InputError(f"list {folder}: holds {hint}; name a folder of several")
    paths = [folder / name for name in sort_names(names)]
    return [(video_name(path), path, None) for path in paths]


def _of_file(path: Path) -> list[tuple[str, Path, Path | None]]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"list {path} cannot be read: {error}; {_FORMAT}") from error
    listed = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        columns = [column.strip() for column in line.split("\t")]
        where = f"list {path}, line {number}"
        if not columns[0] or len(columns) > len(_COLUMNS):
            raise InputError(f"{where}: {len(columns)} columns; {_FORMAT}")
        video, mask, name = (*columns, "", "")[: len(_COLUMNS)]
        at = path.parent / video
        if not at.exists():
            raise InputError(f"{where}: {video} does not exist; {_FORMAT}")
        if mask and not (path.parent / mask).exists():
            raise InputError(f"{where}: mask {mask} does not exist; {_FORMAT}")
        if Path(name).name != name or name.startswith("."):
            raise InputError(
                f"{where}: name {name!r} is no name of a folder; use letters and digits"
            )
        given = path.parent / mask if mask else None
        listed.append((name or video_name(at), at, given))
    if not listed:
        raise InputError(f"list {path}: names no video; {_FORMAT}")
    return listed


def _check_names(path: Path, names: list[str]) -> None:
    # Some file systems take names for the same that differ in case.
    seen: dict[str, str] = {}
    for name in names:
        if (first := seen.get(name.lower())) is not None:
            raise InputError(
                f"list {path}: the results of two videos would be called {first}; give"
                " one a name of its own in a third column of a list file"
            )
        seen[name.lower()] = name


def _find_mask(
    masks: Path | None, there: Mapping[str, list[Path]], name: str, video: Path
) -> Path:
    if masks is None:
        raise InputError(
            f"{video}: no mask is named; write it behind a tab in a list file, or name"
            " the folder of all masks by --masks"
        )
    found = there.get(name, [])
    if len(found) != 1:
        said = "no mask" if not found else f"{len(found)} masks"
        raise InputError(
            f"{video}: {said} in {masks} for it; there must be one {name}.png, or a"
            f" folder {name} of several"
        )
    return found[0]


def _masks_in(masks: Path | None) -> dict[str, list[Path]]:
    """What there is by the name of the video that it would be of."""
    there: dict[str, list[Path]] = {}
    if masks is not None:
        for path in list_files(masks, MASK_SUFFIXES):
            there.setdefault(path.stem, []).append(path)
        for name in list_folders(masks):
            there.setdefault(name, []).append(masks / name)
    return there


def _check_used(
    masks: Path | None, there: Mapping[str, list[Path]], videos: list[ListedVideo]
) -> None:
    names = {video.name for video in videos}
    unused = [path.name for name in there if name not in names for path in there[name]]
    if unused:
        more = "" if len(unused) == 1 else f" and {len(unused) - 1} more"
        raise InputError(
            f"--masks {masks}: {unused[0]}{more} belong to no video of the list; call"
            " masks like their videos, or move them away"
        )
