"""Every experiment: can be loaded and described, and fits its data."""

import argparse
import ast
import json
import re
import shlex
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import vos_jax
from tests.experiments.replicas import write_replica
from vos_jax.data.augmentation import Affine
from vos_jax.data.clips import batch_at
from vos_jax.data.sampling import draw_crop
from vos_jax.data.source import Video
from vos_jax.methods.weights import variable_shapes
from vos_jax.training.experiment import describe, differences
from vos_jax.training.experiment_file import load_experiment
from vos_jax.training.start import open_data

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


def _clips():
    """Each data set with each recipe that cuts clips of it, and what is beside it."""
    pairs, drawn = {}, set()
    for name in NAMES:
        found = load_experiment(name)
        small = replace(found.recipe, size=(32, 32), other_sizes=())
        for config in found.data:
            if config.source == "generated":
                # What is drawn takes its time: small clips, each recipe with one theme
                # and each theme with one recipe.
                about = {repr(small), config.options.get("theme", "shapes")}
                if about <= drawn:
                    continue
                drawn |= about
                options = {**config.options, "size": (48, 64)}
                config = replace(config, options=options)
            pairs.setdefault(repr((config, small)), (name, config, small, found.data))
    return [
        pytest.param(
            *case,
            id=f"{name}-{case[0].source}",
            # Themes but the first take a second each.
            marks=[pytest.mark.slow] if "theme" in case[0].options else [],
        )
        for name, *case in pairs.values()
    ]


@pytest.mark.parametrize(("config", "recipe", "data"), _clips())
def test_a_recipe_makes_clips_of_every_data_set(config, recipe, data, tmp_path):
    if config.source == "coco":
        pytest.importorskip("pycocotools")
    for beside in data:
        # Some leave out what another one has.
        write_replica(tmp_path, beside)
    source = open_data((config,), tmp_path)
    assert all(recipe.accepts(video) for video in source.videos)
    clips = batch_at(source, recipe, 0, 0, 2)
    assert clips.frames.shape == (2, recipe.frames, 32, 32, 3)
    assert clips.valid.any(axis=1).all()


@pytest.mark.parametrize("name", NAMES)
def test_validation_is_another_split_of_the_data(name):
    found = load_experiment(name)
    assert found.validation
    for config in found.validation:
        for trained in found.data:
            assert (config.source, config.options) != (trained.source, trained.options)


@pytest.mark.slow
def test_videos_of_validation_have_frames_to_find(tmp_path):
    every = (config for name in NAMES for config in load_experiment(name).validation)
    for config in {repr(config): config for config in every}.values():
        write_replica(tmp_path, config)
        assert all(video.length > 1 for video in open_data((config,), tmp_path).videos)


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


@pytest.mark.parametrize("stage", ["main", "sequence"])
@pytest.mark.parametrize("source", ["davis2017", "youtube-vos"])
def test_one_data_set_changes_data_and_length_of_a_stage_of_lcm_alone(stage, source):
    mixed = load_experiment(f"lcm/{stage}")
    name = source.removesuffix("2017").replace("-", "_")
    alone = load_experiment(f"lcm/{stage}:{name}")
    assert [(each.source, each.repeat) for each in alone.data] == [(source, 1)]
    assert alone.validate_every < alone.steps
    lengths = ("steps", "validate_every", "checkpoint_every")
    same = {field: getattr(mixed, field) for field in ("data", *lengths)}
    assert replace(alone, **same) == mixed


@pytest.mark.parametrize(
    ("name", "epochs", "items"),
    [
        ("pretrain", 10, 128_266),
        ("main", 200, 60 + 3471),
        ("main:davis", 200, 60),
        ("main:youtube_vos", 200, 3471),
        ("sequence", 50, 60 + 3471),
        ("sequence:davis", 50, 60),
        ("sequence:youtube_vos", 50, 3471),
    ],
)
def test_stages_of_lcm_last_as_many_epochs_as_published(name, epochs, items):
    found = load_experiment(f"lcm/{name}")
    assert 0 <= epochs * items - found.steps * found.batch < found.batch


@pytest.mark.parametrize(
    ("name", "optimizer", "rate", "mask"),
    [
        ("pretrain", "adam", 5e-4, "gt"),
        ("pretrain:slower", "adam", 1e-4, "gt"),
        ("main", "adam", 1e-5, "gt"),
        ("sequence", "sgd", 3e-4, "pred"),
    ],
)
def test_stages_of_lcm_differ_in_optimizer_and_masks_of_the_memory(
    name, optimizer, rate, mask
):
    found = load_experiment(f"lcm/{name}")
    config = found.optimizer
    assert (config.name, config.learning_rate) == (optimizer, rate)
    last = [float(config.rate(found.steps)(step)) for step in (1000, found.steps - 1)]
    assert last == pytest.approx([rate, rate], rel=1e-6)  # of float32
    assert (found.step.memory_mask, found.step.norms) == (mask, "frozen")


def test_all_stages_of_lcm_train_one_network_with_every_parameter():
    names = [name for name in NAMES if name.startswith("lcm/") and "tiny" not in name]
    stages = [load_experiment(name) for name in names]
    assert {stage.method for stage in stages} == {"lcm"}
    shapes = variable_shapes(vos_jax.create("lcm"))["params"]
    for stage in stages:
        assert not stage.method_options
        assert stage.optimizer.build(stage.steps, shapes).frozen is None


@pytest.mark.parametrize("stride", [1, 5])
def test_lcm_draws_any_frames_first_and_one_gap_at_last(stride):
    video = Video("clip", 40, stride=stride)
    rng = np.random.default_rng(0)
    second, third = (load_experiment(f"lcm/{x}").recipe for x in ("main", "sequence"))
    gaps = np.diff([second.times(video, 0, rng) for _ in range(99)])
    assert gaps.min() < -20 and gaps.max() > 20
    gaps = np.diff([third.times(video, 0, rng) for _ in range(99)])
    assert (gaps[:, 0] == gaps[:, 1]).all()
    assert set(gaps.ravel().tolist()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", ["lcm/main", "lcm/sequence"])
def test_frames_of_480p_are_cut_for_lcm_and_not_resampled(name):
    recipe = load_experiment(name).recipe
    labels = np.zeros((3, 480, 854), np.uint8)
    labels[:, 200:300, 400:500] = 1
    crop = draw_crop(labels, recipe, recipe.size, np.random.default_rng(0))
    assert crop is not None
    corner, window = crop
    assert window == recipe.size == (384, 640)
    assert all(place.is_integer() for place in corner)
    assert recipe.flip == 0
    assert recipe.clip_affine == recipe.frame_affine == Affine()


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
