"""What the replicas of data sets are made of: frames, masks, folders."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from vos_jax.media import write_labels

SIZE = (24, 32)


def frame_pixels(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A flat colour that a JPEG keeps but for rounding: `number` in all channels."""
    return np.full((*size, 3), 20 + 10 * number, np.uint8)


def label_pixels(*ids: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """One square of 4 x 4 for each id, in a row."""
    labels = np.zeros(size, np.uint8)
    for place, label in enumerate(ids):
        labels[2:6, 1 + 5 * place : 5 + 5 * place] = label
    return labels


def write_frame(path: Path, number: int = 0, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame_pixels(number, size)).save(path, quality=95)
    return path


def write_palette(path: Path, labels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, labels)
    return path


def write_grey(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def write_video(
    root: Path,
    name: str,
    stems: Iterable[str],
    labels: Callable[[int], np.ndarray],
    write: Callable[[Path, np.ndarray], Any] = write_palette,
    folder: str = "",
) -> None:
    """Frames in `JPEGImages/<folder>/<name>` and masks in `Annotations/...`."""
    for number, stem in enumerate(stems):
        write_frame(root / "JPEGImages" / folder / name / f"{stem}.jpg", number)
        write(root / "Annotations" / folder / name / f"{stem}.png", labels(number))


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def damage(path: Path) -> None:
    """Cuts a file in its middle."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def numbers(frames: np.ndarray) -> list[int]:
    """Which `frame_pixels` these are."""
    return [round((float(frame.mean()) - 20) / 10) for frame in frames]


def write_matlab(path: Path, labels: np.ndarray, *, compressed: bool = True) -> Path:
    """The structure that SBD stores for each image, with its three fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [label for label in np.unique(labels) if label]
    boundaries = np.empty((len(ids), 1), object)
    for place, label in enumerate(ids):
        boundaries[place, 0] = csc_matrix(labels == label)
    fields = {
        "Segmentation": labels,
        "Boundaries": boundaries,
        "Categories": np.full((len(ids), 1), 15, np.uint8),
    }
    savemat(path, {"GTinst": fields}, do_compression=compressed)
    return path
