"""The tiny model as a weights file, and a clip as files."""

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vos_jax
from tests.clips import moving_clip, write_davis, write_frames, write_masks
from vos_jax.methods.base import Method


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """The command line takes over a signal of the process, here that of the tests."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def weights(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_method: Method,
    tiny_variables: Mapping[str, Any],
) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    vos_jax.save_weights(path, "stm", tiny_method, tiny_variables)
    return path


@pytest.fixture
def clip() -> tuple[np.ndarray, np.ndarray]:
    return moving_clip(8)


@pytest.fixture
def files(tmp_path: Path, clip: tuple[np.ndarray, np.ndarray]) -> Path:
    """A folder with `frames/`, `first.png`, and the data set `davis/`."""
    frames, labels = clip
    write_frames(tmp_path / "frames", frames)
    write_masks(tmp_path, {"first": labels[0]})
    write_davis(tmp_path / "davis", ["alpha", "beta"])
    return tmp_path
