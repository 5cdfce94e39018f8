"""Signals that wait for the end of the frame, or of the step of all processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import jax
from jax.experimental import multihost_utils


class AgreedInterrupt(KeyboardInterrupt):
    """All processes of a run stop here, after the same step."""


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


@contextmanager
def agreed_signals() -> Iterator[Callable[[int], None]]:
    """As `delayed_signals`, for a run that may have several processes.

    Yields a function that each process calls after every step with the number of steps
    done; there all stop after the same one, whichever of them got a signal. A process
    that stopped by itself would leave the others waiting for its part of the next step
    for ever.

    JAX's preemption service does the agreeing, in threads of its own: the device waits
    for nothing. It listens to SIGTERM from `jax.distributed.initialize` on, so here
    SIGINT becomes that. A second SIGINT does not wait.

    Raises:
      AgreedInterrupt: By the yielded function, in all processes.
    """
    if jax.process_count() == 1:
        with delayed_signals() as act:
            yield lambda done: act()
        return
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)

    def pass_on(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        os.kill(os.getpid(), signal.SIGTERM)

    def stop_together(done: int) -> None:
        if multihost_utils.reached_preemption_sync_point(done):
            raise AgreedInterrupt

    if in_main and callable(before):
        signal.signal(signal.SIGINT, pass_on)
    try:
        yield stop_together
    finally:
        if in_main and callable(before):
            signal.signal(signal.SIGINT, before)
