"""Writes files of COCO results, which `coco_results` and other programs read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.proposals.run_lengths import text_of
from vos_jax.data.proposals.select import tight_box
from vos_jax.media.atomic import atomic_path

MOST_RESULTS = 100
"""Of an image, in a file."""


class ImageResults(NamedTuple):
    """A frame and its results, to be written.

    Attributes:
      name: `<sequence>/<frame>.jpg`.
      size: (height, width).
      masks: M times bool `[H, W]`.
      scores: `[M]`.
    """

    name: str
    size: tuple[int, int]
    masks: Sequence[np.ndarray] | np.ndarray
    scores: np.ndarray


def write_results(path: str | Path, images: Iterable[ImageResults]) -> int:
    """Writes a file of results, whole or not at all: one object, run lengths as text.

    Of each frame the best hundred are written, best first. Frames are taken one by one.

    Returns:
      The number of frames.

    Raises:
      InputError: The file cannot be written.
    """
    listed: list[str] = []
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        separator = "\n"
        for number, image in enumerate(images):
            for entry in _entries(number, image):
                file.write(separator + json.dumps(entry))
                separator = ",\n"
            height, width = image.size
            about = {"id": number, "file_name": image.name}
            listed.append(json.dumps({**about, "height": height, "width": width}))
        file.write('\n], "images": [\n' + ",\n".join(listed) + "\n]}\n")
    return len(listed)


def _entries(number: int, image: ImageResults) -> Iterable[dict[str, Any]]:
    scores = np.asarray(image.scores, np.float64)
    for index in np.argsort(-scores, kind="stable")[:MOST_RESULTS]:
        mask = np.asarray(image.masks[index], bool)
        box = tight_box(mask)
        x0, y0, x1, y1 = (0, 0, 0, 0) if box is None else map(int, box)
        yield {
            "image_id": number,
            "category_id": 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(f"{scores[index]:.6g}"),
            "segmentation": {"size": list(mask.shape), "counts": text_of(mask)},
        }
