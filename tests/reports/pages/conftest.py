"""A small data set with masks of two methods, scored as users score."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import moving_clip, write_davis, write_masks
from vos_jax.cli import main

NAMES = ("alpha", "beta", "gamma")
FRAMES = 6


def write_results(folder: Path, names=NAMES, shift: int = 1) -> Path:
    """Masks that are the annotations, `shift` pixels further right."""
    _, labels = moving_clip(FRAMES + len(names))
    for place, name in enumerate(names):
        window = labels[place : place + FRAMES]
        # The later a sequence comes, the worse it is.
        moved = np.roll(window, shift * (place + 1), axis=2)
        named = {f"{time:05d}": each for time, each in enumerate(moved)}
        write_masks(folder / name, named)
    return folder


def scored(root: Path, masks: Path, out: Path, *more: str) -> Path:
    """What `vos-jax score` writes of masks."""
    command = ["score", "--dataset", "davis2017", "--root", str(root)]
    command += ["--split", "val", "--results", str(masks), "--out", str(out)]
    assert main([*command, *more]) == 0
    return out


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "davis", list(NAMES), FRAMES)


@pytest.fixture
def results(davis: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Folders of the scores of two methods, `near` and `far`."""
    found = []
    for name, shift in (("near", 1), ("far", 3)):
        masks = write_results(tmp_path / "masks" / name, shift=shift)
        found.append(scored(davis, masks, tmp_path / name))
    return found[0], found[1]
