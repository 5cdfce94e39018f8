"""A folder of frames to annotate."""

from pathlib import Path

import numpy as np
import pytest

from tests.app.annotating import Network
from tests.clips import moving_clip, write_frames
from tests.optional import needs

needs("starlette")

FRAMES = 24


@pytest.fixture(scope="session")
def network(tiny_method, tiny_variables) -> Network:
    return tiny_method, tiny_variables


@pytest.fixture(scope="session")
def long_clip() -> tuple[np.ndarray, np.ndarray]:
    frames, labels = moving_clip(FRAMES)
    return frames, labels


@pytest.fixture(scope="session")
def video(long_clip, tmp_path_factory) -> Path:
    return write_frames(tmp_path_factory.mktemp("video") / "clip", long_clip[0])
