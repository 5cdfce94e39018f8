"""The builder: what `tfds build` makes of data sets in their official layouts."""

import argparse
import json
import shutil
import subprocess
import sys
from inspect import signature
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.data.sources.layouts import damage, label_pixels
from tests.optional import Lazily
from vos_jax.data.records.__main__ import main
from vos_jax.data.records.encoding import encode_all
from vos_jax.data.records.index import from_index, to_index
from vos_jax.data.records.prepare import prepare
from vos_jax.data.source import Video
from vos_jax.data.sources import SOURCES, open_source
from vos_jax.errors import InputError

tfds = Lazily("tensorflow_datasets")


def stored(records, name, split):
    """All records of a split, images as they are stored."""
    skip = tfds.decode.SkipDecoding()
    builder = tfds.builder_from_directory(records / "vos_records" / name / "1.0.0")
    return builder.as_data_source(split, decoders={"frame": skip, "labels": skip})


def files(root, names):
    """The files of videos in their order, frames or masks."""
    return [
        path.read_bytes() for name in names for path in sorted((root / name).iterdir())
    ]


def test_files_are_kept_byte_for_byte_in_the_order_of_the_list(records, davis):
    found = list(stored(records, "davis2017", "train"))
    names = ("dogs", "bikes")
    for feature, folder in (("frame", "JPEGImages"), ("labels", "Annotations")):
        expected = files(davis / folder / "480p", names)
        assert [example[feature] for example in found] == expected
    assert [(x["video"].decode(), x["time"]) for x in found] == [
        (name, time) for name in names for time in range(5)
    ]


def test_every_split_of_davis_is_there(records):
    assert [x["video"] for x in stored(records, "davis2017", "val")] == [b"sheep"] * 5


def test_frames_of_youtube_vos_without_annotation_are_left_out(records):
    assert len(stored(records, "youtube-vos", "train")) == 10


def test_grey_masks_become_ids(records, ecssd):
    example = stored(records, "ecssd", "train")[1]
    assert example["frame"] == (ecssd / "images" / "1.jpg").read_bytes()
    image = Image.open(BytesIO(example["labels"]))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image), label_pixels(1, 1, 0))


def test_outlines_and_run_lengths_become_ids(records, coco):
    example = stored(records, "coco", "train2017")[0]
    assert example["frame"] == (coco / "train2017" / "1.jpg").read_bytes()
    labels = np.asarray(Image.open(BytesIO(example["labels"])))
    assert np.unique(labels).tolist() == [0, 1, 255]
    assert labels[10, 10] == 1
    assert (labels[:, 30:] == 255).all()


def test_frames_that_are_in_no_file_lose_nothing():
    source = open_source("generated", count=1, length=2, size=(32, 48))
    expected = source.read(0, [0, 1])
    for example, frame, labels in zip(
        encode_all(source, check=False), *expected, strict=True
    ):
        assert (np.asarray(Image.open(BytesIO(example.frame))) == frame).all()
        assert (np.asarray(Image.open(BytesIO(example.labels))) == labels).all()


def test_the_list_of_videos_survives_json():
    videos = (Video("a/b", 3, {1: 0, 12: 2}, 5), Video("c", 1))
    assert from_index(json.loads(json.dumps(to_index(videos)))) == videos


def test_every_data_set_has_a_configuration():
    from vos_jax.data.records.vos_records import VosRecords

    names = {config.name for config in VosRecords.BUILDER_CONFIGS}
    assert names == SOURCES.keys() - {"tfds"}


def test_the_splits_of_every_configuration_are_options_of_its_data_set():
    from vos_jax.data.records.vos_records import VosRecords

    for config in VosRecords.BUILDER_CONFIGS:
        known = signature(SOURCES[config.name]).parameters
        assert all(options.keys() <= known.keys() for options in config.splits.values())
        if "split" in known and known["split"].default != "train":
            assert list(config.splits) == [known["split"].default]


def test_records_are_sorted_in_all_buckets_of_tfds(davis):
    from tensorflow_datasets.core.shuffle import get_bucket_number

    from vos_jax.data.records.vos_records import VosRecords

    builder = VosRecords(config="davis2017", data_dir=davis / "unused")
    source = open_source("davis2017", davis)
    keys = [key for key, _ in builder._generate_examples(source)]
    buckets = [get_bucket_number(key, 1000) for key in keys]
    assert buckets == [100 * number for number in range(10)]


def test_another_set_of_options_is_a_configuration_of_its_own(tmp_path, davis):
    config = {
        "name": "mine",
        "source": "davis2017",
        "splits": {"first": {"split": "val"}, "second": {"split": "train"}},
    }
    folder = prepare(json.dumps(config), davis, tmp_path)
    assert folder == tmp_path / "vos_records" / "mine" / "1.0.0"
    assert len(stored(tmp_path, "mine", "first")) == 5
    assert len(stored(tmp_path, "mine", "second")) == 10


def test_tfds_build_makes_the_same_records(tmp_path, records, davis):
    # All that `tfds build` is, without the program around it that needs Apache Beam.
    from tensorflow_datasets.scripts.cli import build

    module = "vos_jax.data.records.vos_records"
    words = f"vos_records/davis2017 --imports {module} --manual_dir {davis} "
    words += f"--data_dir {tmp_path} --file_format array_record"
    if hasattr(build, "Args"):
        from simple_parsing import ArgumentParser

        parser = ArgumentParser()
        parser.add_arguments(build.Args, dest="build")
        parser.parse_args(words.split()).build.execute()
    else:  # Before TensorFlow Datasets 4.9.10.
        parser = argparse.ArgumentParser()
        build.register_subparser(parser.add_subparsers())
        given = parser.parse_args(["build", *words.split()])
        given.subparser_fn(given)
    for split in ("train", "val"):
        ours, theirs = (stored(x, "davis2017", split) for x in (records, tmp_path))
        assert list(ours) == list(theirs)


def test_a_damaged_file_stops_and_leaves_nothing(tmp_path, davis):
    root, out = tmp_path / "davis", tmp_path / "out"
    shutil.copytree(davis, root)
    victim = root / "JPEGImages" / "480p" / "dogs" / "00003.jpg"
    damage(victim)
    with pytest.raises(InputError, match=f"{victim} is damaged"):
        prepare("davis2017", root, out)
    with pytest.raises(InputError, match="prepared there: nothing"):
        open_source("tfds", out, name="vos_records/davis2017")
    shutil.copy(victim.with_name("00002.jpg"), victim)
    prepare("davis2017", root, out)
    assert open_source("tfds", out, name="vos_records/davis2017").videos


def test_files_need_not_be_checked(tmp_path, ecssd):
    root = tmp_path / "ecssd"
    shutil.copytree(ecssd, root)
    damage(root / "images" / "0.jpg")
    config = {"name": "unchecked", "source": "ecssd", "check": False}
    prepare(config, root, tmp_path / "out")
    source = open_source("tfds", tmp_path / "out", name="vos_records/unchecked")
    with pytest.raises(InputError, match=r"frame 0 of video 0 in .* is damaged"):
        source.read(0, [0])
    source.read(1, [0])


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("davis2018", "unknown data set 'davis2018'; use one of .*'davis2017'"),
        ('{"name": ', "is no JSON"),
        ('{"source": "ecssd"}', "has no name"),
        ({"name": "mine", "sorce": "ecssd"}, "sorce"),
        ({"name": "mine", "source": "ecsd"}, "unknown data set 'ecsd'"),
        ({"name": "ecssd", "check": False}, "'ecssd' exists .* another name"),
        (
            {"name": "mine", "source": "ecssd", "splits": {"train": {"year": 1}}},
            "no option 'year'",
        ),
        ("davis2016", r"list .*ImageSets/2016/train\.txt cannot be read"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, ecssd, davis, config, found):
    root = davis if config == "davis2016" else ecssd
    with pytest.raises(InputError, match=found):
        prepare(config, root, tmp_path)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist or is empty"):
        prepare("ecssd", tmp_path / "nowhere", tmp_path / "out")


def test_records_are_not_prepared_over_others(records, ecssd):
    with pytest.raises(InputError, match=r"ecssd/1\.0\.0 is there already; remove it"):
        prepare("ecssd", ecssd, records)


def test_the_program_prints_the_folder_or_one_line(tmp_path, ecssd, capsys):
    assert main(["ecssd", str(ecssd), str(tmp_path)]) == 0
    folder = tmp_path / "vos_records" / "ecssd" / "1.0.0"
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert main(["ecssd", str(ecssd), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_preparing_without_tfds_says_what_to_install(tmp_path, monkeypatch, ecssd):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(InputError, match=r"pip install 'vos_jax\[data\]'"):
        prepare("ecssd", ecssd, tmp_path)


def test_importing_the_sources_loads_no_tensorflow():
    code = "import sys, vos_jax.data.sources, vos_jax.data.records.prepare; "
    code += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"tensorflow", "tensorflow_datasets", "array_record", "jax"}
    assert not set(done.stdout.split()) & heavy
