"""Experiments as files, and what `--set` may change."""

import textwrap

import pytest

from vos_jax.errors import InputError
from vos_jax.training.experiment_file import load_experiment

FILE = """
from vos_jax.data.recipes import VideoRecipe
from vos_jax.training.experiment import DataConfig, Experiment

def experiment():
    return Experiment(
        method="stm-tiny",
        data=(DataConfig(source="generated", options={"count": 3}),),
        recipe=VideoRecipe(size=(64, 64)),
        batch=2,
        steps=4,
    )
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(textwrap.dedent(FILE))
    return str(path)


def test_fields_are_changed_at_any_depth(file):
    changes = [
        "steps=9",
        "optimizer.learning_rate=1",
        "recipe.size=[96, 80]",
        "data.0.options.count=7",
        "data.0.folder=here",
        "weights=some/file.safetensors",
        "step.ema_decay=0.9",
        "twins=True",
    ]
    found = load_experiment(file, changes)
    assert found.steps == 9
    assert found.optimizer.learning_rate == 1
    assert found.recipe.size == (96, 80)
    assert found.data[0].options == {"count": 7}
    assert found.data[0].folder == "here"
    assert found.weights == "some/file.safetensors"
    assert found.step.ema_decay == 0.9
    assert found.twins is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stepz=3", r"--set stepz=3: Experiment has no field 'stepz'; it has: method,"),
        ("optimizer.rate=3", "OptimizerConfig has no field 'rate'"),
        ("steps", "write field=value"),
        ("steps=many", r"needs a value like 4 \(int\)"),
        ("steps=0", "steps=0: use at least 1"),
        ("keep=0", "keep=0: use at least 1"),
        ("log_every=-1", "log_every=-1: use at least 1"),
        ("steps=True", r"needs a value like 4 \(int\)"),
        ("optimizer.learning_rate=fast", r"needs a value like 1e-05 \(float\)"),
        ("recipe=static", r"needs a value like VideoRecipe.*\(VideoRecipe\)"),
        ("recipe.size=96", r"needs a value like \(64, 64\) \(tuple\)"),
        ("steps=1.5", "needs a value like 4"),
        ("twins=3", "needs a value like False"),
        ("steps.more=3", "'more' is inside of a plain value"),
        ("data.4.folder=x", "'4' is not one of 1"),
        ("data=()", "trains on nothing"),
        ("recipe.frames=1", "frames=1: a clip has at least 2"),
        ("optimizer.name=lion", "use one of adam"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(file, change, message):
    with pytest.raises(InputError, match=message) as caught:
        load_experiment(file, [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"small.py: has no function experiment\(\)"),
        ("def experiment(): return 3", "gives a int, not an Experiment"),
        ("def experiment(:", "small.py: SyntaxError"),
        ("import nothing_like_it", "small.py: ModuleNotFoundError"),
        (
            "from vos_jax.methods.objective import StepConfig\nStepConfig(loss='l1')",
            "small.py: .*loss='l1': use cross_entropy",
        ),
        ("def experiment(): return 1 + ''", r"small.py: experiment\(\) fails"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(tmp_path, text, message):
    path = tmp_path / "small.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_experiment(str(path))


def test_an_unknown_experiment_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no such experiment; .* stm/main"):
        load_experiment("stm/mian")


def test_the_small_experiment_needs_no_data():
    found = load_experiment("stm/tiny")
    assert {each.source for each in (*found.data, *found.validation)} == {"generated"}
    seeds = [each.options.get("seed", 0) for each in (*found.data, *found.validation)]
    assert len(set(seeds)) == 2
