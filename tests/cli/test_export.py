"""`vos-jax export` as users type it."""

import json

import pytest

from vos_jax.cli import main


@pytest.mark.parametrize(
    ("given", "which", "half"),
    [
        ([], "newest", False),
        (["--step", "best"], "best", False),
        (["--step", "12", "--half"], 12, True),
    ],
)
def test_a_checkpoint_is_chosen_by_step_or_by_name(
    monkeypatch, tmp_path, capsys, given, which, half
):
    def export_weights(*asked):
        assert asked == (tmp_path, tmp_path / "o.safetensors", which, half)
        return {"step": 12, "arrays": 3, "parameters": 4}

    monkeypatch.setattr("vos_jax.training.export.export_weights", export_weights)
    target = str(tmp_path / "o.safetensors")
    assert main(["export", str(tmp_path), target, *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "written": target,
        "step": 12,
        "arrays": 3,
        "parameters": 4,
    }


@pytest.mark.parametrize("step", ["last", "-1", "1.5", ""])
def test_a_step_that_is_none_is_refused(tmp_path, capsys, step):
    assert main(["export", str(tmp_path), "o.safetensors", f"--step={step}"]) == 2
    error = capsys.readouterr().err
    assert error == (f"vos-jax: error: --step {step}: use a step, best or newest\n")


def test_a_folder_that_is_no_run_is_told_in_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path), "o.safetensors"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{tmp_path}/experiment.json: cannot be read" in error
