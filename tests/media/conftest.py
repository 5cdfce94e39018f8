"""Small films for the tests of this folder."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


def _film(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frames that pan over a smooth picture, each with its number as brightness."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    return [
        np.stack(
            [
                127 + 100 * np.sin((x + 3 * i) / 9),
                127 + 100 * np.cos((y - 2 * i) / 7),
                np.full(size, 20 + 4 * i),
            ],
            axis=-1,
        ).astype(np.uint8)
        for i in range(count)
    ]


def _encode(
    path: Path,
    frames: list[np.ndarray],
    codec: str = "libx264",
    rotation: int = 0,
    times: list[int] | None = None,
    container_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Writes frames with 25 a second; options go to the encoder."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = i if times is None else times[i]
            picture.time_base = Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def film() -> Callable[..., list[np.ndarray]]:
    return _film


@pytest.fixture
def encode() -> Callable[..., Path]:
    return _encode
