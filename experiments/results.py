r"""All papers' tables by their small networks, and the page that shows them.

    python experiments/results.py --davis DATA/DAVIS --size 240 --generated 3 \
        --out benchmarks/results/papers --modules benchmarks/results/modules.json \
        --page docs/results.md

What ships with the package is run on the sequences of DAVIS 2016 val that `DATA/DAVIS`
has and on held-out generated clips. They stand for the videos of all tables; a row that
needs other weights has the paper's numbers alone. What is done stays done: the same
command goes on where it was stopped. Masks stay in `--work`, tables go to `--out`. What
`experiments/modules.py` has measured before comes first on the page.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from vos_jax.cli import options
from vos_jax.cli.script import run_script
from vos_jax.errors import InputError
from vos_jax.media import atomic_path
from vos_jax.reports.modules import Row, modules_table
from vos_jax.reports.paper import Paper
from vos_jax.reports.paper_plan import Given
from vos_jax.reports.paper_tables import make_tables
from vos_jax.reports.results_page import results_page
from vos_jax.runtime.python_file import run_python_file

PAPERS = ("stm", "hmmn", "lcm", "rde", "dmn_aoa")

_BEGIN = "<!-- tables -->\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the options and runs; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--papers", nargs="+", default=list(PAPERS), choices=PAPERS, metavar="NAME"
    )
    parser.add_argument("--davis", type=Path, metavar="DIR", help="DAVIS 2016, too")
    parser.add_argument(
        "--size", type=int, metavar="N", help="compute DAVIS with its shorter side at N"
    )
    parser.add_argument("--generated", type=int, metavar="N", help="clips")
    options.add_speed_option(parser, "none")
    parser.add_argument("--work", type=Path, default=Path("papers"), metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--modules", type=Path, metavar="FILE", help="modules.json of modules.py"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"its text after {_BEGIN.strip()}"
    )
    args = parser.parse_args(argv)
    return run_script("results", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Makes the tables that can be made, then the page of all papers."""
    options.positive(args, "size", "generated")
    papers = {name: paper_of(name) for name in PAPERS}
    for name in args.papers:
        if args.davis is not None:
            _make(papers[name], args, "real")
        if args.generated is not None:
            _make(papers[name], args, "clips")
    if args.page is not None:
        _write_page(args.page, list(papers.values()), args.out, args.modules)


def paper_of(name: str) -> Paper:
    """The tables of `experiments/<name>/tables.py`."""
    module = run_python_file(Path(__file__).parent / name / "tables.py")
    paper: Paper = module.PAPER
    return paper


def _make(paper: Paper, args: argparse.Namespace, videos: str) -> None:
    """Tables of one kind of videos, into `work`, and what they say into `out`."""
    work = args.work / videos / paper.method
    given = Given(out=work, small=True, clips=args.generated, timed=args.speed)
    tables = [x.id for x in paper.printed.tables.values() if _is_run(paper, x.id)]
    if videos == "real":
        given = dataclasses.replace(
            given,
            clips=None,
            stand_in="davis2016/val",
            roots={"--davis": args.davis},
            size=args.size,
        )
    make_tables(paper, tables, given)
    out = args.out / videos / paper.method
    out.mkdir(parents=True, exist_ok=True)
    for table in tables:
        for end in ("csv", "json"):
            shutil.copy(work / f"{table}.{end}", out)


def _is_run(paper: Paper, name: str) -> bool:
    """Whether any row of a table is run at all."""
    table = paper.printed.tables[name]
    found = (paper.recipe(row, table.places[0]) for row in table.rows)
    return not all(isinstance(recipe, str) for recipe in found)


def page_of(papers: Sequence[Paper], out: Path, modules: Path | None) -> str:
    """What the page says after its head."""
    tables = results_page(papers, {"real": out / "real", "clips": out / "clips"})
    return f"\n{'' if modules is None else _modules(modules)}{tables}"


def _modules(file: Path) -> str:
    """The part of the page that shows what modules are worth."""
    script = run_python_file(Path(__file__).parent / "modules.py")
    try:
        rows = [Row(**row) for row in json.loads(file.read_text())["rows"]]
        table = modules_table(script.MODULES, rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read as a table of modules") from error
    return f"## Modules, on clips that they are for\n\n{table}\n\n"


def _write_page(
    page: Path, papers: Sequence[Paper], out: Path, modules: Path | None
) -> None:
    """Keeps what a page says before its tables."""
    text = page.read_text()
    head, begin, _ = text.partition(_BEGIN)
    if not begin:
        raise InputError(f"{page}: has no line {_BEGIN.strip()}; add one")
    tables = page_of(papers, out, modules)
    with atomic_path(page) as temporary:
        temporary.write_text(f"{head}{begin}{tables}")


if __name__ == "__main__":
    sys.exit(main())
