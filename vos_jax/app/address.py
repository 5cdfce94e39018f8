"""Where the page of a project is found: a port of this machine, and a token.

Both are noted in the project's folder, for the user's eyes alone, and taken again if
the port is free. So a page that is still open goes on with a server that was started
anew. That another program has taken the port meanwhile it notices before it says the
token: the server proves first that it knows it.
"""

import hashlib
import hmac
import html
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
    if port is not None and not 0 < port < 1 << 16:
        raise InputError(f"--port {port}: use 1 to 65535, or none for any that is free")
    before, token = _read(folder)
    wanted = before if port is None else port
    listening = None
    try:
        listening = _bind(wanted or 0)
    except OSError as error:
        if port is not None:
            raise InputError(
                f"--port {port}: {error.strerror}; use another one, or none for any"
                " that is free"
            ) from error
        listening = _bind(0)
    found = listening.getsockname()[1]
    # Whoever has the port of before may have been told the token of before.
    if token is None or found != before:
        token = secrets.token_urlsafe(24)
    _write(folder, found, token)
    return listening, token


def proof(token: str, nonce: str) -> str:
    """What only a server that knows the token can answer to a number used once."""
    return hmac.new(token.encode(), nonce.encode(), hashlib.sha256).hexdigest()


def page_file(folder: Path, address: str) -> Path:
    """A file that leads to the page, for the user's eyes alone.

    Every user can read the command line that opens a browser, which so has no token.

    Raises:
      InputError: It cannot be written.
    """
    path = folder / "open.html"
    _write_private(
        path, f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">'
    )
    return path


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
    _write_private(folder / _FILE, json.dumps({"port": port, "token": token}))


def _write_private(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
