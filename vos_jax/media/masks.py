"""Label maps in files: palette PNGs whose pixel index is the object id.

A label map is `uint8 [H, W]`: 0 background, 1 to 254 objects, 255 ignore. Annotations
of data sets and results are label maps by contract: colours of their palettes carry no
meaning here and are never compared, for releases disagree on them. What a mask means
that a person gives is decided in `given_masks`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path
from vos_jax.media.images import load_image, read_size
from vos_jax.types import IGNORE, MAX_OBJECTS

__all__ = [
    "INDEXED",
    "PALETTE_MODES",
    "davis_palette",
    "read_labels",
    "read_one_hot",
    "read_size",
    "read_stacked",
    "write_labels",
]

INDEXED = "save it as an indexed (palette) PNG whose pixel index is the object id"
"""What to do about a file that is no label map."""

PALETTE_MODES = frozenset({"P", "PA"})
"""Pillow's names of images whose pixels are indices."""


@cache
def davis_palette() -> np.ndarray:
    """Returns the DAVIS palette (the PASCAL VOC colour map), `uint8 [256, 3]`, RGB.

    Bit `3 * b + c` of an index becomes bit `7 - b` of channel `c`. Read-only.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)[None, :]
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(3):
        palette |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    palette.flags.writeable = False
    return palette


def read_labels(path: str | Path) -> np.ndarray:
    """Reads the object ids of an image file, `uint8 [H, W]`.

    Palette files give their indices; grey, 1-bit and 16-bit files their values (as
    they are: a 0/255 file gives 0 and 255); colour files are grey where R = G = B.

    Raises:
      InputError: The file is missing or damaged, has colours instead of ids, or
        values above 255.
    """
    return _labels(path, load_image(path))


def read_one_hot(path: str | Path) -> np.ndarray:
    """Reads masks `[O, H, W]` of bool or 0/1 from `.npy` or `.npz` as labels.

    The mask at position `o` becomes id `o + 1`; an `.npz` file holds one array.

    Returns:
      `uint8 [H, W]`.

    Raises:
      InputError: The file cannot be read or is no such array, has no or more than 254
        objects, holds no object pixel, or objects overlap.
    """
    labels = read_stacked(path)
    if not labels.any():
        raise InputError(f"{path} is empty: no mask has a pixel; save other masks")
    return labels


def read_stacked(path: str | Path) -> np.ndarray:
    """`read_one_hot`, of masks that may all be empty."""
    masks = _load_array(path)
    if masks.ndim != 3 or masks.dtype.kind not in "buif":
        raise InputError(
            f"{path} holds {masks.dtype} {list(masks.shape)}; "
            "save masks of bool or 0/1 as one array [objects, height, width]"
        )
    objects = len(masks)
    if not 1 <= objects <= MAX_OBJECTS:
        raise InputError(
            f"{path} holds {objects} objects; save between 1 and {MAX_OBJECTS}"
        )
    if masks.dtype != np.bool_ and not np.isin(masks, (0, 1)).all():
        raise InputError(f"{path} has values other than 0 and 1; threshold the masks")
    covered = np.count_nonzero(masks, axis=0)
    if covered.max(initial=0) > 1:
        raise InputError(
            f"{path} has {np.count_nonzero(covered > 1)} pixels in more than one "
            "object; give each pixel to one object"
        )
    ids = np.arange(1, objects + 1, dtype=np.uint8)
    return np.einsum("ohw,o->hw", masks.astype(np.uint8), ids)


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """Writes labels `[H, W]` as a palette PNG with all 256 DAVIS colours, atomically.

    Raises:
      InputError: The file cannot be written; no half file is left.
      ValueError: The array is no label map.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise ValueError(
            f"labels are {labels.dtype} {list(labels.shape)}; give integers [H, W]"
        )
    if labels.dtype != np.uint8:
        if labels.size and (labels.min() < 0 or labels.max() > IGNORE):
            raise ValueError("labels have values outside 0..255; renumber the objects")
        labels = labels.astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    with atomic_path(path) as temporary:
        # Level 9 takes five times as long and saves a tenth of the bytes.
        image.save(temporary, format="PNG", compress_level=6)


def _labels(path: str | Path, image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    if image.mode in PALETTE_MODES:
        return pixels.copy() if pixels.ndim == 2 else pixels[..., 0].copy()
    if image.mode in {"RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "CMYK", "YCbCr"}:
        pixels = _grey(path, image)
    elif pixels.ndim != 2:
        raise InputError(f"{path} has the pixel format {image.mode}; {INDEXED}")
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        raise InputError(f"{path} has fractional values; {INDEXED}")
    if pixels.size and not 0 <= pixels.min() <= pixels.max() <= IGNORE:
        raise InputError(
            f"{path} has values up to {pixels.max():g}; object ids go from 1 to "
            f"{MAX_OBJECTS}: {INDEXED}"
        )
    return pixels.astype(np.uint8)


def _grey(path: str | Path, image: Image.Image) -> np.ndarray:
    """Returns the one channel of a colour file that has no colours in it."""
    rgba = np.asarray(image.convert("RGBA"))
    colours, alpha = rgba[..., :3], rgba[..., 3]
    grey = colours[..., 0]
    if (colours != grey[..., None]).any():
        packed = colours.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
        raise InputError(
            f"{path} has {np.unique(packed).size} distinct colours instead of labels; "
            f"{INDEXED}"
        )
    if grey.min() == grey.max() and alpha.min() != alpha.max():
        raise InputError(
            f"{path} has its shape in the transparency instead of in labels; {INDEXED}"
        )
    return grey


def _load_array(path: str | Path) -> np.ndarray:
    if not Path(path).exists():
        raise InputError(f"{path} does not exist; check the path")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files
            if len(names) == 1:
                return loaded[names[0]]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be read as an array ({reason}); save it with numpy.save"
        ) from error
    raise InputError(f"{path} holds {len(names)} arrays; save one [objects, H, W]")
