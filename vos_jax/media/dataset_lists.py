"""The lists that come with data sets: which videos a split has, and which objects.

Scoring and training read them here, so that both see the same videos. Whether the
files of a video are there is for the readers to find out.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.errors import InputError, warn
from vos_jax.media.listing import list_folders, list_names, sort_names
from vos_jax.media.text import read_text
from vos_jax.types import MAX_OBJECTS

_COPY = "copy it from the data set again"
# A path of a frame, of any system, at the beginning of a line; the folder is the video.
_FRAME = re.compile(
    r".*?(?P<video>[^/]+)/[^/]+\.(?:jpe?g|png|bmp|webp)(?:\s|$)", re.IGNORECASE
)


class ListedObject(NamedTuple):
    """What `meta.json` of YouTube-VOS says of an object.

    Attributes:
      stems: The frames that list it, in order of time, at least one.
      category: None where it has none.
    """

    stems: tuple[str, ...]
    category: str | None


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a list, without blanks around them.

    Empty lines are left out, and comments: lines that begin with `#`.

    Raises:
      InputError: The file is missing, no text, or empty; tells which lists there are.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise InputError(
            f"list {path} cannot be read ({error.strerror}); splits there: "
            f"{_splits(path.parent) or 'none'}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"list {path} is no UTF-8 text; save it as UTF-8") from error
    # Lists that were joined have a byte order mark in their middle, too.
    lines = [line.replace("\ufeff", "").strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"list {path} is empty; {_COPY}")
    return lines


def read_names(path: Path) -> list[str]:
    """Reads the names of a list, the first word of each line.

    Raises:
      InputError: As `read_lines` and `check_names`.
    """
    return check_names([line.split()[0] for line in read_lines(path)], path)


def check_names(names: list[str], source: Path) -> list[str]:
    """Checks that names from a file can be joined to a folder, and are unique.

    Raises:
      InputError: One is not or cannot; names the file.
    """
    for name in names:
        if not _is_file_name(name):
            raise InputError(f"{source}: {name!r} is no folder name; correct it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source} lists {twice} twice; remove one")
    return names


def davis_resolution(root: Path, resolution: str | None) -> str:
    """Chooses the folder below `JPEGImages` and `Annotations` of a DAVIS release.

    By default that is 480p, or the only one there is.

    Raises:
      InputError: There is none, the one asked for is not there, or there are several.
    """
    folder = root / "Annotations"
    found = list_folders(folder)
    if resolution is None and "480p" in found:
        return "480p"
    if resolution is None and len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{folder} holds no folders; extract the data set again")
    if resolution not in found:
        lacking = "" if resolution is None else f"has no folder {resolution} and "
        raise InputError(
            f"{folder} {lacking}holds {found}; name one of them as the resolution"
        )
    return resolution


def davis_videos(root: Path, year: str, split: str, resolution: str) -> list[str]:
    """Reads the names of the videos of a split of DAVIS, in the order of its list.

    A list has on each line the name of a video or, as in the release of 2016, a frame
    and its mask: `/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png`.

    Args:
      root: Holds `ImageSets`.
      year: "2016" or "2017": the folder of the lists. Those of 2016 may also lie in
        folders named after a resolution, where its own release has them.
      split: Name of the list.
      resolution: From `davis_resolution`.

    Raises:
      InputError: The list is missing, empty, or has something else in it.
    """
    places = dict.fromkeys([year, resolution, "480p"]) if year == "2016" else [year]
    files = [root / "ImageSets" / place / f"{split}.txt" for place in places]
    # With none of them there, the first one says so, unless another has its splits.
    found = [file for file in files if file.exists()]
    if not found:
        found = [next((file for file in files if _splits(file.parent)), files[0])]
    taken, *others = found
    names = _videos_of(taken, paths_only=taken.parent.name != year)
    for other in others:
        differing = set(names) ^ set(_videos_of(other, paths_only=False))
        if differing:
            warn(
                f"{taken} is taken, and not {other}, which lists other videos "
                f"({min(differing)} is in one of them); remove the one not meant"
            )
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
        content = json.loads(read_text(path), object_hook=each_object)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check the root and the split"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; {_COPY}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; copy it again")
    return content


def read_meta(path: Path) -> dict[str, dict[int, ListedObject]]:
    """Reads a `meta.json` of YouTube-VOS: the objects of each video by id.

    Returns:
      Videos and ids in ascending order.

    Raises:
      InputError: The file is missing or is none.
    """
    videos = read_json(path).get("videos")
    if not isinstance(videos, dict) or not videos:
        raise InputError(f"{path} lists no videos; {_COPY}")
    names = check_names(sorted(videos), path)
    return {name: _read_objects(path, name, videos[name]) for name in names}


def _read_objects(path: Path, name: str, video: Any) -> dict[int, ListedObject]:
    objects = {}
    try:
        for label, entry in video["objects"].items():
            category = entry.get("category")
            objects[int(label)] = ListedObject(
                tuple(_read_stems(entry["frames"])),
                None if category is None else str(category),
            )
        if not objects or not all(1 <= label <= MAX_OBJECTS for label in objects):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: video {name} needs objects with ids 1 to {MAX_OBJECTS} and "
            f"frames each; {_COPY}"
        ) from error
    return dict(sorted(objects.items()))


def _read_stems(frames: Any) -> list[str]:
    if not isinstance(frames, list) or not frames:
        raise ValueError
    stems = {str(stem) for stem in frames}
    if not all(map(_is_file_name, stems)):
        raise ValueError
    return sort_names(stems)


def _videos_of(path: Path, *, paths_only: bool) -> list[str]:
    """Reads the videos of a list of names or paths, each once."""
    lines = read_lines(path)
    frames = [_FRAME.match(line.replace("\\", "/")) for line in lines]
    if paths_only and None in frames:
        bad = lines[frames.index(None)]
        raise InputError(f"{path}: {bad!r} is no path of a frame; copy the list again")
    if None not in frames:
        lines = list(dict.fromkeys(frame["video"] for frame in frames if frame))
    return check_names(lines, path)


def _splits(folder: Path) -> list[str]:
    """The names of the lists in a folder that need not be there."""
    names = list_names(folder, {".txt"}) if folder.is_dir() else []
    return [name.removesuffix(".txt") for name in names]


def _is_file_name(name: str) -> bool:
    """Whether a name from a list stays within its folder when it becomes a path."""
    return name not in {"", ".", ".."} and not {"/", "\\", "\0"} & set(name)
