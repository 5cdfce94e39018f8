"""Every experiment: can be loaded and described, and fits its data."""

import argparse
import ast
import json
import re
import shlex
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import pytest

from tests.experiments.replicas import write_replica
from vos_jax.data.clips import batch_at
from vos_jax.engine.experiment import describe, differences, load_experiment
from vos_jax.engine.train_start import open_data

FOLDER = Path(__file__).parents[2] / "experiments"
COMMAND = re.compile(r"^ {0,4}(vos-jax (?:.*\\\n)*.*)$", re.M)
# Of COCO's decoder, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def _names():
    """All experiments: `experiment()` by the name of its file, others after a colon."""
    for path in sorted(FOLDER.glob("*/*.py")):
        name = path.relative_to(FOLDER).with_suffix("").as_posix()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                public = not node.name.startswith("_")
                if public and ast.unparse(node.returns) == "Experiment":
                    yield name if node.name == "experiment" else f"{name}:{node.name}"


def _commands(text):
    """The words of every command, lines that end in a backslash joined."""
    for match in COMMAND.finditer(text):
        yield shlex.split(match[1].replace("\\\n", " "), comments=True)


def _docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


NAMES = list(_names())
PAGES = sorted(FOLDER.rglob("*.md"))
RUNS = [page for page in PAGES if "--workdir" in page.read_text()]
DOCUMENTED = [
    pytest.param(words, id=" ".join(words[1:3]))
    for text in (
        *map(_docstring, sorted(FOLDER.glob("*/*.py"))),
        *(page.read_text() for page in PAGES),
    )
    for words in _commands(text)
]


def test_the_published_experiments_are_found():
    published = {"pretrain", "main", "main:davis", "main:youtube_vos"}
    assert {f"stm/{name}" for name in published} <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if ":" not in name])
def test_an_experiment_is_the_same_by_name_and_by_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name, by_path = load_experiment(name), load_experiment(f"{FOLDER / name}.py")
    assert by_name == by_path
    assert not differences(describe(by_name), describe(by_path))


@pytest.mark.parametrize("name", NAMES)
def test_json_holds_all_of_an_experiment(name):
    found = load_experiment(name)
    # Without `default`: what JSON does not know would be stored as a mere text.
    assert json.loads(json.dumps(asdict(found))) == describe(found)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_makes_clips_of_every_data_set(name, tmp_path):
    found = load_experiment(name)
    for config in found.data:
        write_replica(tmp_path, config)
    small = replace(found.recipe, size=(32, 32), other_sizes=())
    for config in found.data:
        if config.source == "coco":
            pytest.importorskip("pycocotools")
        source = open_data((config,), tmp_path)
        assert all(found.recipe.accepts(video) for video in source.videos)
        clips = batch_at(source, small, found.seed, 0, 2)
        assert clips.frames.shape == (2, small.frames, 32, 32, 3)
        assert clips.valid.any(axis=1).all()


@pytest.mark.parametrize("name", NAMES)
def test_validation_is_another_split_of_the_data(name, tmp_path):
    found = load_experiment(name)
    assert found.validation
    for config in found.validation:
        write_replica(tmp_path, config)
        assert all(video.length > 1 for video in open_data((config,), tmp_path).videos)
        for trained in found.data:
            assert (config.source, config.options) != (trained.source, trained.options)


def test_an_image_of_voc_and_sbd_counts_once(tmp_path):
    found = load_experiment("stm/pretrain")
    both = tuple(each for each in found.data if each.source in ("pascal-voc", "sbd"))
    for config in both:
        write_replica(tmp_path, config)
    names = [video.name.split("/")[1] for video in open_data(both, tmp_path).videos]
    assert names == ["2007_000032", "2008_000003", "2008_000008", "2009_1"]


def test_both_stages_of_stm_differ_in_data_clips_and_length_alone():
    first, second = (
        describe(load_experiment(f"stm/{x}")) for x in ("pretrain", "main")
    )
    changed = {line.split("=")[0].split(".")[0] for line in differences(first, second)}
    assert changed == {"data", "recipe", "steps"}


@pytest.mark.parametrize("source", ["davis2017", "youtube-vos"])
def test_the_ablation_takes_one_data_set_and_nothing_else_away(source):
    mixed = load_experiment("stm/main")
    alone = load_experiment(f"stm/main:{source.removesuffix('2017').replace('-', '_')}")
    assert [(each.source, each.repeat) for each in alone.data] == [(source, 1)]
    assert replace(alone, data=mixed.data) == mixed


@pytest.mark.parametrize("words", DOCUMENTED)
def test_documented_commands_name_what_there_is(words):
    _, command, *rest = words
    parser = argparse.ArgumentParser(exit_on_error=False)
    import_module(f"vos_jax.cli.{command}").add_arguments(parser)
    args = parser.parse_args(rest)
    if command == "train":
        load_experiment(args.experiment, args.changes)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_its_command_in_its_file_or_on_the_page_beside_it(name):
    path = FOLDER / f"{name.split(':')[0]}.py"
    page = (path.parent / "README.md").read_text()
    told = [
        words[1:3] for text in (_docstring(path), page) for words in _commands(text)
    ]
    assert ["train", name] in told


@pytest.mark.parametrize("page", RUNS, ids=lambda page: page.parent.name)
def test_runs_of_a_page_have_folders_of_their_own(page):
    folders = re.findall(r"--workdir (\S+)", page.read_text())
    assert len(set(folders)) == len(folders)
