"""Progress of anything that takes more than a few seconds."""

import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import jax
from tqdm import tqdm

_LINE_EVERY_S = 10.0
# What compiles faster than this is not worth a line.
_TELL_AFTER_S = 1.0

# JAX tells how long each part of making a program took when the part ends; between
# these two it compiles, or fetches what was compiled before.
_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Progress:
    """A bar on a terminal; elsewhere a plain line every ten seconds, on stderr.

    While a program is compiled either says so, for then nothing else moves.

    Attributes:
      note: What else to show from the next update on.
    """

    def __init__(self, label: str, total: int | None, unit: str = "frame") -> None:
        """Shows nothing before the first `update`."""
        self._label, self._total, self._unit = label, total, unit
        self._count, self._started = 0, time.monotonic()
        self._lock = threading.Lock()
        self._next_line = self._started + _LINE_EVERY_S
        self._next_compiling = self._started
        self.note = ""
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True)
        self._compilations = _Compilations(self._compiling, self._compiled)

    def update(self, count: int = 1) -> None:
        """Counts work done, by any thread."""
        with self._lock:
            self._count += count
            if self._bar is not None:
                self._bar.set_postfix_str(self.note, refresh=False)
                self._bar.update(count)
            elif time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + _LINE_EVERY_S
                self._print_line()

    def leave_out(self, count: int) -> None:
        """Says that some of the total is done already, or will not be."""
        with self._lock:
            if self._total is not None:
                self._total -= count
                if self._bar is not None:
                    self._bar.total = self._total

    def _print_line(self) -> None:
        seconds = time.monotonic() - self._started
        rate = self._count / seconds
        line = f"{self._place()} {self._unit}s, {rate:.2f}/s"
        if self._total:
            line += f", {(self._total - self._count) / rate:.0f} s left"
        if self.note:
            line += f"; {self.note}"
        print(line, file=sys.stderr, flush=True)

    def _place(self) -> str:
        of = f"/{self._total}" if self._total else ""
        return f"{self._label}: {self._count}{of}"

    def _compiling(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str("compiling a program")
        elif (now := time.monotonic()) >= self._next_compiling:
            self._next_compiling = now + _LINE_EVERY_S
            line = f"{self._place()} {self._unit}s, compiling a program"
            print(line, file=sys.stderr, flush=True)

    def _compiled(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self.note)

    def __enter__(self) -> Self:
        self._compilations.watch()
        return self

    def __exit__(self, *_: object) -> None:
        self._compilations.leave()
        if self._bar is not None:
            self._bar.close()


class _Compilations:
    """Calls one function when a compilation takes long, another when that one ends."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._begin, self._end = begin, end
        self._timer: threading.Timer | None = None
        # Programs of several threads may be made at once.
        self._lock = threading.Lock()

    def watch(self) -> None:
        _listen()
        _watching.append(self)

    def leave(self) -> None:
        _watching.remove(self)
        with self._lock:
            self._stop()

    def hear(self, event: str) -> None:
        with self._lock:
            if event == _LOWERED:
                self._stop()
                self._timer = threading.Timer(_TELL_AFTER_S, self._begin)
                self._timer.daemon = True
                self._timer.start()
            elif event == _COMPILED:
                self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None
            self._end()


# The last one is the innermost.
_watching: list[_Compilations] = []


@cache
def _listen() -> None:
    """Listens from now on; older versions of JAX have no way to stop."""
    jax.monitoring.register_event_duration_secs_listener(_hear)


def _hear(event: str, duration_secs: float, **_: Any) -> None:
    if _watching:
        _watching[-1].hear(event)
