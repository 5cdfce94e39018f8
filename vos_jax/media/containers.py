"""Whether a video file is as long as its own container says."""

from pathlib import Path
from typing import BinaryIO

# Some writers of AVI count their own header in the length, some do not.
_SLACK = 16
_SEGMENT = b"\x18\x53\x80\x67"
_BOXES = frozenset(
    b"ftyp styp moov mdat moof mfra sidx free skip wide uuid meta pdin".split()
)
_EBML = b"\x1a\x45\xdf\xa3"


def is_cut_off(path: str | Path) -> bool:
    """Tells whether the end of an AVI, Matroska/WebM or MP4/MOV file is missing.

    Compares the length of the outermost element (RIFF chunk, EBML segment, ISO base
    media box) with that of the file. Unknown containers and lengths count as whole.
    """
    length = Path(path).stat().st_size
    with open(path, "rb") as file:
        return _declared_end(file, length) > length + _SLACK


def _declared_end(file: BinaryIO, length: int) -> int:
    head = file.read(8)
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        # Programs that stream leave one of these in place of the length.
        return 0 if size == 0xFFFFFFFF else 8 + size
    file.seek(0)
    if head[:4] == _EBML:
        return _segment_end(file)
    return _box_end(file, length)


def _segment_end(file: BinaryIO) -> int:
    file.seek(len(_EBML))
    header = _read_vint(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    size = _read_vint(file)
    return 0 if size is None else file.tell() + size


def _read_vint(file: BinaryIO) -> int | None:
    """Reads an EBML length (RFC 8794 section 4); None if it is unknown."""
    first = int.from_bytes(file.read(1), "big")
    extra = 8 - first.bit_length()
    if extra > 7:
        return None
    value = int.from_bytes(bytes([first]) + file.read(extra), "big")
    bits = 7 * (extra + 1)
    value &= (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value


def _box_end(file: BinaryIO, length: int) -> int:
    """Walks the top-level boxes (ISO/IEC 14496-12 section 4.2) to the last end."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        # 0 means "up to the end of the file". Cameras append data that is no box.
        if size < 8 or head[4:8] not in _BOXES:
            return length
        end += size
    return end
