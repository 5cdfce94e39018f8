"""Still images as they should be seen: decoded, upright, or refused by name."""

import struct
import zlib
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vos_jax.errors import InputError

# What Pillow's decoders raise on damaged bytes; only some of it is an OSError.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# EXIF orientations 5 to 8 are those that swap rows and columns.
_TRANSPOSED = frozenset({5, 6, 7, 8})


def load_image(path: str | Path) -> Image.Image:
    """Decodes one image, turned upright by its EXIF orientation; the mode is kept.

    Raises:
      InputError: The file is missing, no image, or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except _DAMAGE as error:
        raise InputError(_read_error(path, error)) from error


def read_size(path: str | Path) -> tuple[int, int]:
    """Reads the upright (height, width) of an image from its header only.

    Raises:
      InputError: The file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Without this test, asking a PNG for EXIF would decode all of it.
            if "exif" in image.info:
                orientation = image.getexif().get(ExifTags.Base.Orientation)
                if orientation in _TRANSPOSED:
                    return width, height
            return height, width
    except _DAMAGE as error:
        raise InputError(_read_error(path, error)) from error


def read_mode(path: str | Path) -> str:
    """Reads the pixel mode as Pillow names it, from the header only.

    Raises:
      InputError: The file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.mode
    except _DAMAGE as error:
        raise InputError(_read_error(path, error)) from error


def _read_error(path: str | Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the path"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not an image; name one file"
    if isinstance(error, PermissionError):
        return f"{path} cannot be opened: permission denied; check its permissions"
    if isinstance(error, UnidentifiedImageError):
        return f"{path} is not an image; replace it by a PNG or JPEG file"
    if isinstance(error, Image.DecompressionBombError):
        return f"{path} has too many pixels to be decoded; scale it down"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path} is damaged ({reason}); copy or export it again"
