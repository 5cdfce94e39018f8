"""Whether a machine has room for the state of a video, before any of it is made."""

from collections.abc import Mapping
from typing import Any

from vos_jax.inference.announce import plural
from vos_jax.inference.capacity import state_bytes
from vos_jax.inference.segmenter import working_size
from vos_jax.methods.base import Method
from vos_jax.runtime.out_of_memory import check_memory


def check_room(
    method: Method,
    variables: Mapping[str, Any],
    frame: tuple[int, int],
    *,
    size: int | None,
    objects: int,
    frames: int,
    flip: bool,
    remedy: str,
) -> None:
    """Refuses what the state of a video certainly has no room for.

    Args:
      method: From `create`.
      variables: Its weights.
      frame: Height and width of the frames.
      size: Shorter side to compute at; None for the frames' own.
      objects: Number of objects.
      frames: Number of frames.
      flip: The mirrored video has a state, too.
      remedy: What to change to need less.

    Raises:
      OutOfMemory: All that the device or the machine has is less.
    """
    height, width = working_size(*frame, size)
    needed = state_bytes(method, (height, width), objects, frames, variables=variables)
    state = (
        f"the state of {plural(frames, 'frame')} of {width}x{height} with"
        f" {plural(objects, 'object')}"
    )
    check_memory(
        *(state, needed * (1 + flip), remedy),
        devices=1 if method.mesh is None else method.mesh.size,
    )
