r"""STM, figure 7: J of every object in every frame, sorted, a curve for each memory.

    python experiments/stm/tables.py --tables T5 --davis DATA/DAVIS \
        --weights yv=stm.safetensors --out results/stm_tables
    python experiments/stm/distribution.py --dataset davis2017 --root DATA/DAVIS \
        --split val --out distribution.png --masks \
        "every 5th=results/stm_tables/davis2017_val/yv/masks" \
        "first and previous=results/stm_tables/davis2017_val/yv_mem_every=None/masks"

The mean of a curve is the mean over all objects and frames, not the mean of objects'
means that tables have.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vos_jax import evaluation
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.reports.picture import write_figure
from vos_jax.runtime.plotting import pyplot


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
    parser.add_argument(
        "--masks", nargs="+", required=True, metavar="WORDS=DIR", help="of evaluations"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args(argv)
    return run_script("distribution", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Scores all masks, and draws."""
    curves: dict[str, np.ndarray] = {}
    for word in args.masks:
        name, equals, folder = word.partition("=")
        if not (equals and name):
            raise InputError(f"--masks {word}: write WORDS=DIR")
        print(f"scoring {name}", file=sys.stderr, flush=True)
        report = evaluation.score(args.dataset, args.root, args.split, folder)
        curves[name] = np.sort(np.concatenate([x.region for x in report.objects]))
    draw(curves, args.out)
    print(args.out)


def draw(curves: Mapping[str, np.ndarray], path: Path) -> None:
    """Draws sorted scores against their percentile."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    for name, scores in curves.items():
        percentile = np.linspace(0, 100, len(scores))
        axis.plot(percentile, scores, label=f"{name}, mean {scores.mean():.3f}")
    axis.set(xlabel="percentile of all objects in all frames", ylabel="J")
    axis.set(xlim=(0, 100), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)
    write_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
