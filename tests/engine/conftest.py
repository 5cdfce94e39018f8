"""One clip and one compilation mode for all tests of this folder."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest

from tests.engine.clips import moving_clip


@pytest.fixture(scope="package", autouse=True)
def quick_compilation() -> Iterator[None]:
    """Most of the time here is compilation, and half of that is optimisation."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Frames `[8, 32, 48, 3]` and labels."""
    frames, labels = moving_clip(8)
    frames.flags.writeable = labels.flags.writeable = False
    return frames, labels
