"""A background thread that keeps a few items of an iterable ready."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

_T = TypeVar("_T")


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetch(iterable: Iterable[_T], depth: int = 2) -> Iterator[_T]:
    """Yields the items of `iterable`, taken by a thread up to `depth` ahead.

    The thread starts with the first item asked for. It ends, and closes a generator it
    reads from, with the iterable or when the consumer stops (is closed or dropped).
    What the iterable raises is raised here, after the items before it.

    Raises:
      ValueError: `depth` is less than 1.
    """
    if depth < 1:
        raise ValueError(f"depth={depth} leaves no room for an item; use at least 1")
    return _consume(iterable, depth)


def _consume(iterable: Iterable[_T], depth: int) -> Iterator[_T]:
    queue: Queue = Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(iterable, queue, stopped), name="prefetch", daemon=True
    )
    thread.start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        # One put can be waiting for room; the thread sees `stopped` right after it.
        with suppress(Empty):
            while True:
                queue.get_nowait()
        thread.join()


def _produce(iterable: Iterable[_T], queue: Queue, stopped: threading.Event) -> None:
    last: object = _END
    try:
        items = iter(iterable)
        try:
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    break
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
    except BaseException as error:
        last = _Raised(error)
    if not stopped.is_set():
        queue.put(last)
