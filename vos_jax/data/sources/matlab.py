"""Masks of SBD, which come as MATLAB files of version 5.

Format: MathWorks, "MAT-File Format", level 5. A file is a row of elements, each with
its type and size; a matrix is an element made of elements. Only what leads to one field
is parsed here, for SciPy's reader can end the whole process over a damaged file.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vos_jax.errors import InputError

_VARIABLE, _FIELD = b"GTinst", b"Segmentation"

_HEADER = 128
# The end of the header: version 1.0, then the byte order.
_ORDERS = {b"\0\1IM": "<", b"\1\0MI": ">"}
_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15
_STRUCT = 2


class _Element(NamedTuple):
    kind: int
    data: memoryview


def read_instances(path: Path) -> np.ndarray:
    """Reads the labels `uint8 [H, W]` of an image of SBD: objects from 1, 0 background.

    Raises:
      InputError: The file is missing, damaged, or not one of the folder `inst`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); extract the data set again"
        ) from error
    try:
        labels = _find_labels(content)
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); extract it again") from error
    if labels is None:
        raise InputError(
            f"{path} holds no GTinst.Segmentation; use the files of SBD's folder inst"
        )
    return labels


def _find_labels(content: bytes) -> np.ndarray | None:
    order = _ORDERS.get(content[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("no MATLAB file of version 5")
    for element in _elements(memoryview(content)[_HEADER:], order):
        if element.kind == _COMPRESSED:
            plain = memoryview(zlib.decompress(element.data))
            (element,) = _elements(plain, order)
        if element.kind == _MATRIX:
            flags, _, name, *rest = _elements(element.data, order)
            if bytes(name.data) == _VARIABLE and _class(flags, order) == _STRUCT:
                return _read_field(rest, order)
    return None


def _read_field(rest: list[_Element], order: str) -> np.ndarray | None:
    """Reads the field from what follows the name of a structure."""
    length, names, *values = rest
    (step,) = struct.unpack(f"{order}i", length.data)
    starts = range(0, len(names.data), step)
    fields = [bytes(names.data[i : i + step]).rstrip(b"\0") for i in starts]
    if _FIELD not in fields:
        return None
    if len(values) != len(fields):
        raise ValueError(f"{len(values)} values of {len(fields)} fields")
    _, shape, _, pixels = _elements(values[fields.index(_FIELD)].data, order)
    if pixels.kind != _UINT8:
        raise ValueError(f"pixels of type {pixels.kind}, not of 8 bits")
    height, width = struct.unpack(f"{order}2i", shape.data)
    if height < 1 or width < 1:
        raise ValueError(f"{width}x{height} pixels")
    # Column by column, as MATLAB has everything.
    labels = np.frombuffer(pixels.data, np.uint8).reshape(width, height).T
    return np.ascontiguousarray(labels)


def _class(flags: _Element, order: str) -> int:
    """What a matrix is: a structure, a cell array, numbers of some type."""
    word, _ = struct.unpack(f"{order}2I", flags.data)
    return word & 0xFF


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}2I", data, place)
        place += 8
        if kind >> 16:
            # Up to four bytes lie in the tag, in place of their size.
            size, kind = kind >> 16, kind & 0xFFFF
            yield _Element(kind, data[place - 4 : place - 4 + size])
            continue
        if place + size > len(data):
            raise ValueError(f"{place + size - len(data)} bytes are missing")
        yield _Element(kind, data[place : place + size])
        # Elements begin at multiples of 8, but for those after a compressed one.
        place += size if kind == _COMPRESSED else -(-size // 8) * 8
