"""One clip and one compilation mode for all tests of this folder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.engine.clips import moving_clip
from vos_jax.engine.model import random_model
from vos_jax.methods.base import Method
from vos_jax.nn.resnet import ResNetConfig


@pytest.fixture(scope="module", autouse=True)
def always_quick(quick_compilation: None) -> None:
    """Every test of this folder compiles networks."""


@pytest.fixture(scope="session")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """Frames `[8, 32, 48, 3]` and labels."""
    frames, labels = moving_clip(8)
    frames.flags.writeable = labels.flags.writeable = False
    return frames, labels


@pytest.fixture(scope="session")
def tiny_rde() -> tuple[Method, Mapping[str, Any]]:
    """RDE-VOS with few channels and random weights."""
    backbone = ResNetConfig(depth=18, width=4)
    return random_model(
        "rde",
        backbone=backbone,
        value_backbone=backbone,
        key_dim=4,
        value_dim=16,
        decoder_dims=(16, 8, 8),
    )
