"""`vos-jax train --show`: what a run would be, as `--set` takes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vos_jax.cli import main
from vos_jax.training.experiment import Experiment, describe, list_fields
from vos_jax.training.experiment_file import load_experiment

NAMES = [
    "stm/main",
    "lcm/pretrain",
    "hmmn/pretrain",
    "rde/main",
    "rde/tiny",
    "stm/tiny",
]
PROGRAM = """
import sys
from vos_jax.cli import main
assert main(["train", "stm/main", "--show"]) == 0
heavy = {"tensorflow", "torch", "orbax"} & sys.modules.keys()
assert not heavy, heavy
"""


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["train", *words, "--show"]) == 0
    return capsys.readouterr().out


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_can_be_set_again(name, capsys):
    lines = settings(show(capsys, name))
    assert load_experiment(name, lines) == load_experiment(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_shown(name, capsys):
    def count(part):
        is_nested = isinstance(part, dict | list) and (
            isinstance(part, dict) or any(isinstance(x, dict) for x in part)
        )
        parts = part.values() if isinstance(part, dict) else part
        return sum(map(count, parts)) if is_nested and part else 1

    experiment = load_experiment(name)
    assert len(settings(show(capsys, name))) == count(describe(experiment))


def test_defaults_classes_and_changes_are_shown(capsys):
    lines = show(
        capsys, "rde/main", "--set", "steps=7", "--set", "optimizer.beta2=0.99"
    ).splitlines()
    for line in (
        "steps = 7",
        "optimizer.beta2 = 0.99",
        "optimizer.learning_rate = 2e-05",
        "weights = None",
        "data.0.options.split = 'train'",
        "step.bootstrap_fraction = 0.15",
        "# recipe: JumpRecipe",
        "# objective: RDELoss",
        "# recipe.clip_affine: Affine",
    ):
        assert line in lines


def test_json_holds_the_same(capsys):
    shown = json.loads(show(capsys, "rde/main", "--set", "seed=3", "--json"))
    assert shown == describe(load_experiment("rde/main", ["seed=3"]))


def test_what_is_no_literal_is_marked():
    experiment = load_experiment("stm/tiny", ["method_options={'a.b': 1}"])
    assert "method_options = {'a.b': 1}" in list_fields(experiment)
    odd = Experiment(**{**vars(experiment), "method_options": {"path": Path("a")}})
    assert f"# method_options.path = {Path('a')!r}" in list_fields(odd)


def test_nothing_is_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    show(capsys, "stm/main", "--workdir", "run", "--data", "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_wrong_change_is_refused(capsys):
    assert main(["train", "stm/main", "--show", "--set", "stepz=3"]) == 2
    out, err = capsys.readouterr()
    assert not out and "Experiment has no field 'stepz'" in err


def test_training_needs_a_folder(capsys):
    assert main(["train", "stm/main"]) == 2
    assert "--workdir is missing; name the folder" in capsys.readouterr().err


@pytest.mark.slow
def test_no_framework_is_loaded():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE)
