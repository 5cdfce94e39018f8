"""What `--dtype bfloat16` costs: scores and labels beside those of float32.

    python benchmarks/bfloat16_cost.py --root DAVIS --size 240 --out benchmarks/results

Each method segments the demo's held-out clips, and the sequences of a DAVIS 2016 split
where `--root` is given, once in each type, folded and compiled as the command line does
it. A run into the same `--masks` goes on where one stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vos_jax.cli.options import title
from vos_jax.cli.script import run_script
from vos_jax.evaluation import read_dataset, score
from vos_jax.inference.dataset import segment_dataset
from vos_jax.inference.demo import SPLIT, write_demo_data
from vos_jax.media import read_labels
from vos_jax.methods.inputs import of_frames
from vos_jax.methods.weights import fingerprint, load_model
from vos_jax.runtime.text_table import text_table, write_table

NAME = "bfloat16_cost"

_METHODS = ("stm-tiny", "hmmn-tiny", "lcm-tiny", "rde-tiny", "dmn-aoa-tiny")
_TYPES = ("float32", "bfloat16")


class Row(NamedTuple):
    """One method on one set of videos.

    Attributes:
      method: Its name; weights are those that ship.
      videos: Which ones.
      frames: Masks compared, first frames included.
      float32: J&F.
      bfloat16: J&F.
      differing: Percent of the pixels that have another label, mean over the frames.
      worst: The same of the frame with most.
    """

    method: str
    videos: str
    frames: int
    float32: float
    bfloat16: float
    differing: float
    worst: float


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=_METHODS, metavar="NAME")
    parser.add_argument("--clips", type=int, default=12, help="generated ones (12)")
    parser.add_argument("--root", type=Path, help="of a DAVIS 2016 data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int, help="for its sequences")
    parser.add_argument("--masks", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, help="folder of the CSV and JSON")
    args = parser.parse_args(argv)
    return run_script(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments and compares; a table for each method as soon as it is done."""
    clips = args.masks / "clips"
    write_demo_data(clips, args.clips)
    sets: dict[str, tuple[tuple[str, Path, str], int | None]] = {
        f"{args.clips} generated clips": (("davis2017", clips, SPLIT), None)
    }
    if args.root is not None:
        at = "" if args.size is None else f" at {args.size}"
        name = f"DAVIS 2016 {args.split}{at}"
        sets[name] = (("davis2016", args.root, args.split), args.size)
    rows = []
    for method in args.methods:
        for number, (videos, (where, size)) in enumerate(sets.items()):
            folder = args.masks / f"{method}-{number}"
            rows.append(compared(method, videos, where, size, folder))
    print(text_table(rows))
    if args.out is not None:
        write_table(args.out, NAME, rows)


def compared(
    name: str, videos: str, where: tuple[str, Path, str], size: int | None, out: Path
) -> Row:
    """Segments some videos in both types.

    Args:
      name: Of the method.
      videos: Names them in the table.
      where: Data set, root and split.
      size: Shorter side to compute at.
      out: For the masks.
    """
    sequences = read_dataset(*where)
    scores: dict[str, float] = {}
    for dtype in _TYPES:
        method, variables = load_model(name, dtype=dtype)
        segment_dataset(
            *(method, variables, sequences, out / dtype),
            root=where[1],
            split=where[2],
            weights_id=fingerprint(name, None),
            size=size,
            inputs=of_frames(method.inputs),
            title=title(name, None),
        )
        scores[dtype] = score(*where, out / dtype).summary()["J&F-Mean"]
    files = [f"{s.name}/{stem}.png" for s in sequences for stem in s.outputs]
    shares = [
        100 * _differing(*(out / dtype / file for dtype in _TYPES)) for file in files
    ]
    return Row(
        name,
        videos,
        len(files),
        **scores,
        differing=float(np.mean(shares)),
        worst=float(max(shares)),
    )


def _differing(a: Path, b: Path) -> Any:
    return np.mean(read_labels(a) != read_labels(b))


if __name__ == "__main__":
    raise SystemExit(main())
