"""Scores the demo weights on a DAVIS split beside copying the first mask.

    python experiments/stm/report_demo.py --root DAVIS --split val --out report/

The baseline gives every frame the first frame's mask: what a method must beat to have
followed anything. Both are scored by the same program, in the same run.
"""

import argparse
import json
import sys
from collections import abc
from pathlib import Path
from shutil import copyfile

from vos_jax.cli.script import run_script
from vos_jax.evaluation import Sequence, format_table, given_labels, read_dataset, score
from vos_jax.inference.dataset import segment_dataset
from vos_jax.media import write_labels
from vos_jax.methods.weights import fingerprint, load_model


def copy_first_mask(sequences: tuple[Sequence, ...], out: Path) -> None:
    """Writes each sequence's first mask for every one of its frames."""
    for sequence in sequences:
        folder = out / sequence.name
        folder.mkdir(parents=True, exist_ok=True)
        (labels,) = given_labels(sequence).values()
        first, *others = (folder / f"{stem}.png" for stem in sequence.outputs)
        write_labels(first, labels)
        for other in others:
            copyfile(first, other)


def main(argv: abc.Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--dataset", default="davis2016")
    parser.add_argument("--split", default="val")
    parser.add_argument("--method", default="stm-tiny")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    return run_script("report_demo", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments, scores both, prints a table of each and writes a summary."""
    where = (args.dataset, args.root, args.split)
    sequences = read_dataset(*where)
    method, variables = load_model(args.method, args.weights)
    model_masks, copied_masks = args.out / "model", args.out / "copied"
    segment_dataset(
        *(method, variables, sequences, model_masks),
        split=args.split,
        root=args.root,
        weights_id=fingerprint(args.method, args.weights),
        size=args.size,
    )
    copy_first_mask(sequences, copied_masks)
    summary = {}
    for name, masks in ((args.method, model_masks), ("first mask", copied_masks)):
        report = score(*where, masks)
        print(f"\n{name}\n{format_table(report)}")
        summary[name] = report.summary()
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    sys.exit(main())
