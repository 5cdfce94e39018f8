"""`vos-jax export-program`: a method for plain JAX."""

import argparse
from pathlib import Path

from vos_jax.cli import names, options

SUMMARY = "Write a function of a method as a file that plain JAX runs."
EXAMPLE = (
    "vos-jax export-program stm --weights stm.safetensors --what step --platform cuda"
    " --size 480 854 --frames 100 --out stm_step.jaxprog"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "method",
        metavar="METHOD",
        help=f"one of {', '.join(names.METHODS)}; {options.METHOD_FILE}",
    )
    options.add_weights_option(parser)
    parser.add_argument(
        "--what",
        choices=names.PROGRAMS,
        default="step",
        help="start makes the first state, step goes on by a frame, video segments all"
        " frames, read is the memory read alone (step)",
    )
    parser.add_argument(
        "--platform",
        action="append",
        metavar="NAME",
        help="cpu, cuda, rocm or tpu, which need not be here; may be given several"
        " times (cpu)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of the frames (any multiples of 16)",
    )
    parser.add_argument("--objects", type=int, metavar="N", help="object slots (any)")
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="of the longest video, for which start reserves memory (start: 100;"
        " others: any)",
    )
    parser.add_argument(
        "--weights-as",
        choices=("inside", "argument"),
        default="inside",
        help="weights inside of the program, or its first argument, in OUT.npz",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="to write; FILE.json beside it says what it takes and returns",
    )
    parser.add_argument(
        "--mem-every", type=int, metavar="N", help="keep every N-th frame in memory"
    )
    parser.add_argument(
        "--mem-capacity", type=int, metavar="N", help="at most N frames in memory"
    )
    parser.add_argument(
        "--top-k", type=int, metavar="N", help="read only the N best memory cells"
    )
    options.add_type_options(parser)
    options.add_set_option(parser, options.SET_METHOD)
    options.add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Exports and reports."""
    options.positive(args, "objects", "frames")
    from vos_jax.inference.programs.export import export_program
    from vos_jax.methods import stored_name
    from vos_jax.methods import weights as model

    platforms = args.platform or ["cpu"]
    # One program for both computes as a CPU does.
    kind = "cpu" if "cpu" in platforms else platforms[0]
    method, variables = model.load_model(
        args.method, args.weights, **options.overrides_of(args, kind)
    )
    description = export_program(
        method,
        variables,
        args.out,
        args.what,
        platforms=platforms,
        size=None if args.size is None else tuple(args.size),
        objects=args.objects,
        frames=args.frames,
        weights=args.weights_as,
        name=stored_name(args.method),
        notes={"weights": model.fingerprint(args.method, args.weights)},
    )
    figures = {
        "written": str(args.out),
        "bytes": description["bytes"],
        "platforms": ", ".join(description["platforms"]),
        "open": ", ".join(description["symbols"]) or "nothing",
    }
    options.print_figures(figures, args.json)
