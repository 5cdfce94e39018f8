"""Everything that wants a device, in one run of some minutes: a GPU is often lent.

    python benchmarks/device.py --out benchmarks/results --minutes 8
    python benchmarks/device.py --small

Needs what `pip install .` brings, and nothing is downloaded; PyTorch is timed beside it
where it is installed. What is measured, in the order of its worth:

- `ceilings`: of matrix products and copies, which shares are of.
- `correct`: every form of every read against the reference on the CPU.
- `models`: frames/s of every method, with one object and with three.
- `reads`: all forms, block budgets, Pallas, the k best cells.
- `train`: clips/s and MFU of the step of `experiments/stm/main` on generated clips.
- `torch`: the published programs in PyTorch, eager and by `torch.compile`.
- `many`: frames/s of every method with several videos at once.
- `more`: `models` again for other memories and for float32.

`device.json` is written again after every job, so that nothing is lost when the time is
over; what is left out then, or fails, is named in it. A job that would take longer than
what is left does not begin. `--small` runs all of it in two minutes on a CPU, to try it
out. What the figures mean: `docs/accelerators.md`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import device_many
import device_models
import device_reads
import device_torch
import device_train
from device_timing import Bench, full, small

from vos_jax.bench.measure import measure_ceilings
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.media import atomic_path, make_folder
from vos_jax.runtime.machine import machine
from vos_jax.runtime.text_table import describe, text_table

NAME = "device"


class Job(NamedTuple):
    """Something to measure.

    Attributes:
      part: As above.
      name: Of it in that part.
      needs_s: Seconds that it is expected to take; with less left it does not begin.
      run: Gives its rows.
    """

    part: str
    name: str
    needs_s: float
    run: Callable[[], Sequence[NamedTuple]]


class Skipped(NamedTuple):
    """What was not measured, and why."""

    part: str
    name: str
    reason: str


class Ceiling(NamedTuple):
    """What this device reaches.

    Attributes:
      dtype: Of the products, which are added up in float32.
      precision: Of the products, as the methods ask for it.
      gflop_per_s: Of the fastest large square product.
      copy_gb_per_s: Of a large copy, read and written bytes together.
    """

    dtype: str
    precision: str
    gflop_per_s: float
    copy_gb_per_s: float


class Results:
    """What is known so far; a file that is whole at any time."""

    def __init__(self, folder: Path | None, facts: dict[str, Any]) -> None:
        self._path = None if folder is None else make_folder(folder) / f"{NAME}.json"
        self._facts = facts
        self.rows: dict[str, list[NamedTuple]] = {}
        self.skipped: list[Skipped] = []
        self.save()

    def add(self, part: str, rows: Sequence[NamedTuple]) -> None:
        """Rows of a part; they are on the disk when this returns."""
        self.rows.setdefault(part, []).extend(rows)
        self.save()

    def skip(self, job: Job, reason: str) -> None:
        """What there are no rows of."""
        self.skipped.append(Skipped(job.part, job.name, reason))
        self.save()

    def save(self) -> None:
        """Writes all of it."""
        if self._path is None:
            return
        parts = {part: [x._asdict() for x in rows] for part, rows in self.rows.items()}
        skipped = [each._asdict() for each in self.skipped]
        content = {**self._facts, "parts": parts, "skipped": skipped}
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("--out", type=Path, help="folder of device.json")
    args = parser.parse_args(argv)
    return run_script(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Job after job until the time is over."""
    if args.minutes <= 0:
        raise InputError(f"--minutes {args.minutes:g}: use more than 0")
    started = time.monotonic()
    bench = small() if args.small else full()
    facts = {
        "machine": machine()._asdict(),
        "torch": device_torch.version(),
        "minutes": args.minutes,
        "small": args.small,
        "size": bench.size,
    }
    results = Results(args.out, facts)
    print(describe(machine()), file=sys.stderr, flush=True)
    for job in jobs(bench, args.parts):
        elapsed = time.monotonic() - started
        left = 60 * args.minutes - elapsed
        label = f"{elapsed:4.0f} s  {job.part}: {job.name}"
        if left < job.needs_s:
            results.skip(job, f"{left:.0f} s were left, it takes {job.needs_s:.0f} s")
            print(f"{label}: left out", file=sys.stderr, flush=True)
            continue
        print(label, file=sys.stderr, flush=True)
        try:
            results.add(job.part, job.run())
        except Exception as error:
            # One part that fails must not cost the others their device.
            results.skip(job, one_line(error))
            print(f"  failed: {one_line(error)}", file=sys.stderr, flush=True)
    for part, rows in results.rows.items():
        print(f"\n{part}\n\n{text_table(rows)}")
    if results.skipped:
        print(f"\nleft out\n\n{text_table(results.skipped)}")


def one_line(error: Exception) -> str:
    """What an error says, shortened."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


PARTS = ("ceilings", "correct", "models", "reads", "train", "torch", "many", "more")


def jobs(bench: Bench, parts: Sequence[str]) -> Iterator[Job]:
    """All that is to be measured, the most wanted first."""
    makers: dict[str, Callable[[Bench], Iterator[tuple[Any, ...]]]] = {
        "ceilings": ceiling_jobs,
        "correct": device_reads.correct_jobs,
        "models": device_models.first_jobs,
        "reads": device_reads.timed_jobs,
        "train": device_train.jobs,
        "torch": device_torch.jobs,
        "many": device_many.jobs,
        "more": device_models.more_jobs,
    }
    for part in PARTS:
        # Shares need the ceilings, whatever else is asked for.
        if part in parts or part == "ceilings":
            for name, needs_s, measure in makers[part](bench):
                yield Job(part, name, 0 if bench.small else needs_s, measure)


def ceiling_jobs(bench: Bench) -> Iterator[tuple[Any, ...]]:
    """One job, whose ceilings the others find in `bench`."""

    def measure() -> list[Ceiling]:
        ceilings = measure_ceilings(bench.dtypes, "highest", bench.small)
        bench.ceilings = ceilings
        copied = ceilings.bytes_per_s / 1e9
        return [
            Ceiling(dtype, "highest", flops / 1e9, copied)
            for dtype, flops in ceilings.flops.items()
        ]

    yield "ceilings", 10, measure


if __name__ == "__main__":
    raise SystemExit(main())
