"""Who may talk to the server: the pages that it has served itself, on this machine.

Other programs and web pages can reach a port of this machine, too. So every address
begins with a random token, the host must be the one that the page was opened with (a
name that somebody has pointed to this machine is none), what changes anything must come
from a page of this server, and nothing is read that is larger than it can be.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from vos_jax.app.address import proof

Scope = MutableMapping[str, Any]
"""What ASGI says of a request."""

Message = MutableMapping[str, Any]
"""An event of ASGI."""

Receive = Callable[[], Awaitable[Message]]
"""Waits for the next event of a request."""

Send = Callable[[Message], Awaitable[None]]
"""Sends an event of the answer."""

App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application as ASGI calls it."""

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self';"
        b" img-src 'self' blob: data:; connect-src 'self'; base-uri 'none';"
        b" form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_PROOF = re.compile("/proof/[0-9a-f]{32}")
_READ = {"GET", "HEAD"}
_CHANGE = {"POST", "PUT"}


class _TooLarge(Exception):
    pass


class Guard:
    """Lets through what may pass, without the token in its path; refuses the rest."""

    def __init__(self, app: App, token: str, port: int, limit: int) -> None:
        """Stands before an app.

        Args:
          app: The ASGI app.
          token: What every path begins with.
          port: That the server listens at.
          limit: Bytes of the largest body.
        """
        self._app, self._token, self._limit = app, token, limit
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._origins = {host.encode(): f"http://{host}".encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or one connection of a WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http" and self._asks_for_proof(scope):
            nonce = scope["path"].rpartition("/")[2]
            await _answer(send, 200, proof(self._token, nonce).encode())
            return
        status = self._refusal(scope)
        if status is not None:
            await _refuse(scope, send, status)
            return
        rest = scope["path"][1 + len(self._token) :]
        inner = {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
        has_answer = is_too_large = False

        async def send_on(message: Message) -> None:
            nonlocal has_answer
            if is_too_large:
                return  # What the app makes of its end has been said already.
            if message["type"] == "http.response.start":
                has_answer = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        left = self._limit

        async def receive_on() -> Message:
            nonlocal left, is_too_large
            message = await receive()
            left -= len(message.get("body") or b"")
            if left < 0:
                if not has_answer:
                    await _refuse(scope, send, 413)
                is_too_large = True
                raise _TooLarge
            return message

        with suppress(_TooLarge):
            await self._app(inner, receive_on, send_on)

    def _asks_for_proof(self, scope: Scope) -> bool:
        """Whether a page asks if this is its server, before it says the token."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return (
            len(hosts) == 1
            and hosts[0] in self._origins
            and scope["method"] == "GET"
            and _PROOF.fullmatch(scope["path"]) is not None
        )

    def _refusal(self, scope: Scope) -> int | None:
        """The status to refuse with; None for what may pass."""
        headers = list(scope["headers"])
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._origins:
            return 403
        first, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode(), self._token.encode()) or not slash:
            return 403
        origins = [value for name, value in headers if name == b"origin"]
        changes = scope["type"] == "websocket" or scope["method"] not in _READ
        if any(value != self._origins[hosts[0]] for value in origins):
            return 403
        if changes and len(origins) != 1:
            return 403
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        # Who knows the address may come from anywhere, as from a file that leads here.
        comes = (b"sec-fetch-mode", b"navigate") in headers and not rest
        allowed = (b"same-origin", b"none", *((b"cross-site",) if comes else ()))
        if any(value not in allowed for value in sites):
            return 403
        if scope["type"] == "http" and scope["method"] not in _READ | _CHANGE:
            return 405
        lengths = [value for name, value in headers if name == b"content-length"]
        if any(not x.isdigit() or int(x) > self._limit for x in lengths):
            return 413
        return None


async def _refuse(scope: Scope, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, this is the status 403.
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, status, b"refused\n")


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
