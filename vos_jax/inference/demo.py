"""The whole thing with nothing to download: generated clips, scores, pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vos_jax.data.synthetic import Clip, generate_clip
from vos_jax.evaluation import Report, read_dataset, score
from vos_jax.inference.dataset import Progressed, segment_dataset
from vos_jax.inference.files import write_overlay
from vos_jax.inference.run_folder import DATASET_FILE, discard
from vos_jax.media import blend, contact_sheet, open_frames, read_labels, write_labels
from vos_jax.media.atomic import atomic_path
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import of_frames

HELD_OUT = 2
"""First number of the seeds of clips that neither training nor validation draws.

Larger ones are as good: they are further sets of clips.
"""

SPLIT = "demo"
"""Name of the split that `write_demo_data` writes."""

_SIZE = (128, 208)
_WORLD_SIZE = (240, 400)
"""Figures of several parts need more pixels than shapes do, to be looked at, too."""
_FRAMES = 24
_DIFFICULTY = 0.5
_COLUMNS = 5
_REMEDY = "end other programs that use the memory"


def demo_clip(
    number: int,
    theme: str = "shapes",
    frames: int | None = None,
    seed: int = HELD_OUT,
) -> Clip:
    """The `number`-th held-out clip of a theme: one to three objects, 24 frames.

    Shapes have 128 x 208 pixels, the themes of worlds 240 x 400.
    """
    objects, frames = 1 + number % 3, frames or _FRAMES
    size = _SIZE if theme == "shapes" else _WORLD_SIZE
    return generate_clip(
        (seed, number), frames, size, objects, _DIFFICULTY, theme=theme
    )


def write_demo_data(
    root: Path,
    clips: int,
    theme: str = "shapes",
    frames: int | None = None,
    seed: int = HELD_OUT,
) -> None:
    """Writes held-out clips of a theme in the layout of DAVIS 2017.

    Frames are PNGs, so that what is segmented is exactly what was generated.
    """
    names = [f"clip{number}" for number in range(clips)]
    for number, name in enumerate(names):
        clip = demo_clip(number, theme, frames, seed)
        images = root / "JPEGImages" / "480p" / name
        annotations = root / "Annotations" / "480p" / name
        images.mkdir(parents=True, exist_ok=True)
        annotations.mkdir(parents=True, exist_ok=True)
        for time, (frame, labels) in enumerate(zip(*clip, strict=True)):
            Image.fromarray(frame).save(images / f"{time:05d}.png", compress_level=1)
            write_labels(annotations / f"{time:05d}.png", labels)
    listing = root / "ImageSets" / "2017" / f"{SPLIT}.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(names) + "\n")


def run_demo(
    method: Method,
    variables: Mapping[str, Any],
    out: Path,
    clips: int = 3,
    title: str | None = None,
    inputs: Path | None = None,
    theme: str = "world",
    tell: Callable[[Progressed], None] | None = None,
) -> Report:
    """Generates, segments, scores and draws.

    Writes `data/` (DAVIS layout), `masks/`, `<clip>.mp4` overlays and `sheet.png`.
    `title`, `inputs` and `tell` are those of `segment_dataset`; without `inputs` what
    else the method takes is made of the frames. `theme` is what the clips show, as
    `vos_jax.data.synthetic.generate_clip` explains.

    Returns:
      The scores of the masks just written.
    """
    data, masks = out / "data", out / "masks"
    write_demo_data(data, clips, theme)
    sequences = read_dataset("davis2017", data, SPLIT)
    for folder in masks.glob("clip[0-9]*"):
        discard(folder)
    (masks / DATASET_FILE).unlink(missing_ok=True)
    segment_dataset(
        *(method, variables, sequences, masks),
        split=SPLIT,
        root=data,
        weights_id="demo",
        inputs=inputs or of_frames(method.inputs),
        title=title,
        tell=tell,
        remedy=_REMEDY,
    )
    report = score("davis2017", data, SPLIT, masks)
    rows, captions = [], []
    for sequence in sequences:
        source = open_frames(sequence.frames[0].parent)
        folder = masks / sequence.name
        write_overlay(out / f"{sequence.name}.mp4", folder, source, range(len(source)))
        shown = np.linspace(0, len(source) - 1, _COLUMNS).round().astype(int)
        frames = dict(enumerate(source))
        rows.append(
            [
                blend(frames[i], read_labels(folder / f"{source.names[i]}.png"))
                for i in shown
            ]
        )
        captions.append(_captions(report, sequence.name, shown))
    sheet = contact_sheet(rows, captions, "Generated clips, first mask given")
    with atomic_path(out / "sheet.png") as temporary:
        Image.fromarray(sheet).save(temporary, format="png")
    return report


def _captions(report: Report, name: str, shown: np.ndarray) -> list[str]:
    objects = [entry for entry in report.objects if entry.sequence == name]
    mean = np.mean([(o.region.mean() + o.contour.mean()) / 2 for o in objects])
    first = f"{name}, given mask; J&F {mean:.3f}"
    return [first, *(f"frame {i}" for i in shown[1:])]
