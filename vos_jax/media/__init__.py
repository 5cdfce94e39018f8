"""Frames, videos, masks and overlays in files. NumPy on this side, no JAX."""

from vos_jax.media.atomic import atomic_path, make_folder
from vos_jax.media.frames import open_frames, video_name
from vos_jax.media.given_masks import read_first_mask, read_given_masks
from vos_jax.media.masks import (
    davis_palette,
    read_labels,
    read_one_hot,
    read_size,
    write_labels,
)
from vos_jax.media.overlay import VideoWriter, blend, contact_sheet, overlay_colours
from vos_jax.media.prefetch import prefetch
from vos_jax.media.source import FrameSource
from vos_jax.media.writer import MaskWriter

__all__ = [
    "FrameSource",
    "MaskWriter",
    "VideoWriter",
    "atomic_path",
    "blend",
    "contact_sheet",
    "davis_palette",
    "make_folder",
    "open_frames",
    "overlay_colours",
    "prefetch",
    "read_first_mask",
    "read_given_masks",
    "read_labels",
    "read_one_hot",
    "read_size",
    "video_name",
    "write_labels",
]
