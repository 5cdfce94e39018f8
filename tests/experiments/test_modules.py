"""The script of modules: what it knows, and what it takes."""

import csv
import json

import pytest

import vos_jax
from tests.bench.toy import load_toy
from tests.experiments.scripts import script
from vos_jax.inference import demo
from vos_jax.reports import ablation
from vos_jax.training.experiment_file import load_experiment

modules = script("modules")


def run(out, *words):
    return modules.main(["--out", str(out), *map(str, words)])


@pytest.mark.parametrize("name", modules.MODULES)
def test_a_module_is_one_and_is_left_out_as_its_training_leaves_it_out(name):
    module = modules.MODULES[name]
    whole = vos_jax.create(module.method).config
    without = vos_jax.create(module.method, **module.without).config
    assert without != whole
    if module.trained is None:
        return
    experiment = load_experiment(module.trained.removeprefix("vos-jax train "))
    assert experiment.method == module.method
    trained = vos_jax.create(module.method, **experiment.method_options).config
    assert trained == without


def test_the_list_has_every_module_and_how_it_is_trained(tmp_path, capsys):
    assert run(tmp_path, "--list") == 0
    shown = capsys.readouterr().out
    for name, module in modules.MODULES.items():
        assert f"{name}: {module.title}" in shown
        assert module.trained is None or module.trained in shown
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_table_from_clips_to_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "_SIZE", (32, 48))
    monkeypatch.setattr(ablation, "load_model", load_toy)
    short = modules.MODULES["memory"]._replace(frames=3)
    monkeypatch.setitem(modules.MODULES, "memory", short)
    words = ("--modules", "memory", "--sets", 2, "--clips", 1)
    assert run(tmp_path, *words) == 0
    with (tmp_path / "modules.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["module"] == "memory" and row["weights"] == "same"
    gain = float(row["whole"]) - float(row["without"])
    assert float(row["gain"]) == pytest.approx(gain) and float(row["spread"]) >= 0
    assert "2 x 1 clips of leaving" in capsys.readouterr().out
    before = (tmp_path / "modules.json").read_text()
    assert run(tmp_path, *words) == 0
    rows = [json.loads(text)["rows"] for text in (before, _again(tmp_path))]
    assert rows[0] == rows[1]


def _again(out):
    return (out / "modules.json").read_text()


def test_a_table_keeps_what_was_measured_before_of_other_modules(
    tmp_path, capsys, monkeypatch
):
    worth = 0.0

    def measure(chosen, *given, **options):
        return [modules.Row(name, "clips", "same", worth, 0, worth) for name in chosen]

    monkeypatch.setattr(modules, "measure_modules", measure)
    for worth, names in (0.1, ["fine"]), (0.2, ["memory"]), (0.3, ["fine"]):
        monkeypatch.setattr("sys.argv", [str(worth)])
        assert run(tmp_path, "--modules", *names) == 0
    table = json.loads(_again(tmp_path))
    found = [(row["module"], row["gain"]) for row in table["rows"]]
    assert found == [("memory", 0.2), ("fine", 0.3)]
    assert table["commands"] == {"memory": "0.2", "fine": "0.3"}
    assert "memory" in capsys.readouterr().out.rpartition("\n\n")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--without", "kernel=FILE"), "--without kernel: it guides inference alone"),
        (("--without", "fine"), "--without fine: write NAME=FILE"),
        (
            ("--weights", "unknown=FILE"),
            "unknown=FILE: there is no 'unknown'",
        ),
        (("--sets", "0"), "--sets"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words, message, tmp_path, capsys):
    assert run(tmp_path, "--modules", "kernel", "fine", *words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and message in told[0]
