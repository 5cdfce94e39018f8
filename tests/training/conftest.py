"""One compilation mode for all tests of this folder."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def always_quick(quick_compilation: None) -> None:
    """Every test of this folder compiles networks."""
