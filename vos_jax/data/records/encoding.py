"""What a record holds of a labelled frame: the bytes of two image files."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vos_jax.data.source import Source
from vos_jax.data.sources.coco import CocoSource
from vos_jax.data.sources.files import FileSource
from vos_jax.data.sources.labels import read_ids
from vos_jax.errors import InputError
from vos_jax.media import davis_palette


class Encoded(NamedTuple):
    """A labelled frame.

    Attributes:
      video: Name of its video.
      time: Which of the video's labelled frames it is.
      frame: An image file, as the data set has it.
      labels: A PNG file whose pixels are ids, 255 ignored.
    """

    video: str
    time: int
    frame: bytes
    labels: bytes


def encode_all(source: Source, *, check: bool) -> Iterator[Encoded]:
    """Yields the labelled frames of a source, video after video, in order of time.

    Frames are the files of the data set, byte for byte, and so are masks that are PNG
    files of ids. All other masks, and frames that are in no file, become PNG files,
    which lose nothing.

    Args:
      source: Where from.
      check: Decode everything, so that a damaged file is found now.

    Raises:
      InputError: A file is missing or, if checked, damaged.
    """
    for index, video in enumerate(source.videos):
        for time in range(video.length):
            if check:
                source.read(index, [time])
            frame, labels = _encode(source, index, time)
            yield Encoded(video.name, time, frame, labels)


def _encode(source: Source, video: int, time: int) -> tuple[bytes, bytes]:
    if isinstance(source, FileSource):
        files = source.files[video]
        frame = _read(files.frame_folder / files.frames[time])
        mask = files.mask_folder / files.masks[time]
        if source.read_mask is read_ids:
            return frame, _read(mask)
        return frame, _labels_png(source.read_mask(mask))
    stored = source.read(video, [time])
    labels = _labels_png(stored.labels[0])
    if isinstance(source, CocoSource):
        return _read(source.folder / source.images[video].file), labels
    return _png(Image.fromarray(stored.frames[0])), labels


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); extract the data set again"
        ) from error


def _labels_png(labels: np.ndarray) -> bytes:
    image = Image.fromarray(labels)
    # With a palette it is no grey mask, whatever its values are.
    image.putpalette(davis_palette().tobytes())
    return _png(image)


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
