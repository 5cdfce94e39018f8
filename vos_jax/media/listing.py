"""The files of a folder: which ones count, and in which order.

Every reader of the package, of frames, masks, results and training data, lists its
folders and orders its names here, so that a video has one order everywhere.
"""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from vos_jax.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Of files that are frames."""

LABEL_SUFFIXES = frozenset({".png"})
"""Of files that are label maps."""

# What systems leave among the files of people, in lower case. Companions such as
# `._00000.png` and this package's own files begin with a dot.
_LEFTOVERS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"}
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of that name is a system's own and nobody's data."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Orders names by the numbers in them: `frame2` before `frame10`.

    Names that differ in leading zeros alone are ordered as text, so that the order of
    different names never depends on how they came.
    """
    parts = re.split(r"([0-9]+)", name)
    numbers = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return numbers, name


def sort_names(names: Iterable[str]) -> list[str]:
    """Sorts names by `natural_key`."""
    names = list(names)
    return sorted(names) if _are_plain(names) else sorted(names, key=natural_key)


def list_names(folder: str | Path, suffixes: Collection[str]) -> list[str]:
    """Lists the files of some kinds in natural order, without what systems leave.

    Args:
      folder: Whose files to list; folders inside are not entered.
      suffixes: In lower case, with the dot; case does not matter in the files' names.

    Returns:
      File names in the natural order of their stems, and of the suffixes where stems
      agree.

    Raises:
      InputError: The folder cannot be listed.
    """
    parts = [entry.name.rpartition(".") for entry in _entries(folder)]
    parts = [each for each in parts if each[1] + each[2].lower() in suffixes]
    if _are_plain([stem for stem, _, _ in parts]):
        parts.sort()
    else:
        parts.sort(key=lambda each: (natural_key(each[0]), each[2]))
    return ["".join(each) for each in parts]


def list_files(folder: str | Path, suffixes: Collection[str]) -> list[Path]:
    """`list_names`, as paths."""
    return [Path(folder) / name for name in list_names(folder, suffixes)]


def files_by_stem(folder: str | Path, suffixes: Collection[str]) -> dict[str, str]:
    """`list_names` by stem, for files that are told apart by their stems.

    Raises:
      InputError: The folder cannot be listed, has no such file, or two of one stem.
    """
    names = list_names(folder, suffixes)
    if not names:
        kinds = " or ".join(sorted(suffixes))
        raise InputError(f"{folder} holds no {kinds} file; extract it again")
    files = {name[: name.rindex(".")]: name for name in names}
    if len(files) < len(names):
        twice = next(name for name in names if name not in files.values())
        raise InputError(f"{folder} holds {twice} under a second suffix; remove one")
    return files


def list_folders(folder: str | Path) -> list[str]:
    """Lists the names of the folders in a folder, sorted as text.

    Raises:
      InputError: The folder cannot be listed.
    """
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _are_plain(stems: list[str]) -> bool:
    """Whether stems are numbers of one width, which compare as text, and faster.

    Most folders of data sets of millions of files are like this.
    """
    digits = "".join(stems)
    return len(set(map(len, stems))) == 1 and digits.isascii() and digits.isdecimal()


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not is_leftover(entry.name)]
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be listed ({error.strerror}); name a readable"
            " folder"
        ) from error
