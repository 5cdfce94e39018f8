r"""RDE-VOS, table 5: what is read, and how often it is renewed.

    python experiments/rde/table5.py --dataset davis2017 --root DAVIS --split val \
        --weights rde.safetensors --out report/

A strategy says which embeddings are in the memory: the first frame, once or twice (F,
2F), the latest one that was remembered (L), the recurrent one (RDE). Theta is the
number of frames from one update to the next. One weights file serves all of them. What
is done stays done: the same command goes on where it was stopped.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax import evaluation
from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.engine.evaluate import Progressed, segment_dataset
from vos_jax.engine.model import fingerprint, load_model
from vos_jax.engine.report_table import made, text_table, write_table
from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.methods.base import Method


class Strategy(NamedTuple):
    """Fields of the configuration: what is read, and how often it counts."""

    first: int
    latest: bool
    recurrent: bool

    @property
    def slots(self) -> int:
        """Embeddings in the memory once it is full, a doubled one counted twice."""
        return self.first + self.latest + self.recurrent

    @property
    def renewed(self) -> bool:
        """Whether anything in the memory changes with time, so that theta matters."""
        return self.latest or self.recurrent


STRATEGIES: Mapping[str, Strategy] = {
    "RDE": Strategy(0, False, True),
    "F": Strategy(1, False, False),
    "F+RDE": Strategy(1, False, True),
    "2F+RDE": Strategy(2, False, True),
    "L": Strategy(0, True, False),
    "L+RDE": Strategy(0, True, True),
    "F+L": Strategy(1, True, False),
    "2F+L": Strategy(2, True, False),
    "F+L+RDE": Strategy(1, True, True),
    "2F+L+RDE": Strategy(2, True, True),
}
"""The last one is the published setting."""


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      strategy: One of `STRATEGIES`.
      theta: None where it makes no difference.
      slots: In memory.
      j_and_f: In [0, 1], as the next two.
      j: Region similarity.
      f: Contour accuracy.
      frames_per_s: From files to files; None where every video is too short to tell.
    """

    strategy: str
    theta: int | None
    slots: int
    j_and_f: float
    j: float
    f: float
    frames_per_s: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--dataset", default="davis2017", choices=("davis2016", "davis2017")
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", default="val", metavar="NAME")
    parser.add_argument("--method", default="rde", metavar="NAME", help="or rde-tiny")
    parser.add_argument("--weights", type=Path, metavar="PATH")
    parser.add_argument(
        "--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES
    )
    parser.add_argument("--theta", type=int, nargs="+", default=[3], metavar="N")
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute with the shorter side at N"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    return run_script("table5", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Evaluates, prints the table and writes `table5.csv` and `.json`."""
    options.positive(args, "size")
    sequences = evaluation.read_dataset(args.dataset, args.root, args.split)
    settings = _settings(args.strategies, args.theta)
    rows = []
    for number, (name, theta) in enumerate(settings, 1):
        label = name if theta is None else f"{name}_theta{theta}"
        print(f"{label} ({number}/{len(settings)})", file=sys.stderr, flush=True)
        every = {} if theta is None else {"mem_every": theta}
        strategy = STRATEGIES[name]
        model = load_model(args.method, args.weights, **every, **strategy._asdict())
        weights_id = fingerprint(args.method, args.weights)
        figures = _Figures(args.out / f"{args.dataset}_{args.split}" / label)
        figures.segment(*model, sequences, weights_id=weights_id, size=args.size)
        scores = figures.score(args.dataset, args.root, args.split)
        rows.append(Row(name, theta, strategy.slots, *scores, figures.rate))
    print(text_table(rows))
    notes = {"dataset": args.dataset, "split": args.split, "weights": weights_id}
    write_table(args.out, "table5", rows, notes)


def _settings(
    strategies: Sequence[str], thetas: Sequence[int]
) -> list[tuple[str, int | None]]:
    """Strategies with each theta, those where it matters; each once."""
    if min(thetas) < 1:
        raise InputError(f"--theta {min(thetas)}: use at least 1")
    pairs = [
        (name, theta if STRATEGIES[name].renewed else None)
        for name in strategies
        for theta in thetas
    ]
    return list(dict.fromkeys(pairs))


class _Figures:
    """Masks, speeds and scores of a strategy in a folder, which outlive an interrupt.

    `figures.json` holds frames and frames/s of each sequence, and once all of them are
    segmented the scores.
    """

    def __init__(self, folder: Path) -> None:
        self._masks, self._file = folder / "masks", made(folder) / "figures.json"
        self._speeds: dict[str, tuple[int, float]] = {}
        self._scores: dict[str, float] = {}
        if self._file.exists():
            try:
                found = json.loads(self._file.read_text())
                self._speeds, self._scores = dict(found["speeds"]), found["scores"]
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self._file}: damaged; remove it, only speeds are lost"
                ) from error

    def segment(
        self,
        method: Method,
        variables: Mapping[str, Any],
        sequences: tuple[evaluation.Sequence, ...],
        **settings: Any,
    ) -> None:
        """Segments what is not there yet."""
        segment_dataset(
            method, variables, sequences, self._masks, tell=self._add, **settings
        )

    def _add(self, done: Progressed) -> None:
        if math.isfinite(done.frames_per_second):
            self._speeds[done.name] = (done.frames, done.frames_per_second)
        # They were those of other masks.
        self._scores = {}
        self._write()

    def score(self, *where: Any) -> tuple[float, float, float]:
        """J&F, J and F of all sequences."""
        if not self._scores:
            self._scores = evaluation.score(*where, self._masks).summary()
            self._write()
        names = ("J&F-Mean", "J-Mean", "F-Mean")
        both, region, contour = (self._scores[name] for name in names)
        return both, region, contour

    @property
    def rate(self) -> float | None:
        """Frames/s over all sequences that are long enough to have one."""
        seconds = sum(frames / rate for frames, rate in self._speeds.values())
        frames = sum(frames for frames, _ in self._speeds.values())
        return frames / seconds if seconds else None

    def _write(self) -> None:
        figures = {"speeds": self._speeds, "scores": self._scores}
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
