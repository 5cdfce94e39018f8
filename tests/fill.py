"""Weights that any program can make again from a name and a shape.

Reference outputs were computed with them, so no weight file has to travel. Only the
raw stream of PCG64 is used, which is the same in every version of NumPy.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np


def fill(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """One entry of a published state dict; `shape` has outputs first.

    Weights are uniform with variance 1 / fan-in. Variances and norm scales are uniform
    in [0.8, 1.2), biases and means in [-0.1, 0.1). Counters are zero.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    stream = np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode()))
    bits = stream.random_raw(math.prod(shape))
    values = np.ldexp((bits >> np.uint64(11)).astype(np.float64), -52) - 1
    values = values.reshape(shape)
    if len(shape) > 1:
        values *= math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith((".weight", ".running_var")):
        values = 1 + 0.2 * values
    else:
        values *= 0.1
    return values.astype(np.float32)


def fill_all(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, np.ndarray]:
    """`fill` for every name."""
    return {name: fill(name, tuple(shape), seed) for name, shape in shapes.items()}
