"""Signals that wait for the end of the frame."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def delayed_signals() -> Iterator[Callable[[], None]]:
    """Holds back SIGINT and SIGTERM; yields a function that lets a waiting one act.

    Between the start and the end of a step the old state is already given away and the
    new one not yet taken over: an exception there would lose both. A second signal does
    not wait. Signals without a Python handler, and all of them outside of the main
    thread, are left alone.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        found = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        handlers = {n: handler for n, handler in found.items() if callable(handler)}
    waiting: list[tuple[int, FrameType | None]] = []

    def delay(signum: int, frame: FrameType | None) -> None:
        waiting.append((signum, frame))
        if len(waiting) > 1:
            handlers[signal.Signals(signum)](signum, frame)

    def act() -> None:
        if waiting:
            signum, frame = waiting.pop()
            handlers[signal.Signals(signum)](signum, frame)

    for number in handlers:
        signal.signal(number, delay)
    try:
        yield act
        act()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
