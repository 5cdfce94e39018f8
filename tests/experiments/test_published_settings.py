"""What the papers give for their stages: it is that, and the stage's file says it."""

import ast
from pathlib import Path

import pytest

from vos_jax.training.experiment_file import load_experiment

FOLDER = Path(__file__).parents[2] / "experiments"
# Batch, frames, (H, W), optimizer, rate: as printed, for LCM with our batch.
PRINTED = {
    "stm/pretrain": (4, 3, (384, 384), "adam", 1e-5),
    "stm/main": (4, 3, (384, 384), "adam", 1e-5),
    "hmmn/pretrain": (4, 3, (384, 384), "adam", 1e-5),
    "hmmn/main": (4, 3, (384, 384), "adam", 1e-5),
    "lcm/pretrain": (8, 3, (384, 384), "adam", 5e-4),
    "lcm/main": (8, 3, (384, 640), "adam", 1e-5),
    "lcm/sequence": (8, 3, (384, 640), "sgd", 3e-4),
    "stcn/pretrain": (16, 3, (384, 384), "adam", 1e-5),
    "stcn/main": (8, 3, (384, 384), "adam", 1e-5),
    "rde/pretrain": (64, 3, (384, 384), "adam", 2e-5),
    "rde/bl30k": (8, 5, (384, 384), "adam", 1e-5),
    "rde/main": (16, 5, (384, 384), "adam", 2e-5),
}
SAID = {
    *("data", "recipe", "batch", "steps", "optimizer", "step", "frames", "size"),
    *("objects", "name", "learning_rate", "schedule", "weight_decay", "loss"),
    *("memory_mask", "norms"),
}
SAID_OF = {
    "stm/main": {"first_skip", "max_skip", "skip_steps"},
    "hmmn/pretrain": {"dropout", "dropout_steps"},
    "hmmn/main": {"first_skip", "max_skip", "skip_steps", "dropout", "dropout_steps"},
    "lcm/main": {"max_skip", "shuffle", "window", "visible_throughout"},
    "lcm/sequence": {"max_skip", "shuffle", "window", "momentum"},
    **{
        name: {"guidance", "correction", "halved", "milestones", "decay"}
        | {"bootstrap_start", "bootstrap_end", "bootstrap_fraction"}
        for name in PRINTED
        if name.startswith(("stcn", "rde"))
    },
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_published_stage_has_the_printed_settings(name):
    found = load_experiment(name)
    recipe, optimizer = found.recipe, found.optimizer
    assert found.method == name.split("/")[0]
    assert (found.batch, recipe.frames, recipe.size) == PRINTED[name][:3]
    assert (optimizer.name, optimizer.learning_rate) == PRINTED[name][3:]
    is_stepped = name.startswith(("stcn", "rde"))
    assert optimizer.schedule == ("step" if is_stepped else "constant")
    assert found.step.norms == "frozen"
    assert found.step.ema_decay is None


@pytest.mark.parametrize("name", PRINTED)
def test_a_published_stage_says_its_settings_itself(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    said = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    assert not (SAID | SAID_OF.get(name, set())) - said
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "load_experiment" not in names
