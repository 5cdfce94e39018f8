"""Label maps in files: palette PNGs whose pixel index is the object id.

A label map is `uint8 [H, W]`: 0 background, 1 to 254 objects, 255 ignore. Colours of
a palette carry no meaning and are never compared: released annotations disagree on
them.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from vos_jax.errors import InputError
from vos_jax.media.atomic import atomic_path
from vos_jax.media.images import load_image, read_size

__all__ = [
    "IGNORE",
    "MAX_OBJECTS",
    "davis_palette",
    "read_first_mask",
    "read_labels",
    "read_one_hot",
    "read_size",
    "write_labels",
]

IGNORE = 255
MAX_OBJECTS = 254
_INDEXED = "save it as an indexed (palette) PNG whose pixel index is the object id"
_PALETTE_MODES = frozenset({"P", "PA"})


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


def read_first_mask(path: str | Path, frame_size: tuple[int, int]) -> np.ndarray:
    """Reads the labels of the objects to follow, `uint8 [H, W]`, and checks them.

    A grey file with the values 0 and 255 is one object, id 1; in every other file 255
    means ignore. Also accepts the `.npy` and `.npz` arrays of `read_one_hot`.

    Args:
      path: The mask file.
      frame_size: (height, width) of the frames.

    Raises:
      InputError: The file cannot be read, has another size than the frames, holds no
        object, or is a soft (anti-aliased) mask.
    """
    if Path(path).suffix.lower() in {".npy", ".npz"}:
        labels = read_one_hot(path)
        _check_size(path, labels, frame_size)
        return labels
    image = load_image(path)
    labels = _labels(path, image)
    _check_size(path, labels, frame_size)
    values = np.unique(labels)
    values = values[values > 0]
    if not values.size:
        raise InputError(f"{path} is empty: all pixels are background; {_INDEXED}")
    if values.tolist() == [IGNORE]:
        if image.mode in _PALETTE_MODES:
            raise InputError(
                f"{path} holds no object: its only index beside 0 is 255, which means "
                "ignore; save the object as index 1"
            )
        return (labels > 0).astype(np.uint8)
    if _is_soft(labels, values):
        raise InputError(
            f"{path} looks like a soft (anti-aliased or lossy) mask: {values.size} "
            "distinct values, most of them on edges; draw it without anti-aliasing "
            f"and {_INDEXED}"
        )
    return labels


def read_one_hot(path: str | Path) -> np.ndarray:
    """Reads masks `[O, H, W]` of bool or 0/1 from `.npy` or `.npz` as labels.

    The mask at position `o` becomes id `o + 1`; an `.npz` file holds one array.

    Returns:
      `uint8 [H, W]`.

    Raises:
      InputError: The file cannot be read or is no such array, has no or more than 254
        objects, holds no object pixel, or objects overlap.
    """
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
    if not covered.any():
        raise InputError(f"{path} is empty: no mask has a pixel; save other masks")
    if covered.max() > 1:
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
    if image.mode in _PALETTE_MODES:
        return pixels.copy() if pixels.ndim == 2 else pixels[..., 0].copy()
    if image.mode in {"RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "CMYK", "YCbCr"}:
        pixels = _grey(path, image)
    elif pixels.ndim != 2:
        raise InputError(f"{path} has the pixel format {image.mode}; {_INDEXED}")
    if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.rint(pixels)):
        raise InputError(f"{path} has fractional values; {_INDEXED}")
    if pixels.size and not 0 <= pixels.min() <= pixels.max() <= IGNORE:
        raise InputError(
            f"{path} has values up to {pixels.max():g}; object ids go from 1 to "
            f"{MAX_OBJECTS}: {_INDEXED}"
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
            f"{_INDEXED}"
        )
    if grey.min() == grey.max() and alpha.min() != alpha.max():
        raise InputError(
            f"{path} has its shape in the transparency instead of in labels; {_INDEXED}"
        )
    return grey


def _check_size(
    path: str | Path, labels: np.ndarray, frame_size: tuple[int, int]
) -> None:
    if labels.shape != tuple(frame_size):
        (height, width), (frame_height, frame_width) = labels.shape, frame_size
        raise InputError(
            f"{path} is {width}x{height} but the frames are "
            f"{frame_width}x{frame_height} (width x height); scale the mask to the "
            "frame size by nearest neighbour"
        )


def _is_soft(labels: np.ndarray, values: np.ndarray) -> bool:
    """Tells edges of intermediate values from objects, which have an inside.

    Ids that run from 1 without gaps are believed, so a few tiny objects are no
    anti-aliasing; a soft mask has gaps, or very many values without an inside.
    """
    ids = values[values != IGNORE]
    has_gaps = ids.size != ids.max()
    inside = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
    thin = np.setdiff1d(values, labels[inside])
    return bool(2 * thin.size > values.size and thin.size >= (3 if has_gaps else 16))


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
