r"""RDE-VOS, table 5: what is read, and how often it is renewed.

    python experiments/rde/table5.py --dataset davis2017 --root DAVIS --split val \
        --weights rde.safetensors --out report/

A strategy says which embeddings are in the memory: the first frame, once or twice (F,
2F), the latest one that was remembered (L), the recurrent one (RDE). Theta is the
number of frames from one update to the next. One weights file serves all of them. What
is done stays done: the same command goes on where it was stopped.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.methods.weights import fingerprint
from vos_jax.reports.ablation import Setting, Split, measure_settings
from vos_jax.runtime.text_table import text_table, write_table


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
    pairs = {_label(*pair): pair for pair in _pairs(args.strategies, args.theta)}
    found = measure_settings(
        args.method,
        {label: _setting(*pair, args.weights) for label, pair in pairs.items()},
        Split(args.dataset, args.root, args.split),
        args.out / f"{args.dataset}_{args.split}",
        size=args.size,
    )
    rows = [
        Row(*pairs[label], STRATEGIES[pairs[label][0]].slots, **figures._asdict())
        for label, figures in found
    ]
    print(text_table(rows))
    weights_id = fingerprint(args.method, args.weights)
    notes = {"dataset": args.dataset, "split": args.split, "weights": weights_id}
    write_table(args.out, "table5", rows, notes)


def _pairs(
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


def _label(name: str, theta: int | None) -> str:
    return name if theta is None else f"{name}_theta{theta}"


def _setting(name: str, theta: int | None, weights: Path | None) -> Setting:
    every = {} if theta is None else {"mem_every": theta}
    return Setting({**every, **STRATEGIES[name]._asdict()}, weights)


if __name__ == "__main__":
    sys.exit(main())
