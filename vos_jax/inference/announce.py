"""The first line of a run on stderr: what computes which video how.

One look at it tells a wrong file of weights or a size that was not meant before minutes
are spent. A GPU or TPU that is not used gets a line of its own.
"""

import sys
from collections.abc import Iterable

import jax

from vos_jax.inference.segmenter import working_size
from vos_jax.methods.base import Method
from vos_jax.runtime.unused_accelerator import tell_unused_accelerator


def announce(label: str, facts: Iterable[str]) -> None:
    """Prints facts behind a label, one line on stderr."""
    print(f"{label}: {'; '.join(facts)}", file=sys.stderr, flush=True)


def announce_run(label: str, facts: Iterable[str]) -> None:
    """Prints the facts of what begins, after an accelerator that it does not use."""
    tell_unused_accelerator()
    announce(label, facts)


def model_facts(title: str, method: Method) -> tuple[str, ...]:
    """Method and weights as the user named them, the device, and the type."""
    device = jax.devices()[0]
    kind = device.platform
    if device.device_kind != kind:
        kind += f" ({device.device_kind})"
    if method.mesh is not None:
        kind += f", memory over {method.mesh.size} devices"
    config = method.config
    return title, kind, f"{config.dtype}, {config.precision} precision"


def video_facts(
    frame: tuple[int, int], size: int | None, objects: int, frames: int
) -> tuple[str, ...]:
    """Size, objects and length of a video.

    Args:
      frame: Height and width of the frames.
      size: Shorter side to compute at; None for the frames' own.
      objects: Number of objects.
      frames: Number of frames to segment.
    """
    height, width = frame
    rows, columns = working_size(height, width, size)
    shown = f"{width}x{height}"
    if (rows, columns) != frame:
        shown += f", computed at {columns}x{rows}"
    return shown, plural(objects, "object"), plural(frames, "frame")


def plural(number: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
