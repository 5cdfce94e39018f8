"""Compiled programs kept between runs."""

import os
from pathlib import Path

import jax

from vos_jax.errors import InputError


def use_compilation_cache(folder: Path | None = None) -> Path:
    """Keeps compiled programs in a folder that only this user may write to.

    What lies there is executed: a folder that others can write to would let them run
    their code in this process.

    Args:
      folder: By default `vos_jax` in the user's cache folder.

    Raises:
      InputError: The folder cannot be made, belongs to somebody else, or others may
        write to it.
    """
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "vos_jax"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be made: {reason}") from error
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(
            f"{folder}: others may write to it, so its programs are not safe to run;"
            " make it your own and `chmod 700` it"
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder
