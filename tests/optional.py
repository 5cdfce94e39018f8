"""Packages of extras: files of tests skip without them, and import them when they run.

Where nothing is compiled yet, to import PyTorch and TensorFlow takes half a minute, in
every process that collects tests.
"""

import importlib
import importlib.util
from typing import Any

import pytest


def needs(name: str) -> None:
    """Skips the file that calls it where a package is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)


class Lazily:
    """Stands for a package that is imported when anything of it is used."""

    def __init__(self, name: str) -> None:
        needs(name)
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):
            # Whoever collects tests asks everything whether it is one.
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
