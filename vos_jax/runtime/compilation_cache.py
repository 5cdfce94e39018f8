"""Compiled programs kept between runs."""

import os
from pathlib import Path

import jax

from vos_jax.errors import InputError, warn

_MOST_BYTES = 1 << 30
# Programs that compile faster than this are not worth a file.
_LEAST_S = 0.05


def cache_folder() -> Path:
    """Where the command line keeps compiled programs: the user's cache folder.

    Raises:
      RuntimeError: The user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vos_jax"


def keep_programs() -> None:
    """Keeps compiled programs in the user's cache folder, if there can be one.

    The key of a program holds all that it depends on: versions, processor, device. The
    folder may be removed at any time; beyond 1 GiB what was used longest ago goes.

    Raises:
      InputError: As `use_compilation_cache`: the folder is not safe to use.
    """
    try:
        folder = cache_folder()
        _make_private(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "permission denied")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        warn(
            f"compiled programs are not kept for the next run: {reason}; set"
            " XDG_CACHE_HOME to a folder of your own, or give --no-compilation-cache"
        )
    else:
        use_compilation_cache(folder)


def use_compilation_cache(folder: Path) -> None:
    """Keeps compiled programs in a folder that only this user may write to.

    What lies there is executed: a folder that others can write to would let them run
    their code in this process.

    Raises:
      InputError: The folder cannot be made, belongs to somebody else, or others may
        write to it.
    """
    try:
        _make_private(folder)
        status = folder.stat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be made: {reason}") from error
    # Windows has neither; what is in a user's folder is that user's there.
    is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not is_own or (os.name == "posix" and status.st_mode & 0o022):
        raise InputError(
            f"{folder}: others may write to it, so its programs are not safe to run;"
            " make it your own and `chmod 700` it, or give --no-compilation-cache"
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_S)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
