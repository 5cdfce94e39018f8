"""Sixteen bits to eight, by one rule for the whole sequence.

Networks see 8 bits. The high byte is the right half of a picture that uses its range,
and nothing of one that does not: a thermal camera's values may span 1000 of 65536.
"""

from collections.abc import Iterable

import numpy as np

from vos_jax.errors import warn

_VALUES = 1 << 16
# Sixteen levels of the high byte; with fewer, the bulk of a picture is lost in it.
_LEAST_BULK = 16 << 8
# Left out on either side where "the bulk" is meant: dead pixels and their like.
_TAIL = 1e-3


def count_values(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Counts each value of `uint16` frames, `int64 [65536]`."""
    counts = np.zeros(_VALUES, np.int64)
    for frame in frames:
        counts += np.bincount(frame.ravel(), minlength=_VALUES)
    return counts


def tone_table(counts: np.ndarray, name: object, bits: int = 16) -> np.ndarray | None:
    """Decides how the values of a sequence become 8 bits, and says so if not plainly.

    Args:
      counts: From `count_values`, over all frames.
      name: What to call the sequence in the warning.
      bits: How many the values had in the file, before they were scaled to 16.

    Returns:
      `uint8 [65536]`: what to show for each value. None where the values fill at least
      half of their range and the high byte keeps the picture.
    """
    used = np.flatnonzero(counts)
    if used.size < 2:
        return None
    lowest, highest = used[[0, -1]].tolist()
    low, high = _bulk(counts)
    fills_range = highest - lowest >= _VALUES // 2 - 1
    if fills_range and high - low >= _LEAST_BULK:
        return None
    # What is small and hot lies beyond the bulk, but not as far as a dead pixel.
    margin = (high - low) // 2 or _VALUES
    low, high = max(low - margin, lowest), min(high + margin, highest)
    warn(
        f"{name} uses a small part of its {bits}-bit range: {low >> 16 - bits} to "
        f"{high >> 16 - bits} is stretched to 0 to 255, alike in all frames; convert "
        "them to 8 bits yourself to choose otherwise"
    )
    values = (np.arange(_VALUES) - low) * (255 / (high - low))
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def high_byte_table() -> np.ndarray:
    """The plain table, `uint8 [65536]`: of every value its eight highest bits."""
    return (np.arange(_VALUES) >> 8).astype(np.uint8)


def _bulk(counts: np.ndarray) -> tuple[int, int]:
    """Returns the values between which all but the two tails lie."""
    below = np.cumsum(counts)
    tail = _TAIL * below[-1]
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, below[-1] - tail, side="left"))
    return low, high
