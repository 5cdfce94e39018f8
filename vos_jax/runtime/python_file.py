"""Running other people's Python files: a method, an experiment."""

import importlib.util
import sys
import zlib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from vos_jax.errors import InputError

_MODULES: dict[tuple[Path, int], ModuleType] = {}


def python_file_id(path: Path) -> str:
    """Names a file by the checksum of its content.

    Raises:
      InputError: It cannot be read.
    """
    return f"{_checksum(path):08x}"


def run_python_file(path: Path) -> ModuleType:
    """The module that a file makes: the same one until the file changes.

    The classes of two runs would be two methods to `jax.jit`.

    Raises:
      InputError: It is no Python file, or running it fails.
    """
    resolved = path.resolve()
    version = resolved, _checksum(path)
    if version not in _MODULES:
        name = f"vos_jax_file_{path.stem}_{zlib.crc32(str(version).encode()):08x}"
        _MODULES[version] = _run(name, resolved, path)
    return _MODULES[version]


def _checksum(path: Path) -> int:
    try:
        return zlib.crc32(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error


class _Uncached(SourceFileLoader):
    """Always compiles: Python may take bytecode of a file of that size and second."""

    def get_code(self, fullname: str) -> CodeType:
        """Returns the file's code."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _run(name: str, resolved: Path, shown: Path) -> ModuleType:
    loader = _Uncached(name, str(resolved))
    spec = importlib.util.spec_from_file_location(name, resolved, loader=loader)
    if resolved.suffix != ".py" or spec is None:
        raise InputError(f"{shown}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and pickle look for the module of a class.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        reason = str(error).split("\n")[0]
        raise InputError(f"{shown}: {type(error).__name__}: {reason}") from error
    return module
