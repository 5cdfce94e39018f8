"""Whether the files of a folder still are what was written.

TensorStore notices that a file is too short or cannot be decompressed. A flipped bit,
or a block of the disk that came back empty, it takes for other weights.
"""

import json
import zlib
from pathlib import Path

from vos_jax.media.atomic import atomic_path
from vos_jax.media.text import read_text

_SUMS = "checksums.json"
_PIECE = 1 << 24


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files in a folder beside them.

    Raises:
      InputError: The file cannot be written.
      OSError: A file cannot be read.
    """
    sums = {name: _checksum(folder / name) for name in _names(folder)}
    with atomic_path(folder / _SUMS) as temporary:
        temporary.write_text(json.dumps(sums))


def changed_file(folder: Path) -> str | None:
    """The first file that is not what `write_checksums` has seen, or is gone.

    Returns:
      Its path in the folder; None if there is none, or no checksums were written.

    Raises:
      OSError: A file cannot be read.
      ValueError: The checksums cannot.
    """
    if not (folder / _SUMS).exists():
        return None
    for name, expected in json.loads(read_text(folder / _SUMS)).items():
        file = folder / name
        if not file.is_file() or _checksum(file) != expected:
            return str(name)
    return None


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
