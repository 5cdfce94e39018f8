"""A small clip, two rectangles that move over noise, and files of it."""

from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.media import read_labels, write_labels

HEIGHT, WIDTH = 32, 48


def moving_clip(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 `[T, H, W, 3]` and labels `[T, H, W]` with the ids 1 and 2."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    for time in range(count):
        shift = time % 6
        labels[time, 4:20, 6 + shift : 22 + shift] = 1
        labels[time, 14:29, 26 - shift : 42 - shift] = 2
        frames[time][labels[time] == 1] //= 4
        frames[time][labels[time] == 2] //= 2
    return frames, labels


def write_frames(folder: Path, frames: np.ndarray, start: int = 0) -> Path:
    """`00000.png` and so on."""
    folder.mkdir(parents=True)
    for time, frame in enumerate(frames, start):
        Image.fromarray(frame).save(folder / f"{time:05d}.png", compress_level=0)
    return folder


def write_masks(folder: Path, labels: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in labels.items():
        write_labels(folder / f"{name}.png", each.astype(np.uint8))
    return folder


def read_masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_labels(path) for path in sorted(folder.glob("*.png"))}


def write_davis(root: Path, names: list[str], count: int = 6) -> Path:
    """A DAVIS 2017 split "val" of clips that differ in where they begin."""
    frames, labels = moving_clip(count + len(names))
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("\n".join(names) + "\n")
    for place, name in enumerate(names):
        window = slice(place, place + count)
        write_frames(root / "JPEGImages" / "480p" / name, frames[window])
        named = {f"{time:05d}": x for time, x in enumerate(labels[window])}
        write_masks(root / "Annotations" / "480p" / name, named)
    return root
