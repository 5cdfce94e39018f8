"""What comparisons with released programs have in common."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Stored:
    """Arrays of a reference file, as they lie in it.

    Attributes:
      arrays: All of them.
    """

    inputs: frozenset[str] = frozenset()
    """Entries that are no results."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = dict(file)

    @property
    def results(self) -> set[str]:
        """Names of what the program made."""
        return self.arrays.keys() - self.inputs


STM_INPUTS = frozenset(
    {
        *("frames", "first_mask", "seed", "mem_every", "num_objects", "num_channels"),
        *("sequence", "frame_indices", "labels_float64"),
    }
)
"""Of the references of STM and HMMN."""


def assert_names_cover(
    back: Mapping[str, np.ndarray], state_dict: Mapping[str, np.ndarray], count: int
) -> None:
    """All of a released state dict of `count` entries came back but constants."""
    unused = state_dict.keys() - back.keys()
    assert all(
        name.endswith(("num_batches_tracked", ".mean", ".std")) for name in unused
    )
    assert len(unused) == count - len(back)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state_dict[name], err_msg=name)


def assert_stages_agree(
    reference: Any,
    results: Mapping[str, np.ndarray],
    compared: Iterable[str],
    tolerance: Callable[[str], tuple[float, float]],
) -> None:
    """Stages of STM or HMMN, by largest error and by ratio of root mean squares."""
    wrong = {}
    for key in sorted(compared):
        expected, found = reference[key], results[key]
        assert found.shape == expected.shape, key
        if key == "f1_sim":
            # A softmax tells scores up to a constant.
            expected = expected - expected.mean(-1, keepdims=True)
            found = found - found.mean(-1, keepdims=True)
        error = np.abs(found - expected).max()
        ratio = np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())
        largest, largest_ratio = tolerance(key)
        if not (error <= largest and ratio <= largest_ratio):
            wrong[key] = (float(error), float(ratio))
    assert not wrong


def tolerance(key: str) -> tuple[float, float]:
    """Some twenty times the distance of STM's program, and HMMN's, from float64."""
    if key.endswith("_guidance"):
        return 1e-6, 1e-6
    if key.endswith("_attn"):
        return 1e-5, 1e-4
    if key == "f1_sim":
        return 1e-4, 1e-4
    if key.endswith("_prob"):
        return (2e-5 if key == "f1_prob" else 1e-4), 1e-4
    if key.startswith("mem1_in"):
        return 2e-5, 1e-4
    return 1e-4, 1e-5
