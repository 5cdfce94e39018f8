"""More memory than there is: one line in place of a traceback, where sure beforehand.

A computation that does not fit fails in many ways: XLA refuses to compile or to run it,
NumPy and Python cannot allocate, the driver says so. Where the system lends more than
it has, the whole process is killed instead; so what certainly cannot fit is refused
before it is asked for.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax

from vos_jax.errors import InputError

_WORDS = re.compile(
    r"out of memory|out_of_memory|attempting to allocate|unable to allocate"
    r"|cannot allocate memory|failed to alloc(ate)? .*?(\d ?([KMGT]i?)?B\b|\d bytes)"
    r"|alloc_failed|bad_alloc|exceeds? the limit of available memory",
    re.IGNORECASE,
)
# A kernel that asks for too much of these is wrong; no option of a run changes that.
_ON_CHIP = re.compile(r"memory space [vs]mem|shared memory|scoped", re.IGNORECASE)
# XLA's "G" is NumPy's "GiB".
_SIZE = r"(?P<number>\d+(\.\d+)?)\.? ?(?P<prefix>[KMGTPE]?)"
_AMOUNTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\({_SIZE}B\)",
        rf"\bUsed {_SIZE}i?B? of ",
        rf"(?i:alloc\w*)( request for| a buffer of)? {_SIZE}",
    )
)
_PREFIXES = ("", *"KMGTPE")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


class OutOfMemory(InputError, MemoryError):
    """What was asked for does not fit into the memory of the device or the machine."""


class Shortage(NamedTuple):
    """That memory was short.

    Attributes:
      asked: Bytes that were asked for last; None where the error does not say.
    """

    asked: int | None


def shortage(error: BaseException) -> Shortage | None:
    """What an exception, or one that it was raised from, says about missing memory.

    Returns:
      None if it is about something else.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _is_shortage(cause):
            return Shortage(_asked(str(cause)))
        cause = cause.__cause__
    return None


def _is_shortage(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # The lines after the first list what else is in the memory.
    text = str(error).partition("\n")[0]
    # JAX has one type of error for all that XLA and the drivers say.
    is_runtime = isinstance(error, RuntimeError)
    return is_runtime and bool(_WORDS.search(text)) and not _ON_CHIP.search(text)


def _asked(text: str) -> int | None:
    for pattern in _AMOUNTS:
        if found := pattern.search(text):
            return int(
                float(found["number"]) * 1024 ** _PREFIXES.index(found["prefix"])
            )
    return None


@contextmanager
def memory_told(what: str, remedy: str) -> Iterator[None]:
    """Tells of missing memory in one line; any other exception passes unchanged.

    Args:
      what: Is being done, or to which input.
      remedy: What to change to need less.

    Raises:
      OutOfMemory: Memory was short inside. What is inside of another such block has
        the line of that one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        short = shortage(error)
        if short is None:
            raise
        asked = "" if short.asked is None else f": {_text(short.asked)} were asked for"
        raise OutOfMemory(f"{what}: out of memory{asked}; {remedy}") from error


def check_memory(what: str, needed: int, remedy: str, *, devices: int = 1) -> None:
    """Refuses what certainly cannot fit, before any of it is allocated.

    Args:
      what: Needs the memory.
      needed: Bytes on one device.
      remedy: What to change to need less.
      devices: As many that need it. Those of CPUs have one memory together.

    Raises:
      OutOfMemory: All that the device or the machine has is less.
    """
    if jax.local_devices()[0].platform == "cpu":
        needed *= devices
    limit = device_memory()
    if limit is not None and needed > limit:
        raise OutOfMemory(
            f"{what}: out of memory: {_text(needed)} are needed, {_text(limit)} are"
            f" there at most; {remedy}"
        )


def device_memory() -> int | None:
    """Bytes that one device can hold at most; None where nobody says."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return machine_memory() if device.platform == "cpu" else None


def machine_memory() -> int | None:
    """Bytes that this process can have at most: memory, swap, limits of containers.

    None where the system does not say (only Linux does) or has swap without an end.
    """
    try:
        rows = (line.split() for line in _MEMINFO.read_text().splitlines())
        sizes = {row[0]: int(row[1]) * 1024 for row in rows if len(row) > 1}
        total, swap = sizes["MemTotal:"], sizes.get("SwapTotal:", 0)
    except (OSError, ValueError, KeyError):
        return None
    return min([total, *_container_limits()]) + swap


def _container_limits() -> Iterator[int]:
    """Limits of the control groups that this process is in, of both versions."""
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if not controllers:
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / inside.lstrip("/")
        for folder in (group, *group.parents):
            # In a container the path can be one of the host, of which only the root,
            # which is the container itself, is seen.
            if folder.is_relative_to(root):
                yield from _limit(folder / name)


def _limit(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    # The second version writes "max" for none.
    if text.isdecimal():
        yield int(text)


def _text(count: int) -> str:
    """A number of bytes, exactly and to be read."""
    amount, unit = float(count), ""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if amount < 1000 or unit == "PB":
            break
        amount /= 1000
    exact = f"{count} bytes"
    return exact if unit == "bytes" else f"{exact} ({amount:.3g} {unit})"
