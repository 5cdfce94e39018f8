r"""Masks of any methods on any sequence side by side, with what is missed or wrong.

    python experiments/side_by_side.py --dataset davis2017 --root DAVIS --split val \
        --sequence dogs-jump --methods stm=stm.safetensors hmmn=hmmn.safetensors \
        --frames 20 40 60 --out dogs-jump.png
    python experiments/side_by_side.py --generated 3 --methods stm-tiny lcm-tiny \
        --out clip.png
    python experiments/side_by_side.py --dataset davis2016 --root DAVIS --split val \
        --sequence dog --out dog.png --masks \
        "with=results/stm/davis2016_val/yv/masks" \
        "without=results/stm/davis2016_val/yv_mem_every=None/masks"

Rows are the annotation, every method and every folder of masks that was made before,
such as those that `tables.py` leaves of any setting; columns are frames.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from PIL import Image

from vos_jax import evaluation
from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.inference.dataset import segment_dataset
from vos_jax.media import atomic_path, make_folder
from vos_jax.methods.inputs import of_frames
from vos_jax.methods.weights import fingerprint, load_model
from vos_jax.reports.ablation import Split, generated_split
from vos_jax.reports.side_by_side import side_by_side


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--dataset", default="davis2017", choices=evaluation.DATASETS)
    parser.add_argument("--root", type=Path, metavar="DIR")
    parser.add_argument("--split", default="val", metavar="NAME")
    parser.add_argument("--sequence", metavar="NAME", help="by default the first")
    parser.add_argument(
        "--generated", type=int, metavar="N", help="the N-th held-out clip instead"
    )
    parser.add_argument("--theme", default="world", help="of the clip (world)")
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME[=WEIGHTS]")
    parser.add_argument(
        "--masks",
        nargs="+",
        default=[],
        metavar="WORDS=DIR",
        help="folders of <sequence>/<frame>.png",
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", metavar="T", help="four of the sequence"
    )
    options.add_inputs_option(parser, "made of the frames where none are given")
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute with the shorter side at N"
    )
    parser.add_argument("--work", type=Path, default=Path("side_by_side"))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args(argv)
    return run_script("side_by_side", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Segments what is not there yet, and draws."""
    options.positive(args, "size", "generated")
    split, sequence = _sequence(args)
    masks: dict[str, Path] = {}
    for word in (*args.methods, *args.masks):
        name, equals, folder = word.partition("=")
        if word in args.masks and not equals:
            raise InputError(f"--masks {word}: write WORDS=DIR")
        if name in masks:
            raise InputError(f"{name} is named twice; name it once")
        masks[name] = Path(folder) / sequence.name
    if not masks:
        raise InputError("nothing to compare; give --methods or --masks")
    for word in args.methods:
        name = word.partition("=")[0]
        masks[name] = _segment(word, split, sequence, args)
    picture = side_by_side(sequence, masks, args.frames or _four(sequence))
    make_folder(args.out.parent)
    with atomic_path(args.out) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    print(args.out)


def _sequence(args: argparse.Namespace) -> tuple[Split, evaluation.Sequence]:
    """The sequence to look at."""
    if (args.generated is None) == (args.root is None):
        raise InputError("give either --root or --generated")
    if args.generated is not None:
        folder = args.work / f"{args.theme}_{args.generated}"
        split = generated_split(folder, args.generated, args.theme)
        return split, evaluation.read_dataset(*split)[-1]
    split = Split(args.dataset, args.root, args.split)
    wanted = None if args.sequence is None else [args.sequence]
    return split, evaluation.read_dataset(*split, sequences=wanted)[0]


def _segment(
    word: str, split: Split, sequence: evaluation.Sequence, args: argparse.Namespace
) -> Path:
    """Segments the sequence by a method; returns the folder of its masks."""
    name, _, file = word.partition("=")
    weights = Path(file) if file else None
    method, variables = load_model(name, weights)
    inputs = None
    if method.inputs is not None:
        inputs = args.inputs or of_frames(method.inputs)
    weights_id = fingerprint(name, weights)
    about = split.root.resolve(), split.name, args.size, weights_id
    # What differs in these has a folder of its own: this is no place to refuse it.
    place = f"{sequence.name}_{crc32(repr(about).encode()):08x}"
    out = args.work / place / Path(name).name
    segment_dataset(
        *(method, variables, (sequence,), out),
        split=split.name,
        root=split.root,
        weights_id=weights_id,
        inputs=inputs,
        size=args.size,
        title=word,
    )
    return out / sequence.name


def _four(sequence: evaluation.Sequence) -> list[int]:
    """Numbers of four frames at equal distances, annotated ones where there are any."""
    names = [path.stem for path in sequence.frames]
    known = [i for i, name in enumerate(names) if name in sequence.annotations][1:]
    known = known or list(range(1, len(names)))
    return [known[(k + 1) * len(known) // 4 - 1] for k in range(min(4, len(known)))]


if __name__ == "__main__":
    sys.exit(main())
