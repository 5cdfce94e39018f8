"""Files that are either whole or not there."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vos_jax.errors import InputError

TEMPORARY = ".*.*-*.tmp"
"""Matches the names of files that are not whole."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(InputError):
    """There is no room left where a file was to be written."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a name beside `path`; what is written there becomes `path` at the end.

    When the body raises, the file of that name is removed and `path` is left as it was.
    The temporary name starts with a dot and ends in `.tmp`, so that no pattern for the
    finished files finds it after a crash.

    Raises:
      InputError: For every OSError of the body: the disk is full, no permission.
    """
    path = Path(path)
    owner = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{owner}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_error(path: str | Path, error: OSError) -> InputError:
    """Makes the one-line error of a file that could not be written."""
    path = Path(path)
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        remedy = "free some space and run again, if it can with --resume"
        return DiskFull(f"cannot write {path}: {reason}; {remedy}")
    if error.errno == errno.ENOENT:
        remedy = f"make the folder {path.parent} first"
    else:
        remedy = (
            f"check that {path.parent} is writable and has space, "
            "then run again, if it can with --resume"
        )
    return InputError(f"cannot write {path}: {reason}; {remedy}")


def make_folder(folder: str | Path) -> Path:
    """The folder, which exists then.

    Raises:
      InputError: It cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise write_error(folder, error) from error
        reason = error.strerror or str(error)
        raise InputError(
            f"{folder}: cannot be made: {reason}; use another folder"
        ) from error
    return folder
