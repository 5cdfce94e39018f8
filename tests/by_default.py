"""Parameters of which some are left to the slow tests."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def by_default(values: Iterable[Any], often: Collection[Any] = ()) -> list[Any]:
    """Parameters: those of `often` are tested by default, the others are slow."""
    return [
        x if x in often else pytest.param(x, marks=pytest.mark.slow) for x in values
    ]
