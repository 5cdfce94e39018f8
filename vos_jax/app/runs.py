"""Label maps as runs of equal labels: what travels between the page and the server.

A run is its label, one byte, and its length, an unsigned LEB128 number; runs go row by
row over all pixels. A mask of full HD is a few kilobytes.
"""

import numpy as np

from vos_jax.errors import InputError

# Bytes of a length: 2^28 pixels are more than any frame has.
_LONGEST = 4


def encode(labels: np.ndarray) -> bytes:
    """Label map `[H, W]`, uint8, as runs."""
    flat = labels.reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=flat.size)
    # Seven bits a byte, all but the last with the eighth one set.
    shifted = lengths[:, None] >> (7 * np.arange(_LONGEST))
    used = np.concatenate([np.ones_like(shifted[:, :1], bool), shifted[:, 1:] > 0], 1)
    more = np.concatenate([shifted[:, 1:] > 0, np.zeros_like(used[:, :1])], 1)
    digits = (shifted & 0x7F) | np.where(more, 0x80, 0)
    columns = np.concatenate([flat[starts, None], digits], 1).astype(np.uint8)
    is_there = np.concatenate([np.ones_like(used[:, :1]), used], 1)
    return columns[is_there].tobytes()


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """The label map `[H, W]`, uint8, of runs.

    Raises:
      InputError: They are no runs, or do not fill a frame of that size.
    """
    height, width = size
    labels, lengths = _split(np.frombuffer(data, np.uint8))
    if int(lengths.sum()) != height * width or (lengths == 0).any():
        raise InputError(f"labels: the runs do not fill a frame of {width}x{height}")
    return np.repeat(labels, lengths).reshape(height, width)


def _split(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and lengths, int64, of runs."""
    # A label may have any value, so that only lengths tell where the next run begins:
    # a byte below 128 ends a length unless it is a label, which comes after an end.
    labels, lengths, at, end = [], [], 0, data.size
    raw = data.tobytes()
    while at < end:
        label, at = raw[at], at + 1
        length = shift = 0
        while True:
            if at >= end or shift >= 7 * _LONGEST:
                raise InputError("labels: these bytes are no runs")
            byte, at = raw[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        labels.append(label)
        lengths.append(length)
    return np.array(labels, np.uint8), np.array(lengths, np.int64)
