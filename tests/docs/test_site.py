"""Pages, links and commands of the site; the site itself where Sphinx is installed."""

import argparse
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from generator import command_line, links, navigation
from generator.package import read_package
from generator.pages import SOURCE, Pages
from generator.reference import Reference

from vos_jax.cli import make_parser

ROOT = Path(__file__).parents[2]


def test_every_link_of_every_page_has_a_place(tmp_path):
    pages = Pages(ROOT)
    pages.write(tmp_path)
    assert {"index", "results", "benchmarks", "changelog", "experiments/stm"} <= set(
        pages.names.values()
    )
    # On GitHub the examples are beside the pages, here they are shown as they are.
    assert "examples/kmn.py" in pages.sources
    text = (tmp_path / "write-your-own-read.md").read_text()
    assert f"]({SOURCE}examples/kmn.py)" in text
    text = (tmp_path / "experiments/stm.md").read_text()
    assert "](../results.md#how-tables-are-made)" in text
    assert (tmp_path / "images/architecture.svg").is_file()


def test_every_page_has_a_place_in_the_side_bar():
    there = {name for names in navigation.SECTIONS.values() for name in names}
    pages = set(Pages(ROOT).names.values())
    assert pages - there == {"index"}
    generated = {command_line.PAGE, "reference/index"}
    assert there <= pages | generated


def test_the_side_bar_names_no_page_twice():
    every = [name for names in navigation.SECTIONS.values() for name in names]
    assert len(every) == len(set(every))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / "docs/other.md").write_text("# Other")
    return tmp_path


def test_links_that_lead_nowhere_are_told_with_their_lines(small, tmp_path):
    text = "# A\n\n[a](gone.md)\n[b](../../outside.md)\n[c](../docs)\n"
    (small / "docs/page.md").write_text(text)
    with pytest.raises(ValueError) as caught:
        Pages(small).write(tmp_path / "out")
    assert str(caught.value).splitlines()[1:] == [
        "  docs/page.md:3: gone.md",
        "  docs/page.md:4: ../../outside.md",
        "  docs/page.md:5: ../docs",
    ]


def test_code_is_left_as_it_is(small, tmp_path):
    text = "`[a](b.md)`\n\n```sh\n[c](d.md)\n```\n\n[e](../LICENSE) [f](other.md#x)\n"
    (small / "docs/page.md").write_text(text)
    Pages(small).write(tmp_path / "out")
    written = (tmp_path / "out/page.md").read_text()
    assert written == text.replace("../LICENSE", f"{SOURCE}LICENSE")


WRONG = {
    '<a href="gone.html">': "gone.html does not exist",
    '<a href="other.html#gone">': "nothing there has this id",
    '<a href="#gone">': "nothing there has this id",
    '<a href="../elsewhere.html">': "leaves the site",
    '<a href="source:x.py">': "what is source?",
    '<img src="gone.png">': "gone.png does not exist",
    '<script src="https://cdn.example/x.js"></script>': "from elsewhere",
    '<link rel="stylesheet" href="//cdn.example/x.css">': "from elsewhere",
    '<style>@import "https://cdn.example/x.css";</style>': "from elsewhere",
    '<p style="background: url(https://cdn.example/x.png)">': "from elsewhere",
    '<img srcset="https://cdn.example/x.png 2x">': "from elsewhere",
    '<b id="here"></b><b id="here"></b>': "there twice",
}


@pytest.mark.parametrize("html", WRONG)
def test_what_is_wrong_with_a_site_is_found(html, tmp_path):
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "page.html").write_text(html)
    (wrong,), _ = links.check_site(tmp_path)
    assert wrong.startswith("page.html: ") and WRONG[html] in wrong


def test_a_font_from_elsewhere_is_found(tmp_path):
    (tmp_path / "a.css").write_text("@font-face {src: url('https://x.example/f')}")
    (wrong,), _ = links.check_site(tmp_path)
    assert wrong == "a.css: loads https://x.example/f from elsewhere"


def test_a_site_that_holds_together_is_passed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "other.html").write_text('<p id="there"><a href="in/page.html">')
    (tmp_path / "in/page.html").write_text(
        '<a href="../other.html#there"><a href="#"><a href="https://arxiv.example">'
        '<script src="../a%20b.js?v=1"></script>'
    )
    (tmp_path / "a b.js").write_text("")
    (tmp_path / "a.css").write_text("p {background: url(data:image/png;base64,x)}")
    assert links.check_site(tmp_path) == ([], 5)


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [x for child in action.choices.values() for x in _parsers(child)]
    return [parser]


def test_the_command_line_has_every_command_with_every_option():
    page = command_line.page()
    parsers = _parsers(make_parser())
    assert len(parsers) > 15
    for parser in parsers:
        heading = re.search(rf"^###? {parser.prog}$", page, re.M)
        assert heading, parser.prog
        section = re.split(r"^#", page[heading.end() :], flags=re.M)[0]
        said = re.findall(r"^:::::\{option\} (.*)\n\n(.*)", section, re.M)
        for action in parser._actions:
            if "--help" in action.option_strings:
                continue
            name = action.option_strings[0] if action.option_strings else action.metavar
            texts = [x for head, x in said if re.findall(r"[\w.-]+", head)[0] == name]
            assert len(texts) == 1, f"{parser.prog} {name}"
            assert texts[0], f"{parser.prog} {name}: nothing is said of it"


@pytest.mark.slow
def test_the_site_is_built_and_has_every_name(tmp_path):
    pytest.importorskip("sphinx", reason="comes with the extra docs")
    site = tmp_path / "site"
    command = [sys.executable, "docs/generator", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (site / "index.html").as_uri() in done.stdout
    head, _, packed = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory")
    listed = {x.split()[0] for x in zlib.decompress(packed).decode().splitlines()}
    entries = Reference(read_package(ROOT / "vos_jax")).entries
    assert {x.full for x in entries} <= listed
    assert {x.home for x in entries} <= listed
    first = (site / "index.html").read_text()
    assert "<math" in first and "<msqrt>" in first
    read = (site / "reference/vos_jax.ops.read.html").read_text()
    assert "../source/vos_jax/ops/read.py.html#L-" in read
    # Types and names in running text lead to their descriptions.
    assert 'href="vos_jax.ops.platform.html#vos_jax.ops.platform.Platform"' in read
    assert 'href="vos_jax.ops.divided.html#module-vos_jax.ops.divided"' in read


@pytest.mark.slow
def test_a_folder_that_is_no_site_is_not_replaced(tmp_path):
    pytest.importorskip("sphinx", reason="comes with the extra docs")
    (tmp_path / "mine.txt").write_text("mine")
    command = [sys.executable, "docs/generator", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no site" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"
