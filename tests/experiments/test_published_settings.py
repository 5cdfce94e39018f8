"""What the papers give for their stages: it is that, and the stage's file says it."""

import ast
from pathlib import Path

import jax
import pytest

from vos_jax.methods import create
from vos_jax.methods.weights import variable_shapes
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


def test_a_skip_may_grow_over_the_whole_run():
    reproduced = load_experiment("stm/main")
    linear = load_experiment("stm/main", [f"recipe.skip_steps={reproduced.steps}"])
    assert [reproduced.recipe.skip_at(step) for step in (0, 749, 750, 18_750)] == [
        *(0, 0, 1, 25)
    ]
    last = reproduced.steps - 1
    assert [linear.recipe.skip_at(step) for step in (0, last // 2, last)] == [0, 12, 25]


@pytest.mark.parametrize("name", ["stm/main", "lcm/main", "lcm/sequence"])
def test_scale_and_shift_of_norms_are_trained_unless_they_are_fixed(name):
    given = load_experiment(name)
    fixed = load_experiment(name, ["optimizer.frozen=('*/norm/*',)"])
    params = variable_shapes(create(given.method, **given.method_options))["params"]

    def frozen(experiment):
        build = experiment.optimizer.build(experiment.steps, params)
        if build.frozen is None:
            return set()
        found = jax.tree.leaves_with_path(build.frozen)
        return {jax.tree_util.keystr(path) for path, is_frozen in found if is_frozen}

    assert frozen(given) == set()
    assert len(frozen(fixed)) > 100
    assert all("'norm'" in path for path in frozen(fixed))
