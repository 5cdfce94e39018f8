"""Options that several subcommands share."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vos_jax.cli import names
from vos_jax.data.literal import literal
from vos_jax.errors import InputError

SET_METHOD = "change any other field of the method's configuration, latest=False, say"

METHOD_FILE = "or a Python file with a method of yours, FILE.py or FILE.py:NAME"

DTYPES = ("float32", "bfloat16")

PRECISIONS = ("highest", "high", "default")

_SHORT = ("mem_every", "mem_capacity", "top_k", "dtype", "precision")


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """`EXPERIMENT`, `--data`, `--set` and `--proposals`."""
    parser.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        help="Python file, or its name under experiments/, such as stm/main or"
        " stm/main:davis",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="holds the data sets' folders"
    )
    add_set_option(parser, "change a field of the experiment")
    add_inputs_option(parser, "for all data sets of the experiment that name none")


def load_experiment_of(args: argparse.Namespace) -> Any:
    """The experiment that these options name, and change."""
    from vos_jax.training.experiment_file import load_experiment
    from vos_jax.training.inputs import take_inputs

    experiment = load_experiment(args.experiment, args.changes)
    return take_inputs(experiment, args.inputs)


def add_model_options(
    parser: argparse.ArgumentParser, default: str | None = None
) -> None:
    """`--method`, `--weights` and what changes how a method computes."""
    by_default = "" if default is None else f" ({default})"
    parser.add_argument(
        "--method",
        required=default is None,
        default=default,
        metavar="NAME",
        help=f"one of {', '.join(names.METHODS)}; {METHOD_FILE}{by_default}",
    )
    add_weights_option(parser)
    parser.add_argument(
        "--mem-every", type=int, metavar="N", help="keep every N-th frame in memory"
    )
    parser.add_argument(
        "--mem-capacity",
        type=int,
        metavar="N",
        help="at most N frames in memory, so that it stops growing",
    )
    parser.add_argument(
        "--top-k", type=int, metavar="N", help="read only the N best memory cells"
    )
    add_type_options(parser)
    add_set_option(parser, SET_METHOD)
    add_inputs_option(parser, "must be given where a method takes any")
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="compute with the shorter side at N pixels",
    )
    parser.add_argument(
        "--flip", action="store_true", help="average with the mirrored video"
    )
    add_cache_option(parser)


def add_type_options(parser: argparse.ArgumentParser) -> None:
    """`--dtype` and `--precision`; without them the machine decides."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="what the network computes in (float32 on CPUs, bfloat16 on accelerators);"
        " bfloat16 takes half the memory",
    )
    add_precision_option(parser, "default on accelerators unless float32 is asked for")


def add_precision_option(parser: argparse.ArgumentParser, unless: str) -> None:
    """`--precision`; `unless` says where it is not the highest."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of float32 products; high and default let GPUs and TPUs take shorter"
        f" formats (highest; {unless})",
    )


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """`--weights`."""
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="PATH",
        help=".safetensors made by `vos-jax convert`; -tiny methods bring their own,"
        " and the name of one stands for these",
    )


def add_inputs_option(parser: argparse.ArgumentParser, what: str) -> None:
    """`--proposals`; `what` says where none are given."""
    parser.add_argument(
        "--proposals",
        "--inputs",
        type=Path,
        dest="inputs",
        metavar="PATH",
        help="what else than frames a method takes, object proposals for one: a file or"
        f" folder, or `regions` to make them of the frames; {what}",
    )


def add_damaged_option(parser: argparse.ArgumentParser) -> None:
    """`--allow-damaged`."""
    parser.add_argument(
        "--allow-damaged",
        action="store_true",
        help="go on past damaged frames of a video, with a note that names them",
    )


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """`--no-compilation-cache`, and what it takes back."""
    parser.add_argument(
        "--compilation-cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep compiled programs in ~/.cache/vos_jax, which you may remove at any"
        " time, so that the next run begins at once (the default)",
    )


def use_cache_option(args: argparse.Namespace) -> None:
    """Does what `add_cache_option` declares; before anything is compiled."""
    from vos_jax.runtime.compilation_cache import keep_programs

    if args.compilation_cache:
        keep_programs()


def add_set_option(parser: argparse.ArgumentParser, what: str) -> None:
    """`--set`; `what` it does begins its help."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        dest="changes",
        help=f"{what}; may be given several times",
    )


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """`--debug`."""
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )


def add_speed_option(parser: argparse.ArgumentParser, default: str) -> None:
    """`--speed`."""
    words = {
        "all": "all",
        "one": "one of each number of objects",
        "none": "none",
    }
    told = (f"{x} (the default)" if x == default else x for x in words.values())
    parser.add_argument(
        "--speed",
        choices=tuple(words),
        default=default,
        help="which sequences are segmented once more, to time their frames without"
        f" files and compilation: {', '.join(told)}",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print figures as JSON on stdout"
    )


class LoadedModel(NamedTuple):
    """What the options of `add_model_options` name.

    Attributes:
      method: With its configuration.
      variables: Its weights.
      weights_id: Fingerprint of the weights file.
      title: Method and weights as the user named them.
    """

    method: Any
    variables: Any
    weights_id: str
    title: str


def load_model_of(args: argparse.Namespace) -> LoadedModel:
    """Loads the method and its weights."""
    from vos_jax.methods import weights as model

    use_cache_option(args)
    method, variables = model.load_model(
        args.method, args.weights, **overrides_of(args)
    )
    weights_id = model.fingerprint(args.method, args.weights)
    named = title(args.method, args.weights, args.inputs)
    return LoadedModel(method, variables, weights_id, named)


def title(method: str, weights: Path | None, inputs: Path | None = None) -> str:
    """Names a model, and what else than frames it gets, in one phrase."""
    named = f"{method}, weights {weights or 'that ship with it'}"
    return named if inputs is None else f"{named}, inputs {inputs}"


def overrides_of(
    args: argparse.Namespace, platform: str | None = None
) -> dict[str, Any]:
    """What options change in a method's configuration, and what the machine does.

    Another platform than the machine's is for programs that run elsewhere.
    """
    import jax

    from vos_jax.inference.compute_types import with_compute_types

    given = {name: getattr(args, name, None) for name in _SHORT}
    fields = merge_changes(
        {k: x for k, x in given.items() if x is not None}, args.changes
    )
    return with_compute_types(args.method, fields, platform or jax.default_backend())


def merge_changes(given: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Fields that are given, and those of `--set`."""
    fields = dict(given)
    for change in changes:
        field, equals, text = change.partition("=")
        if not (field and equals):
            raise InputError(f"--set {change}: write field=value")
        if field in fields:
            raise InputError(f"--set {change}: {field} is given twice; give it once")
        fields[field] = literal(text)
    return fields


def positive(args: argparse.Namespace, *names: str) -> None:
    """Checks that some integer options are at least 1 where given."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} {value}: use at least 1")


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Figures as JSON, or one `name: value` a line."""
    if as_json:
        print(json.dumps(_without_nan(figures), allow_nan=False))
        return
    for name, value in figures.items():
        text = f"{value:.3f}" if isinstance(value, float) else value
        text = "not known" if text == "nan" else text
        print(f"{name.replace('_', ' ')}: {text}")


def _without_nan(value: Any) -> Any:
    """NaN and infinity, which JSON lacks, as None."""
    if isinstance(value, dict):
        return {name: _without_nan(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
