"""How a program ends: `vos-jax` and the scripts of `experiments/` alike."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType

from vos_jax.errors import InputError


def run_script(name: str, run: Callable[[], None], debug: bool = False) -> int:
    """Runs a program; what is wrong with its input becomes one line on stderr.

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
