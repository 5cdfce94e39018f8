"""One process at a time in a folder."""

import os
import time
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


_PAUSE_S = 0.05


@contextmanager
def lock_folder(folder: str | Path, wait_s: float = 0) -> Iterator[None]:
    """Makes a folder and keeps other processes that ask for it out of it.

    The lock leaves no file, and the system drops it with the process, however that
    ends. Windows and some network file systems have no such locks; nothing is kept
    out there.

    Args:
      folder: Which one.
      wait_s: Seconds to wait for another process to leave it.

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
        _lock(folder, descriptor, time.monotonic() + wait_s)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int, deadline: float) -> None:
    assert fcntl is not None
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
                continue
            raise InputError(
                f"{folder}: another process is writing into it; wait for its end or use"
                " another --out"
            ) from error
        except OSError:
            # The file system has none: as if nobody else were there.
            pass
        return
