"""The weights with which RDE-VOS's reference outputs were computed.

With those of `tests.fill` alone SAM, which is cubic in its input, would carry the
recurrent embedding so far away that it is never read.
"""

from collections.abc import Mapping

import numpy as np

from tests.fill import fill_all

SEED = 3

_SCALES = {
    "key_encoder.non_local.W": 0.004,
    "value_encoder.non_local.W": 0.002,
    "key_encoder.conv1.conv1": 0.1,
    "compress_key": 0.02,
    "compress_value": 0.2,
}
_OLD, _NEW = 0.3, 0.7


def published_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int = SEED
) -> dict[str, np.ndarray]:
    """A state dict in which SAM takes 0.3 of the old and 0.7 of the new embedding."""
    weights = fill_all(shapes, seed)
    if not any(name.startswith("mem_compress.") for name in shapes):
        return weights
    for name, scale in _SCALES.items():
        weights[f"mem_compress.{name}.weight"] *= np.float32(scale)
    for side in ("key", "value"):
        kernel = weights[f"mem_compress.compress_{side}.weight"]
        same = np.arange(len(kernel))
        kernel[same, same, 0, 1, 1] += np.float32(_OLD)
        kernel[same, same, 1, 1, 1] += np.float32(_NEW)
    return weights
