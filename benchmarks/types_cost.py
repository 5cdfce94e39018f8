"""What types and precision cost: scores and labels beside those of float32.

    python benchmarks/types_cost.py --root DAVIS --size 240 --full 4 --out FOLDER

Each small method segments the demo's held-out clips, and the sequences of a DAVIS 2016
split where `--root` is given, once in each type and precision that the machine tells
apart, folded and compiled as the command line does it. A run into the same `--masks`
goes on where one stopped. With `--full N` networks of full size, with weights that any
machine can make again, segment N frames of the first of these sequences at 480p; such
weights have learnt nothing, so labels alone are compared.

CPUs know one precision: there "high" and "default" are "highest", bit for bit.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vos_jax.cli.options import title
from vos_jax.cli.script import run_script
from vos_jax.convert import convert_state_dict, export_state_dict
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset, score
from vos_jax.inference.dataset import segment_dataset
from vos_jax.inference.demo import SPLIT, write_demo_data
from vos_jax.inference.video import segment_video
from vos_jax.media import open_frames, read_labels
from vos_jax.methods import METHODS, create
from vos_jax.methods.inputs import of_frames
from vos_jax.methods.weights import fingerprint, load_model, variable_shapes
from vos_jax.runtime.text_table import text_table, write_table

NAME = "types_cost"

_METHODS = ("stm-tiny", "hmmn-tiny", "lcm-tiny", "rde-tiny", "dmn-aoa-tiny")
_FULL = ("stm", "hmmn", "lcm", "rde")
_SEEDS = {"stm": 0, "hmmn": 2, "lcm": 0}


class Types(NamedTuple):
    """What a network computes in."""

    dtype: str
    precision: str


BASE = Types("float32", "highest")


class Row(NamedTuple):
    """One method on one set of videos, in one type and precision.

    Attributes:
      method: Its name; weights are those that ship, or of full size those of tests.
      videos: Which ones.
      frames: Masks compared, first frames included.
      dtype: Compute type.
      precision: Of float32 products.
      score: J&F; None where nothing can be found.
      differing: Percent of the pixels that have another label than with float32 at the
        highest precision, mean over the frames.
      worst: The same of the frame with most.
    """

    method: str
    videos: str
    frames: int
    dtype: str
    precision: str
    score: float | None
    differing: float
    worst: float


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=_METHODS, metavar="NAME")
    parser.add_argument("--clips", type=int, default=12, help="generated ones (12)")
    parser.add_argument("--root", type=Path, help="of a DAVIS 2016 data set")
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int, help="for its sequences")
    parser.add_argument("--full", type=int, metavar="N", help="frames at full size")
    parser.add_argument("--full-methods", nargs="+", default=_FULL, metavar="NAME")
    parser.add_argument("--masks", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, help="folder of the CSV and JSON")
    args = parser.parse_args(argv)
    return run_script(NAME, lambda: run(args))


def told_apart(platform: str) -> tuple[Types, ...]:
    """The types and precisions that differ on a platform, the base first."""
    if platform == "cpu":
        return BASE, Types("bfloat16", "default")
    return (
        BASE,
        Types("float32", "high"),
        Types("float32", "default"),
        Types("bfloat16", "highest"),
        Types("bfloat16", "default"),
    )


def run(args: argparse.Namespace) -> None:
    """Segments and compares; the tables are written as soon as a method is done."""
    if args.full is not None and (args.root is None or args.full < 2):
        raise InputError("--full: give a --root with videos, and at least 2 frames")
    rows: list[Row] = []
    for found in _compared(args):
        rows += found
        print(text_table(found), flush=True)
        if args.out is not None:
            write_table(args.out, NAME, rows)


def _compared(args: argparse.Namespace) -> Iterator[list[Row]]:
    clips = args.masks / "clips"
    write_demo_data(clips, args.clips)
    sets: dict[str, tuple[tuple[str, Path, str], int | None]] = {
        f"{args.clips} generated clips": (("davis2017", clips, SPLIT), None)
    }
    if args.root is not None:
        at = "" if args.size is None else f" at {args.size}"
        name = f"DAVIS 2016 {args.split}{at}"
        sets[name] = (("davis2016", args.root, args.split), args.size)
    for method in args.methods:
        for number, (videos, (where, size)) in enumerate(sets.items()):
            folder = args.masks / f"{method}-{number}"
            yield small_rows(method, videos, where, size, folder)
    if args.full is not None:
        where = ("davis2016", args.root, args.split)
        for method in args.full_methods:
            yield full_rows(method, where, args.full)


def small_rows(
    name: str, videos: str, where: tuple[str, Path, str], size: int | None, out: Path
) -> list[Row]:
    """Segments some videos in every type.

    Args:
      name: Of the method.
      videos: Names them in the table.
      where: Data set, root and split.
      size: Shorter side to compute at.
      out: For the masks.
    """
    sequences = read_dataset(*where)
    files = [f"{s.name}/{stem}.png" for s in sequences for stem in s.outputs]
    rows = []
    for types in told_apart(jax.default_backend()):
        masks = out / "-".join(types)
        method, variables = load_model(name, **types._asdict())
        segment_dataset(
            *(method, variables, sequences, masks),
            root=where[1],
            split=where[2],
            weights_id=fingerprint(name, None),
            size=size,
            inputs=of_frames(method.inputs),
            title=title(name, None),
        )
        found = score(*where, masks).summary()["J&F-Mean"]
        base = out / "-".join(BASE)
        pairs = ((read_labels(masks / f), read_labels(base / f)) for f in files)
        rows.append(_row(name, videos, types, found, pairs))
    return rows


def full_rows(name: str, where: tuple[str, Path, str], count: int) -> list[Row]:
    """Segments the first frames of a sequence with a network of full size."""
    first = read_dataset(*where)[0]
    source = open_frames(first.frames[0].parent)
    frames = np.stack(list(islice(source, count)))
    given = read_labels(next(iter(first.annotations.values()))) > 0
    weights = _full_weights(name)
    rows, base = [], None
    for types in told_apart(jax.default_backend()):
        method = create(name, **types._asdict())
        labels = segment_video(method, weights, frames, given.astype(np.uint8))
        base = labels if base is None else base
        pairs = zip(labels, base, strict=True)
        rows.append(_row(name, f"{first.name} at 480p", types, None, pairs))
    return rows


def _full_weights(name: str) -> Mapping[str, Any]:
    """Those with which the tests of parity compare networks."""
    sys.path.append(str(Path(__file__).parents[1]))
    from tests.fill import fill_all
    from tests.methods.rde_weights import published_weights

    method, entry = create(name), METHODS[name]
    assert entry.torch_table is not None
    table = entry.torch_table(method.config)
    shapes = variable_shapes(method)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    names = {k: v.shape for k, v in export_state_dict(zeros, table).items()}
    state = published_weights(names) if name == "rde" else fill_all(names, _SEEDS[name])
    return jax.device_put(convert_state_dict(state, table, shapes, entry.torch_ignored))


def _row(name: str, videos: str, types: Types, found: float | None, pairs: Any) -> Row:
    shares = [100 * float(np.mean(one != other)) for one, other in pairs]
    mean, worst = float(np.mean(shares)), max(shares)
    return Row(name, videos, len(shares), *types, found, mean, worst)


if __name__ == "__main__":
    raise SystemExit(main())
