"""Reading a checkpoint, of which Orbax's readers say nothing but what is raised.

Orbax reads all arrays of a checkpoint at once, in an event loop that it closes as soon
as the first of them fails. The others come back to a loop that is closed, or with
errors that nobody awaits: a traceback each, at some later time, from threads of
TensorStore. Here the loop waits for its readers, and what they say is dropped.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Restores of this thread leave no reader behind and print nothing.

    Other threads keep their event loops, and what they log is shown.
    """
    reader = threading.get_ident()
    make_loop, asyncio.new_event_loop = asyncio.new_event_loop, _by_thread(reader)
    logger = logging.getLogger("absl")

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != reader

    logger.addFilter(is_of_another)
    try:
        yield
    finally:
        logger.removeFilter(is_of_another)
        asyncio.new_event_loop = make_loop


def _by_thread(reader: int) -> Callable[[], asyncio.AbstractEventLoop]:
    make_loop = asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        return _ReadersLoop() if threading.get_ident() == reader else make_loop()

    return new_event_loop


class _ReadersLoop(asyncio.SelectorEventLoop):
    """Closes when all readers are back; the error that was raised stands for all."""

    def __init__(self) -> None:
        super().__init__()
        # Asked when a task is gone whose error nobody wanted.
        self.set_exception_handler(lambda loop, context: None)

    def close(self) -> None:
        """Waits for what still runs."""
        if not self.is_closed() and (tasks := asyncio.all_tasks(self)):
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        super().close()
