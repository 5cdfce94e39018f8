"""The server of the page: HTTP for frames, masks and commands, a WebSocket for news.

Every change is a request that is answered when it is on disk; the socket carries
messages to the pages alone.
"""

import asyncio
import inspect
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any

from vos_jax.app.drawn import printable
from vos_jax.app.guard import Guard
from vos_jax.app.project import Conflict
from vos_jax.app.session import WIDTHS, Busy, Message, Session
from vos_jax.errors import InputError

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_COMMANDS = (
    "track",
    "stop",
    "undo",
    "redo",
    "add_object",
    "change_object",
    "delete_object",
    "end_object",
    "forget",
    "export",
)
# A label map in the worst case takes two bytes a pixel; commands are short.
_COMMAND_BYTES = 1 << 16
_MOST_PAGES = 16
_COMMANDS_AT_ONCE = 4
# Messages that may wait for a page that does not read; then it has to come anew.
_MOST_WAITING = 20_000


def serve(session: Session, listening: socket.socket, token: str) -> None:
    """Serves a session until the process is interrupted, which is raised again.

    Args:
      session: What the pages work on.
      listening: From `address.listen`.
      token: That every address begins with.
    """
    import uvicorn

    config = uvicorn.Config(
        guarded_app(session, token, listening.getsockname()[1]),
        access_log=False,
        log_level="warning",
        server_header=False,
        ws_max_size=_COMMAND_BYTES,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])


def guarded_app(session: Session, token: str, port: int) -> Guard:
    """The ASGI app of a session, with its guard."""
    height, width = session.frame_size
    limit = max(2 * height * width, _COMMAND_BYTES)
    return Guard(_app(session), token, port, limit)


def _app(session: Session) -> Any:
    from anyio import CapacityLimiter, to_thread
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    files = _page_files()
    pages: set[WebSocket] = set()
    limiters: list[CapacityLimiter] = []

    async def ordered(function: Callable[..., Any], **given: Any) -> Any:
        """Has a command done by one of few threads, so that frames are not kept."""
        if not limiters:
            limiters.append(CapacityLimiter(_COMMANDS_AT_ONCE))
        work = partial(function, **given)
        return await to_thread.run_sync(work, limiter=limiters[0])

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise HTTPException(404)
        content, kind = files[name]
        headers = {"cache-control": "no-cache"}
        return Response(content, media_type=kind, headers=headers)

    async def project(request: Request) -> Response:
        state = await run_in_threadpool(session.describe)
        return JSONResponse(state, headers={"cache-control": "no-store"})

    async def frame(request: Request) -> Response:
        width = request.query_params.get("width")
        if width is not None and width not in map(str, WIDTHS):
            raise InputError(f"width={width[:20]!r}: one of {WIDTHS}")
        content = await run_in_threadpool(
            session.frame,
            _index(request),
            None if width is None else int(width),
        )
        headers = {"cache-control": "private, max-age=86400, immutable"}
        return Response(content, media_type="image/jpeg", headers=headers)

    async def labels(request: Request) -> Response:
        content, version = await run_in_threadpool(session.labels, _index(request))
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"version": version, "cache-control": "no-store"},
        )

    async def draw(request: Request) -> Response:
        version = await ordered(
            session.draw,
            index=_index(request),
            data=await request.body(),
            version=request.headers.get("version", ""),
            what=request.query_params.get("what", "brush"),
        )
        return JSONResponse({"version": version})

    async def command(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _COMMANDS:
            raise HTTPException(404)
        function = getattr(session, name)
        given = _arguments(function, name, await request.body())
        return JSONResponse(await ordered(function, **given))

    async def events(page: WebSocket) -> None:
        if len(pages) >= _MOST_PAGES:
            await page.close(1013)
            return
        await page.accept()
        pages.add(page)
        queue: asyncio.Queue[Message] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(message: Message) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, message)

        end = session.listen(put)
        sender = asyncio.create_task(_send_all(page, queue, session))
        receiver = asyncio.create_task(page.receive())
        try:
            # A page says nothing here: whatever comes is its end.
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
        finally:
            end()
            pages.discard(page)
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)
            try:
                await page.close()
            except (RuntimeError, WebSocketDisconnect):
                pass

    def refuse(request: Request, error: Exception) -> Response:
        status = 409 if isinstance(error, Conflict | Busy) else 400
        return JSONResponse({"error": printable(str(error))}, status_code=status)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(session.stop)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/page/{name}", page),
            Route("/project", project),
            Route("/frames/{index}", frame),
            Route("/labels/{index}", labels, methods=["GET"]),
            Route("/labels/{index}", draw, methods=["PUT"]),
            Route("/commands/{name}", command, methods=["POST"]),
            WebSocketRoute("/events", events),
        ],
        exception_handlers={InputError: refuse},
        lifespan=lifespan,
    )
    # It would lead to addresses without the token.
    app.router.redirect_slashes = False
    return app


def _index(request: Any) -> int:
    """The index of a frame in a path.

    Raises:
      InputError: It is none.
    """
    index = request.path_params["index"]
    if not re.fullmatch("[0-9]{1,9}", index):
        raise InputError("frame: its index is a number from 0")
    return int(index)


async def _send_all(page: Any, queue: asyncio.Queue[Message], session: Session) -> None:
    """Sends the state, then every message; ends when the page does not keep up."""
    state = await asyncio.to_thread(session.describe)
    await page.send_json({"type": "project", **state})
    while queue.qsize() < _MOST_WAITING:
        await page.send_json(await queue.get())


def _page_files() -> dict[str, tuple[bytes, str]]:
    """What is served: the files of the page, read once, by their names."""
    files = {}
    for entry in (resources.files("vos_jax.app") / "page").iterdir():
        suffix = f".{entry.name.rpartition('.')[2]}"
        if suffix in _KINDS:
            files[entry.name] = entry.read_bytes(), _KINDS[suffix]
    return files


def _arguments(function: Callable[..., Any], name: str, body: bytes) -> dict[str, Any]:
    """The arguments of a command, as its function has them.

    Raises:
      InputError: The body is no JSON object, or has others.
    """
    if len(body) > _COMMAND_BYTES:
        raise InputError(f"{name}: too much of a command")
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: no JSON") from error
    if not isinstance(given, dict):
        raise InputError(f"{name}: no JSON object")
    parameters = inspect.signature(function).parameters
    for key, value in given.items():
        if key not in parameters:
            raise InputError(f"{name}: takes no {key[:20]!r}")
        if not _fits(value, parameters[key].annotation):
            raise InputError(f"{name}: {key} is {str(value)[:20]!r}")
    missing = [
        key
        for key, each in parameters.items()
        if each.default is each.empty and key not in given
    ]
    if missing:
        raise InputError(f"{name}: {missing[0]} is missing")
    return given


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a JSON value is of a type; a bool is no integer here."""
    kinds = getattr(annotation, "__args__", (annotation,))
    return type(value) in kinds
