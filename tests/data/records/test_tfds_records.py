"""Prepared records as a source: the same videos and clips as from the folders."""

import json
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.optional import Lazily
from vos_jax.data.clips import batch_at
from vos_jax.data.pipeline import train_batches
from vos_jax.data.recipes import StaticRecipe, VideoRecipe
from vos_jax.data.records.index import to_index
from vos_jax.data.records.prepare import prepare
from vos_jax.data.source import Video
from vos_jax.data.sources import open_source
from vos_jax.data.sources.tfds_records import VideoRecords, _Records
from vos_jax.errors import InputError

tfds = Lazily("tensorflow_datasets")

VIDEO = VideoRecipe(size=(32, 32), skip_steps=0, max_skip=5)
STATIC = StaticRecipe(size=(32, 32))


@pytest.fixture(scope="session")
def tfds_davis(tmp_path_factory, davis):
    """What TFDS's own builder makes of the same files, without its download."""
    from tensorflow_datasets.video.davis.davis import Davis

    class LocalDavis(Davis, skip_registration=True):
        name = "davis"
        code_path = Path(__file__)

        def _split_generators(self, dl_manager):
            lists = davis / "ImageSets" / "2017"
            return {
                "train": self._generate_examples(lists / "train.txt"),
                "validation": self._generate_examples(lists / "val.txt"),
            }

    out = tmp_path_factory.mktemp("tfds")
    builder = LocalDavis(config="480p", data_dir=out, file_format="array_record")
    builder.download_and_prepare()
    return out


@pytest.fixture
def copied(tmp_path, records):
    """The prepared ECSSD alone, to be changed."""
    name = "vos_records/ecssd/1.0.0"
    return Path(shutil.copytree(records / name, tmp_path / name))


def opened(copied):
    return open_source("tfds", copied.parents[2], name="vos_records/ecssd")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("davis2017", VIDEO), ("youtube-vos", VIDEO), ("ecssd", STATIC), ("coco", STATIC)],
)
def test_clips_are_those_of_the_folder(records, request, name, recipe):
    folder = {"davis2017": "davis", "youtube-vos": "youtube_vos"}.get(name, name)
    direct = open_source(name, request.getfixturevalue(folder))
    source = open_source("tfds", records, name=f"vos_records/{name}")
    assert source.videos == direct.videos
    for step in (0, 7):
        expected = batch_at(direct, recipe, 3, step, 4)
        for ours, theirs in zip(
            batch_at(source, recipe, 3, step, 4), expected, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_batches_made_by_threads_are_those_of_the_folder(records, davis):
    source = open_source("tfds", records, name="vos_records/davis2017")
    direct = open_source("davis2017", davis)
    batches = train_batches(source, VIDEO, seed=1, batch=4, workers=3)
    for step in range(3):
        expected = batch_at(direct, VIDEO, 1, step, 4)
        for ours, theirs in zip(next(batches), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    batches.close()


def test_starts_and_strides_are_kept(records):
    source = open_source("tfds", records, name="vos_records/youtube-vos")
    assert source.videos[1] == Video("0b", 5, {1: 0, 2: 1}, 5)


def test_opening_reads_no_record(records, monkeypatch):
    monkeypatch.setattr(_Records, "read", None)
    source = open_source("tfds", records, name="vos_records/davis2017", split="val")
    assert source.videos == (Video("sheep", 5),)


def test_only_the_records_of_the_frames_are_read(records):
    source = open_source("tfds", records, name="vos_records/davis2017")
    (real, parse), asked = source.records._opened, []

    class Spy:
        def __getitem__(self, place):
            asked.append(place)
            return real[place]

    source.records.__dict__["_opened"] = Spy(), parse
    source.read(1, [4, 0])
    assert asked == [9, 5]


def test_a_source_that_has_read_is_pickled_without_its_files(records):
    source = open_source("tfds", records, name="vos_records/davis2017")
    expected = source.read(1, [2])
    content = pickle.dumps(source)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert again == source
    np.testing.assert_array_equal(again.read(1, [2]).frames, expected.frames)


def test_threads_read_at_once(records, davis):
    source = open_source("tfds", records, name="vos_records/davis2017")
    direct = open_source("davis2017", davis)
    places = [(i % 2, [i % 5, i % 3]) for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: source.read(*place), places))
    for (video, times), ours in zip(places, found, strict=True):
        theirs = direct.read(video, times)
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_the_davis_of_tfds_itself_is_read(tfds_davis, davis):
    source = open_source("tfds", tfds_davis, name="davis/480p", split="train")
    direct = open_source("davis2017", davis)
    assert source.videos == (Video("bikes", 5), Video("dogs", 5))
    for ours, theirs in ((0, 1), (1, 0)):
        found, expected = source.read(ours, [3, 1]), direct.read(theirs, [3, 1])
        np.testing.assert_array_equal(found.frames, expected.frames)
        np.testing.assert_array_equal(found.labels, expected.labels)
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(
        batch_at(again, VIDEO, 0, 0, 2).frames, batch_at(source, VIDEO, 0, 0, 2).frames
    )


def test_of_a_whole_video_only_the_frames_asked_for_are_decoded(tfds_davis):
    source = open_source("tfds", tfds_davis, name="davis/480p:2.1.0")
    example = source.records.read(source.places[0])
    example["video"]["frames"][0] = b"no image"
    source.records.__dict__["_opened"] = [b"anything"] * 2, lambda _: example
    assert source.read(0, [1, 2]).frames.shape[0] == 2
    with pytest.raises(InputError, match=r"frame 0 of video bikes in .* not an image"):
        source.read(0, [0])
    assert isinstance(source, VideoRecords)


def test_the_only_split_is_the_default(records):
    source = open_source("tfds", records, name="vos_records/coco")
    assert source.records.split == "train2017"


def test_the_newest_version_is_the_default(copied):
    for version in ("1.9.0", "1.10.0"):
        newer = shutil.copytree(copied, copied.with_name(version))
        edit(
            newer / "dataset_info.json", lambda info, v=version: info.update(version=v)
        )
    assert opened(copied).records.folder.name == "1.10.0"
    shutil.copytree(copied, copied.with_name("incomplete.XY_2.0.0"))
    assert opened(copied).records.folder.name == "1.10.0"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, r"name=None: give the name .*\['vos_records/coco', "),
        ({"name": "../records/x"}, r"name='\.\./records/x': give the name"),
        (
            {"name": "vos_records/bl30k"},
            r"'vos_records/bl30k' is not prepared in .*'vos_records/davis2017'.*; "
            r"run: python -m vos_jax\.data\.records bl30k FOLDER /",
        ),
        (
            {"name": "davis/480p"},
            "run: tfds build davis/480p --data_dir /.* --file_format array_record",
        ),
        ({"name": "vos_records"}, r"run: python -m vos_jax\.data\.records NAME FOLDER"),
        ({"name": "vos_records/coco:3.0.0"}, r"'vos_records/coco:3\.0\.0' is not"),
        (
            {"name": "vos_records/davis2017", "split": "test"},
            r"has no split 'test'; name one of \['train', 'val'\]",
        ),
    ],
)
def test_what_is_not_prepared_is_refused_with_what_to_do(records, options, found):
    with pytest.raises(InputError, match=found) as error:
        open_source("tfds", records, **options)
    assert "\n" not in str(error.value)


def test_files_without_random_access_are_refused(tmp_path, davis):
    from vos_jax.data.records.vos_records import VosRecords

    builder = VosRecords(config="davis2017", data_dir=tmp_path, file_format="tfrecord")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=davis)
    )
    found = (
        r"1\.0\.0 is stored as tfrecord, .*; remove it and run: python -m "
        r"vos_jax\.data\.records davis2017 FOLDER /"
    )
    with pytest.raises(InputError, match=found):
        open_source("tfds", tmp_path, name="vos_records/davis2017")


def test_records_of_other_things_are_refused(copied):
    features = copied / "features.json"

    def rename(content):
        parts = content["featuresDict"]["features"]
        parts["image"] = parts.pop("frame")

    edit(features, rename)
    with pytest.raises(InputError, match=r"has the features \['image', 'labels', "):
        opened(copied)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{}", r"metadata\.json does not list the videos of split 'train'"),
        ('{"train": {"name": ["a"]}}', r"metadata\.json does not list the videos"),
        (
            json.dumps({"train": to_index([Video("0", 1)])}),
            r"has 2 records of split 'train' where its list of videos has 1",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_named(copied, content, found):
    (copied / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=found):
        opened(copied)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_is_named(copied, name):
    (copied / name).write_text('{"name": ')
    with pytest.raises(InputError, match=r"ecssd/1\.0\.0 cannot be opened \(") as error:
        opened(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damaged", ["gone", "empty", "cut", "overwritten"])
def test_a_damaged_shard_is_named(copied, damaged):
    (shard,) = copied.glob("*.array_record-*")
    content = shard.read_bytes()
    if damaged == "gone":
        shard.unlink()
    elif damaged == "overwritten":
        shard.write_bytes(content[:200] + bytes(500) + content[700:])
    else:
        shard.write_bytes(content[: len(content) // 2] if damaged == "cut" else b"")
    with pytest.raises(InputError, match=r"'train' in .*1\.0\.0 cannot be read \("):
        opened(copied).read(0, [0])


@pytest.mark.parametrize("package", ["tensorflow_datasets", "array_record"])
def test_without_the_packages_it_says_what_to_install(records, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}; run: pip install 'vos_jax"):
        open_source("tfds", records, name="vos_records/ecssd")


def test_sets_of_several_shards_and_beyond_memory_keep_their_order(
    tmp_path, davis, monkeypatch
):
    from tensorflow_datasets.core import shuffle
    from tensorflow_datasets.core.utils import shard_utils

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 10_000)
    monkeypatch.setattr(
        shard_utils.ShardConfig, "get_number_shards", lambda *args, **kwargs: 3
    )
    prepare("davis2017", davis, tmp_path)
    assert len(list(tmp_path.rglob("*train.array_record*of-00003"))) == 3
    source = open_source("tfds", tmp_path, name="vos_records/davis2017")
    direct = open_source("davis2017", davis)
    for video in range(2):
        ours, theirs = (x.read(video, range(5)) for x in (source, direct))
        np.testing.assert_array_equal(ours.frames, theirs.frames)
