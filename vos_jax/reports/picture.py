"""Pictures of what a method does in some frame of a video: what they have in common.

Arrays are NumPy's; cells are those of stride 16 of the padded frame.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vos_jax.data.synthetic import Clip, generate_clip
from vos_jax.errors import InputError
from vos_jax.inference.state import State
from vos_jax.inference.step import start, step
from vos_jax.media import atomic_path, make_folder, open_frames, read_first_mask
from vos_jax.methods.base import Method
from vos_jax.ops.memory_bank import Moment
from vos_jax.ops.padding import STRIDE, padding
from vos_jax.runtime.plotting import pyplot
from vos_jax.types import IGNORE

_GENERATED_SIZE = (128, 208)
_GENERATED_OBJECTS = 2


def first_frames(
    video: Path | None, mask: Path | None, generated: int | None, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames 0 to `last` of a video, or of a generated clip, and the first labels.

    Args:
      video: A file or a folder.
      mask: Labels of its first frame.
      generated: Seed of the clip; then there is no video.
      last: Number of the last frame.

    Returns:
      Frames uint8 `[T, H, W, 3]` and labels uint8 `[H, W]`.

    Raises:
      InputError: Both or none are given, the video is too short, or a file is wrong.
    """
    masked_clip = generated is not None and mask is not None
    if (generated is None) == (video is None) or masked_clip:
        raise InputError("give either a video with --mask or --generated SEED")
    count = last + 1
    if video is None:
        clip = generated_clip(generated or 0, count)
        return clip.frames, clip.labels[0]
    if mask is None:
        raise InputError(f"{video}: say with --mask where its first mask is")
    frames = np.stack(list(islice(open_frames(video), count)))
    if len(frames) < count:
        raise InputError(f"{video}: has {len(frames)} frames; use a --frame below that")
    return frames, read_first_mask(mask, frames.shape[1:3])


def generated_clip(seed: int, count: int) -> Clip:
    """The first frames of the clip that pictures are drawn of, and all its labels."""
    return generate_clip(seed, count, _GENERATED_SIZE, _GENERATED_OBJECTS)


def select_ids(labels: np.ndarray, wanted: Sequence[int] | None) -> list[int]:
    """Ids of the objects to show: those wanted, or all.

    Raises:
      InputError: One of them is not in the labels.
    """
    ids: list[int] = np.setdiff1d(labels, [0, IGNORE]).tolist()
    for each in wanted or ():
        if each not in ids:
            known = ", ".join(map(str, ids))
            raise InputError(f"--object {each}: the first mask has {known}")
    return ids if wanted is None else list(dict.fromkeys(wanted))


def before_last(
    method: Method,
    variables: Any,
    frames: np.ndarray,
    labels: np.ndarray,
    wanted: int,
) -> tuple[State, int]:
    """The state before the last of some frames, and the slot of an object in it.

    Args:
      method: With its configuration.
      variables: Its weights.
      frames: uint8 `[T, H, W, 3]`.
      labels: Of the first one, `[H, W]`.
      wanted: Id of the object.

    Raises:
      InputError: There is no such object.
    """
    select_ids(labels, [wanted])
    state = start(method, variables, frames[0], labels, frames=len(frames))
    for frame in frames[1:-1]:
        state, _ = step(method, variables, state, frame, donate=True)
    return state, np.asarray(state.ids).tolist().index(wanted)


def memory_to_read(network: Method, state: State) -> Any:
    """What the next frame reads: the memory with the latest frame in it.

    `network` is bound to its weights.
    """
    moment = Moment(state.time, state.active, state.first, state.corrected)
    return network.memorize(state.memory, state.frame, state.keep, state.probs, moment)


def middle_of(mask: np.ndarray) -> tuple[int, int]:
    """The pixel of a mask that is nearest to the mean of all of them.

    Raises:
      InputError: It is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise InputError("the object is not found in the frame; use --at ROW COLUMN")
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[nearest]), int(columns[nearest])


def cell_at(pixel: Sequence[int], height: int, width: int) -> tuple[int, int]:
    """The cell that a pixel of a frame is in.

    Raises:
      InputError: The frame has no such pixel.
    """
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise InputError(
            f"--at {pixel[0]} {pixel[1]}: the frame has {height} x {width} pixels"
        )
    top, left = padding(height)[0], padding(width)[0]
    return (pixel[0] + top) // STRIDE, (pixel[1] + left) // STRIDE


def pixels_of(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """The value of the cell that each pixel of a frame is in, `[height, width]`."""
    top, left = padding(height)[0], padding(width)[0]
    pixels = cells.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
    return pixels[top : top + height, left : left + width]


def write_figure(figure: Any, path: Path) -> None:
    """Writes a PNG, in a new folder if need be, and closes the figure.

    Raises:
      InputError: It cannot be written.
    """
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    pyplot().close(figure)
