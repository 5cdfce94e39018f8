"""Many videos at once, of `device.py`: `many`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from device_timing import Bench
from programs import random_weights

import vos_jax
from vos_jax.bench.many import ManyOptions, bench_many


class Row(NamedTuple):
    """Some videos at once on the first device, as `vos-jax bench many` times them.

    Attributes:
      method: Its name.
      dtype: Compute type.
      videos: At once.
      frames_per_s: Of all together, from frames on the host to labels there.
      ratio: To one at a time, run beside it.
      state_mb: All that is kept between two frames, of all videos.
      device_mb: The most that this process has had on the device so far.
    """

    method: str
    dtype: str
    videos: int
    frames_per_s: float
    ratio: float
    state_mb: float
    device_mb: float | None


def jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """A job for each method, in the fast type."""
    for name in bench.methods[:1] if bench.small else bench.methods:
        yield name, 60, lambda name=name: measure(bench, name)


def measure(bench: Bench, name: str) -> list[Row]:
    """A row for each number of videos."""
    dtype, (height, width) = bench.dtypes[0], bench.size
    method = vos_jax.create(name, dtype=dtype)
    sizes = {"height": height, "width": width}
    options = (
        ManyOptions(videos=(1, 2), frames=3, **sizes)
        if bench.small
        else ManyOptions(videos=(1, 4, 8), frames=40, **sizes)
    )
    rows = bench_many(method, random_weights(method), options)
    return [
        Row(name, dtype, x.videos, x.frames_per_s, x.ratio, x.state_mb, x.device_mb)
        for x in rows
    ]
