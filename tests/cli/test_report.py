"""What `vos-jax report` makes of what other commands leave."""

import json
import re

import pytest

from vos_jax.cli import main
from vos_jax.inference import demo


def page_of(folder, out, *more):
    assert main(["report", str(folder), "--out", str(out), *more]) == 0
    return (out / "report.html").read_text(encoding="utf-8")


def table_row(page, name):
    (row,) = re.findall(rf'<th scope="row">{name}</th><td[^>]*>([^<]*)</td>', page)
    return row


@pytest.mark.parametrize("speed", ["one", "none"])
def test_a_page_of_what_evaluate_leaves(files, weights, capsys, speed):
    command = ["evaluate", "--dataset", "davis2017", "--root", str(files / "davis")]
    command += ["--split", "val", "--method", "stm", "--weights", str(weights)]
    command += ["--out", str(files / "out"), "--speed", speed, "--json"]
    assert main(command) == 0
    expected = json.loads(capsys.readouterr().out)
    page = page_of(files / "out", files / "page", "--json")
    printed = json.loads(capsys.readouterr().out)
    found = printed["results"]["out"]
    assert found == {name: expected[name] for name in found}
    assert printed["report"] == str(files / "page" / "report.html")
    assert table_row(page, "method") == "stm"
    assert table_row(page, "weights").startswith(f"{weights} (")
    assert table_row(page, "computed at") == "the size of the frames"
    assert "results-val.json has the same" in table_row(page, "scores")
    assert ("warm, frame by frame" in page) == (speed == "one")
    assert "videos of the run that made the masks, files too" in page
    written = json.loads((files / "out" / "results-val.json").read_text())["about"]
    assert written["memory"]["process_peak_bytes"] > 2**26
    assert f">{written['memory']['process_peak_bytes'] / 2**20:.0f}<" in page
    assert page.count("<img ") >= 6
    other = files / "davis" / "Annotations" / "480p"
    page = page_of(files / "out", files / "page", "--masks", str(other))
    for name in ("method", "weights", "computed at", "type", "device", "versions"):
        assert "these are other masks than those of the run" in table_row(page, name)
    assert "videos of the run" not in page and "warm, frame by frame" not in page
    assert "Most memory in use" not in page and "No speed was noted" not in page
    # A run that finds all masks there has timed none of them.
    assert main(command) == 0
    written = json.loads((files / "out" / "results-val.json").read_text())["about"]
    assert "segmented" not in written and "memory" not in written


def test_a_page_of_what_the_demo_leaves_wherever_it_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_WORLD_SIZE", (48, 64))
    monkeypatch.setattr(demo, "_FRAMES", 4)
    assert main(["demo", "--clips", "1", "--out", str(tmp_path / "demo")]) == 0
    (tmp_path / "demo").rename(tmp_path / "kept")
    capsys.readouterr()
    page = page_of(tmp_path / "kept", tmp_path / "page")
    assert capsys.readouterr().out.startswith(f"open {tmp_path / 'page'}")
    assert table_row(page, "method") == "stm-tiny"
    assert table_row(page, "weights") == "that ship with it"
    assert page.count("<img ") == 3 * 2
