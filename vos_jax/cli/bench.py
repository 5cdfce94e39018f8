"""`vos-jax bench`: time compiled reads, whole models and training."""

import argparse
from pathlib import Path
from typing import Any

from vos_jax.cli import options
from vos_jax.errors import InputError

SUMMARY = "Benchmark compiled memory reads, a whole method, or training."
EXAMPLE = "vos-jax bench read --frames 1 5 20 --objects 1 3 --out benchmarks/results"

_LONGEST = 1 << 20
_LESS = "lower --frames, --objects, --height or --width"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what there is to time and its options."""
    kinds = parser.add_subparsers(metavar="read|model|many|train", required=True)
    read = kinds.add_parser(
        "read",
        help="the memory reads: kinds x implementations x frames x objects x types",
        epilog=f"example: {EXAMPLE}",
        allow_abbrev=False,
    )
    _add_common(read, objects=[1, 3, 5], dtypes=list(options.DTYPES))
    options.add_precision_option(read, "for both types")
    read.add_argument(
        "--frames", type=int, nargs="+", default=[1, 2, 5, 10, 20], metavar="T"
    )
    read.add_argument(
        "--reads",
        nargs="+",
        metavar="KIND",
        help="space-time (STM), l2 (STCN, RDE-VOS), kernel-guided, guided-8, guided-4,"
        " candidates (HMMN), position-map (LCM), recurrent-key, recurrent-value"
        " (RDE-VOS); all by default",
    )
    read.add_argument(
        "--top-k",
        type=int,
        nargs="+",
        metavar="N",
        help="cells that filtered reads keep, coarse ones of guided-8 and -4; their own"
        " numbers by default",
    )
    read.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="skip what has not begun by then",
    )
    read.add_argument(
        "--plot",
        action="store_true",
        help="draw time against T into --out, and against k where there are three",
    )
    read.set_defaults(run=run_read)
    model = kinds.add_parser(
        "model",
        help="a method: frames/s, time of each stage, memory against video length",
        epilog="example: vos-jax bench model --method stm --objects 1 3",
        allow_abbrev=False,
    )
    _add_common(model, objects=[1, 3], dtypes=None)
    options.add_precision_option(
        model, "default on accelerators where bfloat16 alone is timed"
    )
    _add_method(model)
    model.add_argument(
        "--frames",
        type=int,
        nargs="+",
        metavar="T",
        help="memory frames that a step reads (1 5 20, or as many as there can be)",
    )
    model.add_argument(
        "--stream",
        type=int,
        metavar="N",
        help="instead: segment a video of N frames and tell its speed and memory as it"
        " gets longer; uses --height, --width, --objects and one --dtype",
    )
    model.set_defaults(run=run_model)
    many = kinds.add_parser(
        "many",
        help="many videos: frames/s against videos at once and devices",
        epilog="example: vos-jax bench many --method stm --videos 1 2 4 --devices 1 8",
        allow_abbrev=False,
    )
    _add_size(many)
    many.add_argument("--objects", type=int, default=1, metavar="O")
    many.add_argument(
        "--frames", type=int, default=30, metavar="T", help="a video (30)"
    )
    many.add_argument(
        "--videos",
        type=int,
        nargs="+",
        default=[1, 2, 4],
        metavar="N",
        help="at once on each device (1 2 4)",
    )
    many.add_argument(
        "--devices", type=int, nargs="+", default=[1], metavar="N", help="(1)"
    )
    options.add_type_options(many)
    _add_method(many)
    _add_folder(many)
    many.set_defaults(run=run_many)
    train = kinds.add_parser(
        "train",
        help="an experiment: input pipeline, train step, and both together",
        epilog="example: vos-jax bench train stm/tiny --workers 1 2",
        allow_abbrev=False,
    )
    options.add_experiment_options(train)
    train.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="clips made at a time; as many as there are cores by default",
    )
    _add_output(train, repeats=20)
    train.set_defaults(run=run_train)


def _add_common(
    parser: argparse.ArgumentParser, objects: list[int], dtypes: list[str] | None
) -> None:
    _add_size(parser)
    parser.add_argument("--objects", type=int, nargs="+", default=objects, metavar="O")
    parser.add_argument(
        "--dtype",
        nargs="+",
        default=dtypes,
        choices=options.DTYPES,
        help="both by default"
        if dtypes
        else "float32 on CPUs, bfloat16 on accelerators by default",
    )
    _add_output(parser, repeats=7)


def _add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)


def _add_method(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="stm", metavar="NAME")
    parser.add_argument(
        "--weights", type=Path, metavar="PATH", help="random weights by default"
    )


def _add_output(parser: argparse.ArgumentParser, repeats: int) -> None:
    parser.add_argument(
        "--repeats",
        type=int,
        default=repeats,
        metavar="N",
        help=f"timed calls ({repeats})",
    )
    _add_folder(parser)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write CSV and JSON")
    options.add_debug_option(parser)
    options.add_json_option(parser)


def run_read(args: argparse.Namespace) -> None:
    """Times the reads."""
    if args.plot and args.out is None:
        raise InputError("--plot needs --out, the folder to draw into")
    from vos_jax.bench import read as bench_read
    from vos_jax.bench import read_plot as bench_read_plot
    from vos_jax.bench.reads.kinds import kinds_by_name
    from vos_jax.runtime.out_of_memory import memory_told
    from vos_jax.runtime.unused_accelerator import tell_unused_accelerator

    sweep = bench_read.ReadOptions(
        reads=kinds_by_name(args.reads, args.top_k),
        height=args.height,
        width=args.width,
        frames=tuple(args.frames),
        objects=tuple(args.objects),
        dtypes=tuple(args.dtype),
        precision=args.precision or "highest",
        repeats=args.repeats,
        limit_s=args.limit,
    )
    tell_unused_accelerator()
    with memory_told("bench read", _LESS):
        result = bench_read.bench_read(sweep)
    if args.out is not None:
        bench_read.write(result, args.out)
        if args.plot:
            bench_read_plot.plot(result, args.out)
    if args.json:
        rows = [row._asdict() for row in result.rows]
        options.print_figures({"rows": rows}, as_json=True)
    else:
        print(bench_read.show(result))


def run_model(args: argparse.Namespace) -> None:
    """Times a method."""
    from vos_jax.bench import model as bench_model
    from vos_jax.runtime.out_of_memory import memory_told
    from vos_jax.runtime.unused_accelerator import tell_unused_accelerator

    if args.stream is not None and args.dtype and len(args.dtype) > 1:
        raise InputError(f"--dtype {' '.join(args.dtype)}: --stream takes one")
    method, variables = _load(args, _types_of(args))
    if args.stream is not None:
        run_stream(args, method, variables)
        return
    timed = bench_model.ModelOptions(
        height=args.height,
        width=args.width,
        objects=tuple(args.objects),
        memory_frames=tuple(args.frames or _fills(method)),
        dtypes=tuple(args.dtype or ()),
        repeats=args.repeats,
    )
    tell_unused_accelerator()
    with memory_told(f"bench model --method {args.method}", _LESS):
        result = bench_model.bench_model(method, variables, timed)
    _announce(args, method)
    if args.out is not None:
        bench_model.write(result, args.out)
    if args.json:
        tables = {
            name: [r._asdict() for r in t] for name, t in result._asdict().items()
        }
        options.print_figures(tables, as_json=True)
    else:
        print(bench_model.show(result))


def _load(args: argparse.Namespace, fields: dict[str, Any]) -> tuple[Any, Any]:
    """The method, with random weights where none are named."""
    from vos_jax.methods.weights import load_model, random_model

    if args.weights is None:
        return random_model(args.method, **fields)
    return load_model(args.method, args.weights, **fields)


def _types_of(args: argparse.Namespace) -> dict[str, Any]:
    """The method's type, the first of several, and its precision."""
    import jax

    from vos_jax.inference.compute_types import with_compute_types

    given = {"dtype": args.dtype and args.dtype[0], "precision": args.precision}
    if args.dtype and len(args.dtype) > 1:
        given["precision"] = args.precision or "highest"
    fields = {name: value for name, value in given.items() if value is not None}
    return with_compute_types(args.method, fields, jax.default_backend())


def _announce(args: argparse.Namespace, method: Any, kind: str = "model") -> None:
    """Says what was timed in which types."""
    from vos_jax.inference.announce import announce, model_facts

    source = "at random" if args.weights is None else str(args.weights)
    title, device, types = model_facts(f"{args.method}, weights {source}", method)
    if isinstance(args.dtype, list):
        types = f"{' and '.join(args.dtype)}, {types.partition(', ')[2]}"
    announce(f"bench {kind}", (title, device, types))


def _fills(method: Any) -> list[int]:
    """Frames in the memory to time a method with."""
    most = method.slots(_LONGEST)
    return sorted({min(count, most) for count in (1, 5, 20)})


def run_stream(args: argparse.Namespace, method: Any, variables: Any) -> None:
    """Runs a long video."""
    from vos_jax.bench import stream as bench_stream
    from vos_jax.runtime.out_of_memory import memory_told
    from vos_jax.runtime.unused_accelerator import tell_unused_accelerator

    video = bench_stream.StreamOptions(
        frames=args.stream,
        height=args.height,
        width=args.width,
        objects=tuple(args.objects),
    )
    less = _LESS.replace("--frames", "--stream")
    tell_unused_accelerator()
    with memory_told(f"bench model --method {args.method}", less):
        rows = bench_stream.bench_stream(method, variables, video)
    _announce(args, method)
    if args.out is not None:
        bench_stream.write(rows, args.out)
    if args.json:
        options.print_figures({"rows": [row._asdict() for row in rows]}, as_json=True)
    else:
        print(bench_stream.show(rows))


def run_many(args: argparse.Namespace) -> None:
    """Times many videos."""
    import jax

    from vos_jax.bench import many as bench_many
    from vos_jax.inference.compute_types import with_compute_types
    from vos_jax.runtime.out_of_memory import memory_told
    from vos_jax.runtime.unused_accelerator import tell_unused_accelerator

    timed = bench_many.ManyOptions(
        videos=tuple(args.videos),
        devices=tuple(args.devices),
        frames=args.frames,
        height=args.height,
        width=args.width,
        objects=args.objects,
    )
    given = {"dtype": args.dtype, "precision": args.precision}
    fields = {name: value for name, value in given.items() if value is not None}
    fields = with_compute_types(args.method, fields, jax.default_backend())
    method, variables = _load(args, fields)
    less = f"lower --videos, {_LESS.removeprefix('lower ')}"
    tell_unused_accelerator()
    with memory_told(f"bench many --method {args.method}", less):
        rows = bench_many.bench_many(method, variables, timed)
    _announce(args, method, "many")
    if args.out is not None:
        bench_many.write(rows, args.out)
    if args.json:
        options.print_figures({"rows": [row._asdict() for row in rows]}, as_json=True)
    else:
        print(bench_many.show(rows))


def run_train(args: argparse.Namespace) -> None:
    """Times training."""
    from vos_jax.bench import train as bench_train
    from vos_jax.bench import train_rows
    from vos_jax.runtime.out_of_memory import memory_told
    from vos_jax.runtime.unused_accelerator import tell_unused_accelerator

    # What is wrong with these is told before any file is opened.
    timed = bench_train.TrainOptions(workers=tuple(args.workers), repeats=args.repeats)
    experiment = options.load_experiment_of(args)
    size = experiment.recipe.size
    less = f"lower batch={experiment.batch} or recipe.size={size} (with --set)"
    tell_unused_accelerator()
    with memory_told(f"bench train {args.experiment}", less):
        result = bench_train.bench_train(experiment, args.data, timed)
    if args.out is not None:
        train_rows.write(result, args.out)
    if args.json:
        figures = {
            "job": result.job._asdict(),
            "ceilings": result.ceilings._asdict(),
            "steps": [row._asdict() for row in result.steps],
            "inputs": [row._asdict() for row in result.inputs],
        }
        options.print_figures(figures, as_json=True)
    else:
        print(train_rows.show(result))
