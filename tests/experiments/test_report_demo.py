"""The script that scores the demo weights on DAVIS."""

import json

import vos_jax
from tests.clips import write_davis
from tests.experiments.scripts import script

report_demo = script("stm/report_demo")


def test_both_are_scored(tmp_path, tiny_method, tiny_variables, capsys):
    root = write_davis(tmp_path / "davis", ["alpha"])
    weights = tmp_path / "tiny.safetensors"
    vos_jax.save_weights(weights, "stm", tiny_method, tiny_variables)
    command = [
        *("--root", str(root), "--dataset", "davis2017", "--method", "stm"),
        *("--weights", str(weights), "--out", str(tmp_path / "out")),
    ]
    assert report_demo.main(command) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary.keys() == {"stm", "first mask"}
    assert 0 < summary["first mask"]["J-Mean"] < 1
    assert "first mask\n" in capsys.readouterr().out


def test_bad_input_is_told_in_one_line(tmp_path, capsys):
    gone = str(tmp_path / "gone")
    assert report_demo.main(["--root", gone, "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("report_demo: error: ")
    assert gone in err and err.count("\n") == 1
