"""Compiled programs of a process that runs for long."""

from pathlib import Path

import jax

_MAPS = Path("/proc/self/maps")
_MOST_MAPS = Path("/proc/sys/vm/max_map_count")
_SHARE = 0.6


def drop_programs_if_many() -> None:
    """Drops all compiled programs before there is no room for more.

    Every program of a CPU is some hundred pieces of memory, of which Linux allows a
    process 65,530 by default. One more is an error that nothing recovers from, and
    whoever segments videos of many sizes gets there. What is needed again is compiled
    again, or found in the cache on disk.
    """
    try:
        most = int(_MOST_MAPS.read_text())
        with _MAPS.open("rb") as file:
            count = sum(1 for _ in file)
    except (OSError, ValueError):
        # Only Linux tells, and only there is it known to happen.
        return
    if count > _SHARE * most:
        jax.clear_caches()
