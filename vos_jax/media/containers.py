"""Whether a video or an animation is as long as its own container says."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Some writers of AVI count their own header in the length, some do not.
_SLACK = 16
_SEGMENT = b"\x18\x53\x80\x67"
_BOXES = frozenset(
    b"ftyp styp moov mdat moof mfra sidx free skip wide uuid meta pdin".split()
)
_EBML = b"\x1a\x45\xdf\xa3"
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF = (b"GIF87a", b"GIF89a")


def is_cut_off(path: str | Path) -> bool:
    """Tells whether the end of a video file or of an animated image is missing.

    Compares the length of the outermost element (RIFF chunk of AVI and WebP, EBML
    segment of Matroska and WebM, ISO base media box of MP4 and MOV, last block of GIF
    and PNG) with that of the file. Unknown containers and lengths count as whole.
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
    if head[:6] in _GIF:
        return _gif_end(file, length)
    if head == _PNG:
        return _png_end(file, length)
    return _box_end(file, length)


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Walks the chunks of a PNG (ISO/IEC 15948 section 5.3) by their headers.

    Yields:
      Name and length of the data, which can be read from the file at that moment. The
      walk ends with the file, whole or not.
    """
    end = len(_PNG)
    while True:
        file.seek(end)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        end += 12 + length
        yield head[4:], length


def _png_end(file: BinaryIO, length: int) -> int:
    is_whole = any(name == b"IEND" for name, _ in png_chunks(file))
    return length if is_whole else _beyond(length)


def _gif_end(file: BinaryIO, length: int) -> int:
    """Walks the blocks of a GIF (version 89a, sections 15 to 27) to its trailer."""
    file.seek(10)
    file.seek(2 + _colours_length(file.read(1)), 1)
    while (kind := file.read(1)) != b";":
        if kind == b",":
            file.seek(8, 1)
            file.seek(_colours_length(file.read(1)) + 1, 1)
        elif kind == b"!":
            file.seek(1, 1)
        elif kind:
            return length
        while (size := file.read(1)) != b"\0":
            if not size:
                return _beyond(length)
            file.seek(size[0], 1)
    return file.tell()


def _colours_length(flags: bytes) -> int:
    """Returns the bytes of the table of colours that a GIF block with `flags` has."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _beyond(length: int) -> int:
    return length + _SLACK + 1


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
