"""The three ways in which data sets store masks, all read as `uint8 [H, W]` labels.

Files do not tell which way is theirs, so every data set names its own: the same grey
file of 0 and 255 is one object in DAVIS 2016 and nothing but void in DAVIS 2017.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vos_jax.errors import InputError
from vos_jax.media.images import load_image
from vos_jax.media.masks import PALETTE_MODES, read_labels
from vos_jax.types import IGNORE

_HALF = 128
# The least that a rating of salience stores: one of the 12 raters of PASCAL-S is 21.
_FAINTEST = 20


def load_8_bit(path: Path) -> Image.Image:
    """Decodes an image of any mode whose values end at 255.

    Raises:
      InputError: The file is missing, damaged, or has more bits.
    """
    image = load_image(path)
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{path} has pixels of mode {image.mode}; save it with 8 bits a channel"
        )
    return image


def read_ids(path: Path) -> np.ndarray:
    """Reads ids as they are: palette indices or grey values, 255 meaning ignore.

    Raises:
      InputError: The file is missing, damaged, or a grey mask of 0 and 255.
    """
    labels = read_labels(path)
    # A palette file may well show nothing but void; a grey one would be misread.
    if (
        labels.max() == IGNORE
        and not (labels % IGNORE).any()
        and load_image(path).mode not in PALETTE_MODES
    ):
        raise InputError(
            f"{path} is a grey mask of 0 and 255, where object ids are expected; "
            "open the data set as one of grey masks"
        )
    return labels


def read_one_object(path: Path) -> np.ndarray:
    """Reads whatever is not 0 as object 1.

    Raises:
      InputError: The file is missing or damaged.
    """
    return (read_labels(path) != 0).astype(np.uint8)


def read_grey(path: Path) -> np.ndarray:
    """Reads what is at least half as bright as white, 128 to 255, as object 1.

    Raises:
      InputError: The file is missing, damaged, or stores ids.
    """
    image = load_8_bit(path)
    if image.mode in PALETTE_MODES:
        colours = np.asarray(image.convert("RGB"))
        if (colours != colours[..., :1]).any():
            raise _ids_error(path, "a palette PNG of colours")
    grey = np.asarray(image.convert("L"))
    if 0 < grey.max() <= _FAINTEST:
        raise _ids_error(path, f"no brighter than {grey.max()}")
    return (grey >= _HALF).astype(np.uint8)


READERS: Mapping[str, Callable[[Path], np.ndarray]] = {
    "ids": read_ids,
    "one": read_one_object,
    "grey": read_grey,
}
"""How masks of still images are read, by the name of their kind."""


def _ids_error(path: Path, found: str) -> InputError:
    return InputError(
        f"{path} is {found}, where a black and white mask is expected; "
        "open the data set as one of ids"
    )
