"""One process at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vos_jax.errors import InputError
from vos_jax.media.atomic import make_folder, write_error

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:
    fcntl = None


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Makes a folder and keeps other processes that ask for it out of it.

    The lock leaves no file, and the system drops it with the process, however that
    ends. Windows and some network file systems have no such locks; nothing is kept
    out there.

    Raises:
      InputError: The folder cannot be made, or another process has it.
    """
    folder = make_folder(folder)
    try:
        descriptor = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise write_error(folder, error) from error
    if descriptor is None:
        yield
        return
    try:
        _lock(folder, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int) -> None:
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{folder}: another process is writing into it; wait for its end or use"
            " another --out"
        ) from error
    except OSError:
        # The file system has none: as if nobody else were there.
        return
