"""What packages of every layer hand to one another. Imports nothing of ours."""

from typing import Any, NamedTuple

IGNORE = 255
"""The label of pixels that count for no loss, no score and no object."""

MAX_OBJECTS = 254
"""The most objects, and the largest id: labels are 8 bit, 0 is background."""


class ClipBatch(NamedTuple):
    """Training clips of one shape; NumPy on the host, jax.Array in a step.

    Attributes:
      frames: uint8 `[*B, T, H, W, 3]`, RGB.
      labels: uint8 `[*B, T, H, W]`; 0 is background, 1 to O the objects, 255 is
        ignored by losses and metrics.
      valid: bool `[*B, O]`; which objects there are. All of them show in frame 0.
      given: bool `[*B, O, H, W]`; masks of frame 0 as an imperfect network would give
        them, empty where there is no object. None where nothing asks for them.
    """

    frames: Any
    labels: Any
    valid: Any
    given: Any = None
