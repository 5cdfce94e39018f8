"""The README and the pages of docs/ are executed as they stand.

Blocks of a page run in their order in one folder, the Python ones with common names.
Shell blocks below a `<!-- run -->` comment run too; in all others the commands of
vos-jax are read by its parser. A block below `<!-- file: NAME -->` becomes that file,
which is one of examples/. What a block below `<!-- prints -->` prints stands on the
page, line by line.
"""

import io
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.by_default import by_default
from vos_jax.cli import main
from vos_jax.data.synthetic import generate_clip
from vos_jax.inference import demo
from vos_jax.media import write_labels

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(<!-- (?P<mark>run|prints|file: (?P<file>\S+)) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)[^)]*\)")


class Block(NamedTuple):
    language: str
    code: str
    line: int
    runs: bool
    prints: bool
    file: str | None


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        runs, prints = (match["mark"] == mark for mark in ("run", "prints"))
        yield Block(match["language"], match["code"], line, runs, prints, match["file"])


def _commands(code: str) -> Iterator[list[str]]:
    """The words of each command, lines that end in a backslash joined."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def _name(page: Path) -> str:
    return page.stem


# A minute in all.
LONG = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "evaluation",
        "many-videos",
        "reports",
        "through-time",
        "training-data",
        "tutorial-segment-your-video",
        "using-it",
        "which-method",
        "write-your-own-read",
    )
]


@pytest.mark.parametrize("page", by_default(PAGES, set(PAGES) - set(LONG)), ids=_name)
def test_a_page_runs_as_it_stands(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_SIZE", (64, 96))
    monkeypatch.setattr(demo, "_FRAMES", 8)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in _blocks(page):
        if block.file is not None:
            assert block.code == (ROOT / "examples" / block.file).read_text()
            Path(block.file).write_text(block.code)
        elif block.language == "python":
            # Empty lines in front make tracebacks point into the page.
            code = "\n" * block.line + block.code
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, page, "exec"), names)
            print(printed.getvalue())
            if block.prints:
                lines = printed.getvalue().splitlines()
                standing = page.read_text().splitlines()
                assert lines and not [line for line in lines if line not in standing]
        elif block.runs:
            for program, *words in _commands(block.code):
                assert program == "vos-jax", f"{page.name}: cannot run {program}"
                assert main(words) == 0, f"{page.name}: vos-jax {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_parser_accepts_every_command_of_a_page(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in _blocks(page):
        if block.language not in ("sh", "bash"):
            continue
        for program, *words in _commands(block.code):
            if program == "vos-jax":
                module = import_module(f"vos_jax.cli.{words[0].replace('-', '_')}")
                for name in vars(module):
                    if name == "run" or name.startswith("run_"):
                        monkeypatch.setattr(module, name, lambda args: None)
                assert main(words) == 0


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    text = page.read_text()
    targets = [match["target"] for match in LINK.finditer(text)]
    missing = [x for x in targets if "://" not in x and not (page.parent / x).exists()]
    assert not missing


def test_pages_with_commands_to_run_are_found() -> None:
    running = {page.stem for page in PAGES if any(b.runs for b in _blocks(page))}
    assert {"tutorial-segment-your-video", "evaluation"} <= running
    printing = {p.stem for p in PAGES if any(b.prints for b in _blocks(p))}
    assert "which-method" in printing
    python = {p.stem for p in PAGES if any(b.language == "python" for b in _blocks(p))}
    assert {"README", "write-your-own-read"} <= python


# Of each row of the first table of which-method: the paper, its tables by column, and
# what it calls the row in tables of DAVIS or of YouTube-VOS.
_PRINTED = {
    ("STM", "images, DAVIS, YouTube-VOS"): (
        "hmmn",
        ("T1", "T2", "T3", "T4_2018", "T4_2019"),
        ("stm_yv", "stm"),
    ),
    ("LCM", "images, DAVIS, YouTube-VOS"): (
        "lcm",
        ("T3", "T2_val", "T2_test-dev", "T1", None),
        ("lcm_yv", "lcm"),
    ),
    ("HMMN", "images, DAVIS, YouTube-VOS"): (
        "hmmn",
        ("T1", "T2", "T3", "T4_2018", "T4_2019"),
        ("hmmn_yv", "hmmn"),
    ),
    ("DMN-AOA, ResNet-50", "COCO, DAVIS, YouTube-VOS"): (
        "dmn_aoa",
        (None, "T1_val", None, "T2", None),
        ("dmn_aoa_r50_yv", "dmn_aoa_r50"),
    ),
    ("DMN-AOA, ResNet-101", "COCO, DAVIS, YouTube-VOS"): (
        "dmn_aoa",
        (None, "T1_val", "T1_test-dev", "T2", None),
        ("dmn_aoa_r101_yv", "dmn_aoa_r101"),
    ),
    ("RDE-VOS", "images, DAVIS, YouTube-VOS"): (
        "rde",
        ("T3", "T1", "T2", None, "T4"),
        ("rde_yv", "rde"),
    ),
    ("STCN", "images, BL30K, DAVIS, YouTube-VOS"): (
        "rde",
        ("T3", "T1", "T2", None, "T4"),
        ("stcn_yv_bl30k", "stcn_bl30k"),
    ),
    ("RDE-VOS", "images, BL30K, DAVIS, YouTube-VOS"): (
        "rde",
        ("T3", "T1", "T2", None, "T4"),
        ("rde_yv_bl30k", "rde_bl30k"),
    ),
}


def test_accuracy_of_which_method_is_what_the_papers_print() -> None:
    rows = _table(ROOT / "docs" / "which-method.md", "## Accuracy, as printed")
    found = {(row[0], row[1]): row[2:7] for row in rows}
    assert found.keys() == _PRINTED.keys()
    for key, (paper, tables, names) in _PRINTED.items():
        printed = json.loads((ROOT / f"experiments/{paper}/printed.json").read_text())
        by_id = {table["id"]: table for table in printed["tables"]}
        expected = [_figure(by_id[x], names) if x else "" for x in tables]
        assert found[key] == expected, key


def test_figures_of_the_readme_are_those_of_which_method() -> None:
    page = ROOT / "docs" / "which-method.md"
    memory = {row[0]: row[3] for row in _table(page, "## Memory")}
    accuracy: dict[str, set[str]] = {}
    for row in _table(page, "## Accuracy, as printed"):
        accuracy.setdefault(row[0].split(",")[0], set()).add(row[3])
    readme = _table(ROOT / "README.md", "## Methods")
    assert {row[0] for row in readme} == memory.keys()
    for name, method, *_, printed, needed in readme:
        assert printed in accuracy[method.split(",")[0]], name
        assert needed == f"{memory[name]} MB", name


def _table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its first two lines."""
    section = page.read_text().split(heading)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _figure(table: dict[str, Any], names: tuple[str, ...]) -> str:
    """J&F, or G on YouTube-VOS, of the row that has one of the names."""
    rows = {row["name"]: row["values"] for row in table["rows"]}
    values = next(rows[name] for name in names if name in rows)
    return f"{values['G' if 'G' in values else 'J&F']:.3f}"


def test_the_picture_of_the_readme_is_made_of_what_the_demo_writes(
    tmp_path: Path,
) -> None:
    clip = generate_clip(seed=1, frames=3, size=(32, 48), objects=1)
    frames = tmp_path / "data" / "JPEGImages" / "480p" / "clip0"
    for folder in (frames, tmp_path / "masks" / "clip0"):
        folder.mkdir(parents=True)
    for time, (frame, labels) in enumerate(zip(*clip, strict=True)):
        Image.fromarray(frame).save(frames / f"{time:05d}.png")
        write_labels(tmp_path / "masks" / "clip0" / f"{time:05d}.png", labels)
    script = runpy.run_path(str(ROOT / "docs" / "images" / "animate_demo.py"))
    script["animate"](tmp_path, tmp_path / "demo.webp")
    with Image.open(tmp_path / "demo.webp") as picture:
        assert picture.n_frames == 3
    with Image.open(ROOT / "docs" / "images" / "demo.webp") as committed:
        assert committed.n_frames == demo._FRAMES
