"""How a program ends: `vos-jax` and the scripts of `experiments/` alike."""

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vos_jax.errors import InputError, InputWarning


def run_script(name: str, run: Callable[[], None], debug: bool = False) -> int:
    """Runs a program; what is said about its input becomes one line on stderr each.

    Args:
      name: Of the program, for that line.
      run: The program.
      debug: Show the traceback of an error as well.

    Returns:
      The exit status: 0 on full success, 2 for bad input, 130 when interrupted.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _warnings_as_lines(name):
            run()
        sys.stdout.flush()
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print(f"{name}: interrupted; what is written is whole", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe left; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Every `InputWarning` as a line on stderr, once for each text."""
    told: set[str] = set()
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if not issubclass(category, InputWarning):
            others(message, category, *rest)
        elif str(message) not in told:
            told.add(str(message))
            print(f"{program}: note: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
