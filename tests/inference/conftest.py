"""A clip stepped through."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import vos_jax
from tests.methods.steps import run
from vos_jax.inference.state import Output, State
from vos_jax.methods.base import Method


@pytest.fixture(scope="module")
def model(
    tiny_method: Method, tiny_variables: Mapping[str, Any]
) -> tuple[Method, Mapping[str, Any]]:
    return tiny_method, tiny_variables


@pytest.fixture(scope="module")
def started(
    model: tuple[Method, Mapping[str, Any]], clip: tuple[np.ndarray, np.ndarray]
) -> State:
    frames, labels = clip
    return vos_jax.start(*model, frames[0], labels[0])


@pytest.fixture(scope="module")
def looped(
    model: tuple[Method, Mapping[str, Any]],
    clip: tuple[np.ndarray, np.ndarray],
    started: State,
) -> tuple[list[State], list[Output]]:
    """States and outputs after each of the frames 1 to 5."""
    return run(model, started, clip[0][1:6])
