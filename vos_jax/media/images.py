"""Still images as they should be seen: decoded, upright, or refused by name.

Every picture file is opened in one place, which also says how it is turned, so that
its size and its pixels cannot disagree.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vos_jax.errors import InputError
from vos_jax.media.containers import png_chunks
from vos_jax.media.orientation import UPRIGHT, Orientation, from_number

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
_ANIMATED_FORMATS = frozenset({"GIF", "PNG", "WEBP"})
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\b")
_METADATA_CHUNKS = frozenset({b"eXIf", b"iTXt", b"tEXt", b"zTXt"})
_KEYWORDS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded.

    Attributes:
      size: (height, width), upright.
      mode: Pixel mode as Pillow names it.
      is_deep: Whether values have more than 8 bits.
      is_animated: Whether there are several frames to be shown one after the other.
    """

    size: tuple[int, int]
    mode: str
    is_deep: bool
    is_animated: bool


def load_image(path: str | Path) -> Image.Image:
    """Decodes one image, turned upright by its EXIF or XMP; the mode is kept.

    Raises:
      InputError: The file is missing, no image, or damaged.
    """
    with open_image(path) as (image, orientation):
        image.load()
        return orientation.apply_to_image(image)


def load_deep(path: str | Path) -> np.ndarray:
    """Decodes an image whose values have 16 bits, upright, with all of them.

    Returns:
      `uint16 [H, W]` or, in colour, `[H, W, 3]`.

    Raises:
      InputError: The file is missing, no such image, or damaged.
    """
    with open_image(path) as (image, orientation):
        image.load()
        if image.mode.startswith("I"):
            pixels = np.asarray(image)
        else:
            # Pillow has kept the high bytes only.
            pixels = _decode_deep_colour(Path(path).read_bytes())
        if pixels.size and not 0 <= pixels.min() <= pixels.max() <= 0xFFFF:
            raise InputError(f"{path} has values beyond 16 bits; convert it to 16 bits")
        return orientation.apply(pixels.astype(np.uint16))


def read_header(path: str | Path) -> Header:
    """Reads what an image says of itself, without decoding its pixels.

    Raises:
      InputError: The file is missing or no image.
    """
    with open_image(path) as (image, orientation):
        frames = getattr(image, "n_frames", 1) - getattr(image, "default_image", 0)
        is_animated = image.format in _ANIMATED_FORMATS and frames > 1
        is_deep = image.mode.startswith(("I", "F")) or _is_deep_png(image)
        size = orientation.size(image.height, image.width)
        return Header(size, image.mode, is_deep, is_animated)


def read_size(path: str | Path) -> tuple[int, int]:
    """Reads the upright (height, width) of an image from its header only.

    Raises:
      InputError: The file is missing or no image.
    """
    with open_image(path) as (image, orientation):
        return orientation.size(image.height, image.width)


def is_seen_through(image: Image.Image) -> bool:
    """Whether a decoded image has pixels that are not opaque."""
    if not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


@contextmanager
def open_image(path: str | Path) -> Iterator[tuple[Image.Image, Orientation]]:
    """Opens an image file and tells how it is to be turned; its errors are ours.

    Raises:
      InputError: The file is missing, no image, or what is done with it fails.
    """
    try:
        with Image.open(path) as image:
            yield image, _orientation(path, image)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(_read_error(path, error)) from error


def _orientation(path: str | Path, image: Image.Image) -> Orientation:
    """EXIF decides, then XMP; what is damaged or no orientation says nothing."""
    if image.format == "PNG":
        with _read_anew(path) as file:
            if _has_late_metadata(file):
                # Pillow reads what follows the pixels after them.
                file.seek(0)
                with Image.open(file) as whole:
                    whole.load()
                    return _told_orientation(whole)
    return _told_orientation(image)


@contextmanager
def _read_anew(path: str | Path | BytesIO) -> Iterator[BinaryIO]:
    """The bytes of a file from its beginning, also of one that is in memory."""
    if isinstance(path, BytesIO):
        yield BytesIO(path.getbuffer())
        return
    with open(path, "rb") as file:
        yield file


def _told_orientation(image: Image.Image) -> Orientation:
    try:
        # The method of PNG images would decode all pixels to look for EXIF.
        number = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:
        number = None
    return from_number(number) or from_number(_xmp_number(image)) or UPRIGHT


def _xmp_number(image: Image.Image) -> int | None:
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    match = _XMP_ORIENTATION.search(xmp.encode() if isinstance(xmp, str) else xmp)
    return int(match[1]) if match else None


def _has_late_metadata(file: BinaryIO) -> bool:
    """Whether a PNG may say behind its pixels how it is turned."""
    follows_pixels = False
    for name, length in png_chunks(file):
        follows_pixels = follows_pixels or name == b"IDAT"
        if not follows_pixels or name not in _METADATA_CHUNKS:
            continue
        if name == b"eXIf" or file.read(min(length, 32)).startswith(_KEYWORDS):
            return True
    return False


def _is_deep_png(image: Any) -> bool:
    return image.format == "PNG" and str(image.tile[0][3]).endswith(";16B")


def _decode_deep_colour(data: bytes) -> np.ndarray:
    container: Any
    with av.open(BytesIO(data), format="png_pipe") as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb48le")


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
