"""What the files of a video hold, in a few digits, to notice cheaply that they changed.

Times and paths say little: copies and checkouts change the times of equal files, and
folders are moved. So bytes are compared, all of them as long as that takes no time.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vos_jax.errors import InputError
from vos_jax.media.listing import IMAGE_SUFFIXES, list_files

# Of all files of a video together; more than this many bytes are sampled.
_BUDGET = 64 << 20
_BLOCK = 4096
_FEWEST_BLOCKS = 3
# Where a PNG file says how many bits a channel has.
_PNG_DEPTH = 24


def fingerprint_frames(path: str | Path, names: Sequence[str]) -> dict[str, str]:
    """Fingerprints of the frames of a folder or a video file.

    Up to 64 MiB are read whole. Of more, each file gives blocks of 4 KiB from its
    first to its last one, evenly spread; a change that leaves the file's size and all
    these blocks as they were is not noticed.

    Args:
      path: What `open_frames` opened.
      names: Of the frames, as the source has them.

    Returns:
      The fingerprint of each name, in that order: of its own file in a folder; of all
      there is, the same for all, in a video file and in a folder with frames of 16
      bits, as what is shown of one of these may depend on the others.

    Raises:
      InputError: A file cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return dict.fromkeys(names, _fingerprint([path], _budget([path])))
    wanted = set(names)
    files: dict[str, list[Path]] = {}
    for file in list_files(path, IMAGE_SUFFIXES):
        if file.stem in wanted:
            files.setdefault(file.stem, []).append(file)
    together = [file for name in names for file in files[name]]
    share = _budget(together)
    if any(map(_is_deep, together)):
        return dict.fromkeys(names, _fingerprint(together, share))
    return {name: _fingerprint(files[name], share) for name in names}


def _budget(files: Sequence[Path]) -> int | None:
    """Bytes to read of each file; None for all of them."""
    if sum(_size(file) for file in files) <= _BUDGET:
        return None
    return max(_BUDGET // len(files), _FEWEST_BLOCKS * _BLOCK)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from error


def _is_deep(path: Path) -> bool:
    """Whether a file is a PNG of 16 bits."""
    if path.suffix.lower() != ".png":
        return False
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_PNG_DEPTH + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    return head[_PNG_DEPTH:] == b"\x10"


def _fingerprint(files: Sequence[Path], share: int | None) -> str:
    checksum = 0
    for path in files:
        try:
            with path.open("rb", buffering=0) as file:
                for block in _blocks(file, share):
                    checksum = zlib.crc32(block, checksum)
        except OSError as error:
            raise _unreadable(path, error) from error
    return f"{checksum:08x}"


def _blocks(file: BinaryIO, share: int | None) -> Iterator[bytes]:
    """The size of a file as text, then its bytes or samples of them."""
    size = os.fstat(file.fileno()).st_size
    yield str(size).encode()
    if share is None or size <= share:
        while block := file.read(1 << 20):
            yield block
        return
    count = share // _BLOCK
    for number in range(count):
        file.seek((size - _BLOCK) * number // (count - 1))
        yield file.read(_BLOCK)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be read ({error.strerror}); check that it is there and readable"
    )
