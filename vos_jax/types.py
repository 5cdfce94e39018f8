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
      inputs: What the method takes with every frame after the first, leaves
        `[*B, T - 1, ...]`; None for a method that takes nothing.
    """

    frames: Any
    labels: Any
    valid: Any
    given: Any = None
    inputs: Any = None


class Proposals(NamedTuple):
    """Masks that may be objects of a frame, from a program that knows no video.

    Valid ones come first, the best first. NumPy on the host, jax.Array in a step.

    Attributes:
      boxes: float32 `[*B, N, 4]`, the masks' tight boxes (x0, y0, x1, y1) in pixels;
        x1 and y1 lie one beyond the last pixel.
      masks: bool `[*B, N, H, W]`.
      scores: float32 `[*B, N]`.
      valid: bool `[*B, N]`; where it is False the rest says nothing.
    """

    boxes: Any
    masks: Any
    scores: Any
    valid: Any
