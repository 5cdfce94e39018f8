"""A picture of a training batch, to see that masks sit on their objects."""

from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.data.clips import Clips
from vos_jax.media import atomic_path, blend, contact_sheet
from vos_jax.types import Proposals


def draw_batch(clips: Clips, step: int, cell_width: int = 256) -> np.ndarray:
    """Draws a batch: one row a clip, masks over frames.

    Where the recipe perturbs, the first frame with these masks ends the row; then come
    the frames that have proposals, with these, better ones above.

    Args:
      clips: Of the run.
      step: Whose batch.
      cell_width: Width of a frame on the sheet, in pixels.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      InputError: As `Clips.example`.
    """
    rows, captions = [], []
    for index in range(clips.batch):
        example = clips.example(step, index)
        pairs = zip(example.frames, example.labels, strict=True)
        rows.append([blend(frame, labels) for frame, labels in pairs])
        captions.append([f"{example.name} {time}" for time in example.times])
        if example.given is not None:
            rows[-1].append(blend(example.frames[0], _as_labels(example.given)))
            captions[-1].append("perturbed")
        if isinstance(example.inputs, Proposals):
            for time, frame, masks in zip(
                example.times[1:], example.frames[1:], example.inputs.masks, strict=True
            ):
                rows[-1].append(blend(frame, _best_above(masks)))
                captions[-1].append(f"proposals {time}")
    return contact_sheet(rows, captions, f"step {step}", cell_width)


def _as_labels(masks: np.ndarray) -> np.ndarray:
    """Labels of masks `[O, H, W]` that may overlap: later ones are above."""
    ids = np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]
    return (masks * ids).max(0)


def _best_above(masks: np.ndarray) -> np.ndarray:
    """Labels of masks of which earlier ones are above."""
    shown = masks.any(axis=0)
    return np.where(shown, masks.argmax(axis=0) + 1, 0).astype(np.uint8)


def write_batch(path: str | Path, clips: Clips, step: int) -> None:
    """Writes the picture of a batch as a PNG.

    Raises:
      InputError: As `draw_batch`, or the file cannot be written.
    """
    sheet = Image.fromarray(draw_batch(clips, step))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
