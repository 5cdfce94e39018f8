"""Masks as people save them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.media import davis_palette

SIZE = (64, 96)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
LEFT = (ROWS - 30) ** 2 + (COLUMNS - 26) ** 2 < 15**2
RIGHT = (abs(ROWS - 40) < 12) & (abs(COLUMNS - 70) < 14)
NOWHERE = np.zeros(SIZE, bool)
WHITE = LEFT * np.uint8(255)


def save(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    """Saves an image, or an array as one; options are the format's."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return path


def labelled(labels: np.ndarray) -> Image.Image:
    """Object ids with the DAVIS palette."""
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    return image


def values(left: int, right: int, ground: int = 0) -> np.ndarray:
    """The left object, a disc, and the right one, a box, in two values."""
    drawn = np.full(SIZE, ground, np.uint8)
    drawn[LEFT], drawn[RIGHT] = left, right
    return drawn


def colours(left: str, right: str, ground: str = "black") -> Image.Image:
    """The two objects in named colours."""
    image = Image.new("RGB", SIZE[::-1], ground)
    image.paste(left, mask=Image.fromarray(LEFT))
    image.paste(right, mask=Image.fromarray(RIGHT))
    return image


def indexed(indices: np.ndarray, *palette: str) -> Image.Image:
    """An indexed image with a palette of named colours."""
    image = Image.fromarray(indices.astype(np.uint8))
    colours = [Image.new("RGB", (1, 1), name).getpixel((0, 0)) for name in palette]
    image.putpalette(np.uint8(colours).tobytes())
    return image


def compressed(drawn: np.ndarray, quality: int, file_format: str) -> Image.Image:
    """What lossy compression leaves, as an exact image."""
    file = io.BytesIO()
    Image.fromarray(drawn).convert("RGB").save(file, file_format, quality=quality)
    return Image.open(file).convert("L")


def scaled(drawn: np.ndarray, factor: float, resampling: int) -> Image.Image:
    """Drawn at another size and brought to the right one."""
    height, width = SIZE
    image = Image.fromarray(drawn)
    size = (round(width * factor), round(height * factor))
    return image.resize(size, Image.Resampling.NEAREST).resize(
        (width, height), resampling
    )
