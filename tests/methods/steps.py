"""Videos stepped through, as the tests of several methods do."""

from collections.abc import Iterable
from typing import Any

import numpy as np

import vos_jax
from vos_jax.inference import step as inference
from vos_jax.inference.state import Output, State
from vos_jax.ops.memory_bank import Bank


def run(
    model: tuple[Any, Any], state: State, frames: Iterable[np.ndarray]
) -> tuple[list[State], list[Output]]:
    """States and outputs after each of the frames."""
    states, outputs = [], []
    for frame in frames:
        state, out = vos_jax.step(*model, state, frame)
        states.append(state)
        outputs.append(out)
    return states, outputs


def counted_run(
    model: tuple[Any, Any], state: State, frames: Iterable[np.ndarray]
) -> tuple[list[State], list[Output], int]:
    """The same, and how many programs were compiled for it."""
    before = inference._step_jitted._cache_size()
    states, outputs = run(model, state, frames)
    return states, outputs, inference._step_jitted._cache_size() - before


def times(bank: Bank) -> list[list[int]]:
    """Times of the slots, object by object."""
    return np.asarray(bank.time).T.tolist()
