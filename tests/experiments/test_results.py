"""The page of all papers' tables, from clips to its text."""

from pathlib import Path

import pytest

from tests.bench.toy import load_toy
from tests.experiments.scripts import script
from vos_jax.inference import demo
from vos_jax.reports import ablation

results = script("results")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small clips, and a network that compiles in a moment."""
    monkeypatch.setattr(demo, "_SIZE", (32, 48))
    monkeypatch.setattr(demo, "_FRAMES", 4)
    monkeypatch.setattr(ablation, "load_model", load_toy)


def test_tables_of_clips_come_into_the_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Results\n\n<!-- tables -->\n\nold\n")
    command = [
        *("--papers", "stm", "--generated", "1", "--out", str(tmp_path / "out")),
        *("--work", str(tmp_path / "work"), "--page", str(page)),
    ]
    assert results.main(command) == 0
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- tables -->\n\n## STM, ICCV 2019\n\n")
    assert "\nold\n" not in text
    # All papers are there, with what was found where it was.
    for name in results.PAPERS:
        for table in results.paper_of(name).printed.tables.values():
            assert f"### {table.id}: {table.title}\n" in text
    assert text.count("clips: J&F") == 5
    assert (tmp_path / "out" / "clips" / "stm" / "T5.csv").is_file()
    assert "T5: which frames are kept" in capsys.readouterr().out


def test_a_page_without_a_place_for_tables_is_told(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Results\n")
    assert results.main(["--out", str(tmp_path), "--page", str(page)]) == 2
    assert "page.md: has no line <!-- tables -->" in capsys.readouterr().err


def test_a_table_of_modules_that_is_none_is_told(tmp_path, capsys):
    page, modules = tmp_path / "page.md", tmp_path / "modules.json"
    page.write_text("<!-- tables -->\n")
    command = ["--out", str(tmp_path), "--page", str(page), "--modules", str(modules)]
    for text in (None, "{", '{"rows": [{"module": "kernel"}]}', '{"rows": 1}'):
        if text is not None:
            modules.write_text(text)
        assert results.main(command) == 2
        assert "modules.json: cannot be read as a table" in capsys.readouterr().err
    assert page.read_text() == "<!-- tables -->\n"


def test_the_page_of_the_project_is_what_its_results_say():
    root = Path(results.__file__).parents[1]
    _, _, tables = (
        (root / "docs" / "results.md").read_text().partition("<!-- tables -->\n")
    )
    papers = [results.paper_of(name) for name in results.PAPERS]
    found = root / "benchmarks" / "results"
    assert tables == results.page_of(papers, found / "papers", found / "modules.json")
