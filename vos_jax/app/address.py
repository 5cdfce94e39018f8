"""Where the page of a project is found: a port of this machine, and a token.

Both are noted in the project's folder, for the user's eyes alone, and taken again if
the port is free. So a page that is still open goes on with a server that was started
anew.
"""

import json
import os
import re
import secrets
import socket
from pathlib import Path

from vos_jax.errors import InputError
from vos_jax.media import atomic_path

HOST = "127.0.0.1"
"""This machine alone."""

_FILE = ".address.json"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def listen(folder: Path, port: int | None) -> tuple[socket.socket, str]:
    """A socket that this machine alone can reach, and the token of its addresses.

    Args:
      folder: Of the project.
      port: To listen at; None for the one of before, or any that is free.

    Raises:
      InputError: The port is not free, or the note cannot be written.
    """
    before, token = _read(folder)
    listening = None
    if port is None and before is not None:
        try:
            listening = _bind(before)
        except OSError:
            listening = None
    try:
        listening = listening or _bind(port or 0)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--port {port}: {reason}; use another one, or none for any that is free"
        ) from error
    token = token or secrets.token_urlsafe(24)
    _write(folder, listening.getsockname()[1], token)
    return listening, token


def _bind(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(64)
    except BaseException:
        listening.close()
        raise
    return listening


def _read(folder: Path) -> tuple[int | None, str | None]:
    """Port and token of before; a note that others may have read or made is none."""
    path = folder / _FILE
    try:
        if path.stat().st_mode & 0o077 or path.stat().st_uid != os.getuid():
            return None, None
        noted = json.loads(path.read_text(encoding="utf-8"))
        port, token = int(noted["port"]), str(noted["token"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None
    if not _TOKEN.fullmatch(token) or not 0 < port < 1 << 16:
        return None, None
    return port, token


def _write(folder: Path, port: int, token: str) -> None:
    with atomic_path(folder / _FILE) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"port": port, "token": token}, file)
