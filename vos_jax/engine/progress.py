"""Progress of anything that takes more than a few seconds."""

import sys
import time
from typing import Self

from tqdm import tqdm

_LINE_EVERY_S = 10.0


class Progress:
    """A bar on a terminal; elsewhere a plain line every ten seconds, on stderr.

    Attributes:
      note: What else to show from the next update on.
    """

    def __init__(self, label: str, total: int | None, unit: str = "frame") -> None:
        """Shows nothing before the first `update`."""
        self._label, self._total, self._unit = label, total, unit
        self._count, self._started = 0, time.monotonic()
        self._next_line = self._started + _LINE_EVERY_S
        self.note = ""
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True)

    def update(self, count: int = 1) -> None:
        """Counts work done."""
        self._count += count
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            self._print_line()

    def _print_line(self) -> None:
        seconds = time.monotonic() - self._started
        rate = self._count / seconds
        of = f"/{self._total}" if self._total else ""
        line = f"{self._label}: {self._count}{of} {self._unit}s, {rate:.2f}/s"
        if self._total:
            line += f", {(self._total - self._count) / rate:.0f} s left"
        if self.note:
            line += f"; {self.note}"
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
