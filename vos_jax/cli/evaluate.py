"""`vos-jax evaluate`: segment a data set and score it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vos_jax.cli import options
from vos_jax.cli.about import peak_memory, with_maker
from vos_jax.cli.score import (
    add_dataset_options,
    check_measures,
    print_report,
    seen_categories,
    show_progress,
)
from vos_jax.cli.spread_options import add_spread_options, shard_of, spread_of
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset, score, write_submission

if TYPE_CHECKING:
    from vos_jax.inference.dataset import Progressed

SUMMARY = "Segment the sequences of a data set and score the masks."
EXAMPLE = (
    "vos-jax evaluate --dataset davis2017 --root DAVIS --split val --method stm"
    " --weights stm.safetensors --out results/"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_dataset_options(parser)
    options.add_model_options(parser)
    add_spread_options(parser)
    parser.add_argument(
        "--merge",
        action="store_true",
        help="segment nothing: score what the runs of all shards have left in DIR",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="masks go to DIR/masks; a run into the same DIR goes on where one stopped",
    )
    options.add_speed_option(parser, "one")
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Segments and times, scores where annotations are public, else packs."""
    options.positive(args, "size")
    spread, shard = spread_of(args), shard_of(args)
    check_measures(args)
    if args.merge and args.shard is not None:
        raise InputError("--merge is for all shards together; leave --shard out")
    from vos_jax.bench.speed import chosen_sequences, speed_rows, time_sequences
    from vos_jax.inference.dataset import segment_dataset
    from vos_jax.runtime.text_table import text_table, write_table

    where = (args.dataset, args.root, args.split)
    sequences = read_dataset(*where, resolution=args.resolution)
    model = options.load_model_of(args)
    masks = args.out / "masks"
    done = segment_dataset(
        *(model.method, model.variables, sequences, masks),
        split=args.split,
        root=args.root,
        weights_id=model.weights_id,
        inputs=args.inputs,
        size=args.size,
        flip=args.flip,
        spread=spread,
        shard=shard,
        only_merge=args.merge,
        title=model.title,
    )
    if args.shard is not None:
        _print_shard(args, masks, done)
        return
    timed = time_sequences(
        *(model.method, model.variables, chosen_sequences(sequences, args.speed)),
        reserve=max(len(sequence.frames) for sequence in sequences),
        inputs=args.inputs,
        size=args.size,
        flip=args.flip,
    )
    speeds = speed_rows(model.method, [speed for _, speed in timed])
    if speeds:
        write_table(args.out, "speed", speeds, {"memory": peak_memory()})
    if args.dataset != "davis2016":
        archive = args.out / "submission.zip"
        write_submission(masks, sequences, archive, args.dataset)
        print(f"archive for the scoring server: {archive}", file=sys.stderr)
    try:
        report = score(
            *where,
            masks,
            progress=show_progress,
            resolution=args.resolution,
            drop_last=args.drop_last,
            seen=seen_categories(args),
            temporal=args.temporal,
        )
    except InputError as error:
        raise InputError(f"masks are in {masks}, but not scored: {error}") from error
    report = with_maker(report, args.method, args.weights, model.method, done)
    figures = {"speed": [row._asdict() for row in speeds]} if speeds else {}
    print_report(report, args.out, args.json, figures)
    if speeds and not args.json:
        print(f"{text_table(speeds)}\nfrom a frame on the host to its labels, warm")


def _print_shard(
    args: argparse.Namespace, masks: Path, done: Sequence["Progressed"]
) -> None:
    """What one of several runs prints, of which none can score."""
    figures = {
        "masks": str(masks),
        "shard": args.shard,
        "sequences": len(done),
        "frames": sum(each.frames for each in done),
    }
    options.print_figures(figures, args.json)
    print("scores: the same command with --merge for --shard", file=sys.stderr)
