"""Videos stepped through, as the tests of several methods do."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

import vos_jax
from vos_jax.ops.memory_bank import Bank


def run(
    model: tuple[Any, Any],
    state: vos_jax.State,
    frames: Iterable[np.ndarray],
    inputs: Any = None,
) -> tuple[list[vos_jax.State], list[vos_jax.Output]]:
    """States and outputs after each of the frames, all of them with the same inputs."""
    states, outputs = [], []
    for frame in frames:
        state, out = vos_jax.step(*model, state, frame, inputs)
        states.append(state)
        outputs.append(out)
    return states, outputs


def times(bank: Bank) -> list[list[int]]:
    """Times of the slots, object by object."""
    return np.asarray(bank.time).T.tolist()


def banks(memory: Any) -> list[Bank]:
    """All that a memory has."""
    nodes = jax.tree.leaves(memory, is_leaf=lambda x: isinstance(x, Bank))
    return [node for node in nodes if isinstance(node, Bank)]
