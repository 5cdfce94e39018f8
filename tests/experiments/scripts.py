"""The scripts of `experiments/`, which are no package, as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

_FOLDER = Path(__file__).parents[2] / "experiments"


def script(name: str) -> ModuleType:
    """`rde/tables` is `experiments/rde/tables.py`."""
    path = _FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
