r"""What each paper's module is worth in small, on the clips that its idea is for.

    python experiments/modules.py --list
    python experiments/modules.py --modules kernel fine \
        --without fine=runs/hmmn_world_without_fine/weights.safetensors \
        --davis DAVIS --size 240 --out results/modules

The whole network beside the one trained without the module, on five sets of clips from
seeds that training never sees, and on the sequences of DAVIS 2016 val that `DAVIS` has.
Modules that guide inference alone go without in the same weights. What is done stays
done: the same command goes on where it was stopped, and a table keeps the rows of other
modules that were measured into the same folder.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vos_jax.cli import options
from vos_jax.cli.named_files import named_files
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.reports.ablation import Split
from vos_jax.reports.modules import Module, Row, measure_modules
from vos_jax.runtime.text_table import text_table, write_table

MODULES: Mapping[str, Module] = {
    "memory": Module(
        "STM: frames between the first and the previous one are remembered (sec. 3.6)",
        "stm-tiny",
        {"mem_every": None},
        "leaving",
        frames=60,
    ),
    "kernel": Module(
        "HMMN: kernels guide the coarse read (sec. 3.1)",
        "hmmn-tiny",
        {"kernel_guided": False},
        "lookalikes",
    ),
    "fine": Module(
        "HMMN: memory reads at strides 8 and 4 (sec. 3.2)",
        "hmmn-tiny",
        {"fine_stages": ()},
        "thin",
        trained="vos-jax train hmmn/tiny:world_without_fine",
    ),
    "position": Module(
        "LCM: position guidance (sec. 3.3)",
        "lcm-tiny",
        {"use_pgm": False},
        "lookalikes",
        trained="vos-jax train lcm/tiny:world_without_pgm",
    ),
    "relation": Module(
        "LCM: object relation (sec. 3.4)",
        "lcm-tiny",
        {"use_orm": False},
        "leaving",
        trained="vos-jax train lcm/tiny:world_without_orm",
    ),
    "recurrent": Module(
        "RDE-VOS: a recurrent embedding beside first and latest frame (sec. 3.3)",
        "rde-tiny",
        {"recurrent": False},
        "slow",
        frames=150,
        trained="vos-jax train rde/tiny:world_without_sam",
    ),
    "alignment": Module(
        "DMN-AOA: objects are aligned before they are compared (AOA, sec. 3.3)",
        "dmn-aoa-tiny",
        {"use_aoa": False},
        "leaving",
        trained="vos-jax train dmn_aoa/tiny:world_without_alignment",
    ),
    "proposals": Module(
        "DMN-AOA: proposals are matched with templates (sec. 3.1)",
        "dmn-aoa-tiny",
        {"use_matcher": False},
        "leaving",
        trained="vos-jax train dmn_aoa/tiny:world_without_proposals",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--list", action="store_true", help="say what there is, and do nothing"
    )
    parser.add_argument(
        "--modules", nargs="+", default=list(MODULES), choices=MODULES, metavar="NAME"
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="weights trained without a module",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="METHOD=FILE",
        help="of whole networks (those that ship)",
    )
    parser.add_argument("--sets", type=int, default=5, metavar="N", help="of clips (5)")
    parser.add_argument(
        "--clips", type=int, default=6, metavar="N", help="in each set (6)"
    )
    parser.add_argument("--davis", type=Path, metavar="DIR", help="DAVIS 2016, too")
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute DAVIS with its shorter side at N"
    )
    parser.add_argument("--out", type=Path, default=Path("modules"), metavar="DIR")
    args = parser.parse_args(argv)
    return run_script("modules", lambda: show() if args.list else run(args))


def show() -> None:
    """Says which modules there are, and how networks without them are trained."""
    for name, module in MODULES.items():
        print(f"{name}: {module.title}; on {module.theme}")
        print(f"    without: {module.trained or 'the same weights'}")


def run(args: argparse.Namespace) -> None:
    """Evaluates; prints each row as soon as it is known, and writes the table."""
    options.positive(args, "sets", "clips", "size")
    without = _named("--without", args.without, args.modules)
    methods = {MODULES[name].method for name in args.modules}
    whole = _named("--weights", args.weights, sorted(methods))
    modules = {name: MODULES[name] for name in args.modules}
    for name in without:
        if modules[name].trained is None:
            raise InputError(
                f"--without {name}: it guides inference alone, and goes without in the"
                " weights of the whole network"
            )
    earlier = _earlier(args.out)
    real = None if args.davis is None else Split("davis2016", args.davis, "val")
    rows = []
    for row in measure_modules(
        modules,
        args.out,
        whole=whole,
        without=without,
        sets=args.sets,
        clips=args.clips,
        real=real,
        size=args.size,
    ):
        rows.append(row)
        print(text_table([row]), flush=True)
    table = _joined(earlier, args.modules, rows)
    print(f"\n{text_table(table.rows)}")
    write_table(args.out, "modules", table.rows, {"commands": table.commands})


class _Table(NamedTuple):
    """Rows that are known, and the command behind those of each module."""

    rows: list[Row]
    commands: dict[str, str]


def _earlier(out: Path) -> _Table:
    """What is in the table already."""
    file = out / "modules.json"
    if not file.exists():
        return _Table([], {})
    try:
        content = json.loads(file.read_text())
        return _Table([Row(**x) for x in content["rows"]], content["commands"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: damaged, or of an older version; move it") from error


def _joined(earlier: _Table, measured: Sequence[str], rows: Sequence[Row]) -> _Table:
    """The table with new rows in the place of those of their modules."""
    kept = [row for row in earlier.rows if row.module not in measured]
    order = list(MODULES)
    commands = {**earlier.commands, **dict.fromkeys(measured, " ".join(sys.argv))}
    return _Table(
        sorted([*kept, *rows], key=lambda row: order.index(row.module)),
        {name: commands[name] for name in order if name in commands},
    )


def _named(option: str, words: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """NAME=FILE each."""
    common, own = named_files(option, words, names)
    if common is not None:
        raise InputError(f"{option} {common}: write NAME=FILE; {', '.join(names)}")
    return own


if __name__ == "__main__":
    sys.exit(main())
