"""Times the input pipeline against what training takes from it.

    python benchmarks/input_pipeline.py --source davis2017 --root DAVIS --step-seconds 1
    python benchmarks/input_pipeline.py --source generated --size 128 --step-seconds 1

Prints clips/s of the pipeline on an otherwise idle machine, clips/s that steps of that
length need, and the ratio: 2 and more leave room for steps that share the cores.
"""

import argparse
import json
import os
import platform
import time
from itertools import islice
from pathlib import Path

from vos_jax.cli.data import parsed_options
from vos_jax.data.pipeline import train_batches
from vos_jax.data.sampling import Recipe, StaticRecipe, VideoRecipe
from vos_jax.data.sources import open_source


def main() -> None:
    """Prints the figures, or writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True, help="as in `vos-jax data show`")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--option", action="append", default=[], help="the same")
    parser.add_argument("--recipe", choices=("static", "video"), default="video")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--first-step", type=int, default=0, help="decides the skip")
    parser.add_argument("--workers", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--step-seconds", type=float, required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    source = open_source(args.source, args.root, **parsed_options(args.option))
    kind = StaticRecipe if args.recipe == "static" else VideoRecipe
    recipe: Recipe = kind(frames=args.frames, size=(args.size, args.size))
    need = args.batch / args.step_seconds
    rows = []
    for workers in args.workers:
        batches = train_batches(
            source,
            recipe,
            seed=0,
            batch=args.batch,
            first_step=args.first_step,
            workers=workers,
        )
        # What was made ahead while TensorFlow started must not count.
        for _ in islice(batches, 5):
            pass
        start = time.perf_counter()
        for _ in islice(batches, args.batches):
            pass
        rate = args.batches * args.batch / (time.perf_counter() - start)
        rows.append({"workers": workers, "clips_per_s": rate, "ratio": rate / need})
    if args.json:
        machine = (
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        )
        print(json.dumps({"machine": machine, "need_clips_per_s": need, "rows": rows}))
        return
    shape = f"{args.frames} frames of {args.size}x{args.size}"
    print(f"{args.source}, {args.recipe}: {shape}, batch {args.batch}")
    print(f"steps of {args.step_seconds:g} s need {need:.1f} clips/s")
    for row in rows:
        print(
            f"{row['workers']} workers: {row['clips_per_s']:.1f} clips/s, "
            f"{row['ratio']:.1f} times the need"
        )


if __name__ == "__main__":
    main()
