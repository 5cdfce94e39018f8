import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vos_jax.data.sources import open_source
from vos_jax.errors import InputError
from vos_jax.evaluation.datasets import given_labels, object_starts, read_dataset
from vos_jax.media import read_labels

VIDEO = "0123abcdef"


def edit_meta(root, split, change):
    path = root / split / "meta.json"
    meta = json.loads(path.read_text())
    change(meta["videos"])
    path.write_text(json.dumps(meta))


def test_davis_sequences_come_in_the_order_of_the_list(davis):
    sequences = read_dataset("davis2017", davis, "val")
    assert [each.name for each in sequences] == ["alpha", "beta", "gamma", "delta"]
    gamma = sequences[2]
    assert [path.name for path in gamma.frames] == [f"{i:05d}.jpg" for i in range(5)]
    assert (
        gamma.outputs == tuple(gamma.annotations) == tuple(f"{i:05d}" for i in range(5))
    )


def test_some_sequences_can_be_selected(davis):
    sequences = read_dataset("davis2017", davis, "val", sequences=["delta", "beta"])
    assert [each.name for each in sequences] == ["beta", "delta"]
    with pytest.raises(InputError, match="does not list sequence omega"):
        read_dataset("davis2017", davis, "val", sequences=["omega"])


def test_480p_is_preferred_and_another_resolution_can_be_named(davis):
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / kind / "480p", davis / kind / "Full-Resolution")
    (first, *_) = read_dataset("davis2017", davis, "val")
    assert first.frames[0].parts[-3] == "480p"
    (first, *_) = read_dataset("davis2017", davis, "val", resolution="Full-Resolution")
    assert first.frames[0].parts[-3] == "Full-Resolution"
    with pytest.raises(InputError, match="folder 1080p"):
        read_dataset("davis2017", davis, "val", resolution="1080p")


def test_the_only_resolution_there_is_is_taken(davis):
    for kind in ("JPEGImages", "Annotations"):
        (davis / kind / "480p").rename(davis / kind / "240p")
    (first, *_) = read_dataset("davis2017", davis, "val")
    assert first.frames[0].parts[-3] == "240p"


def test_a_missing_list_is_named_with_the_splits_there_are(davis):
    with pytest.raises(InputError, match=r"2017/test\.txt.*\['val'\]"):
        read_dataset("davis2017", davis, "test")


def test_a_list_entry_that_leaves_the_folder_is_refused(davis):
    (davis / "ImageSets" / "2017" / "val.txt").write_text("../alpha\n")
    with pytest.raises(InputError, match=r"'\.\./alpha' is no folder name"):
        read_dataset("davis2017", davis, "val")


@pytest.mark.parametrize("kind", ["JPEGImages", "Annotations"])
def test_a_missing_sequence_folder_is_named(davis, kind):
    shutil.rmtree(davis / kind / "480p" / "beta")
    with pytest.raises(InputError, match=f"{kind}/480p/beta does not exist"):
        read_dataset("davis2017", davis, "val")


def test_a_missing_first_annotation_is_named(davis):
    (davis / "Annotations" / "480p" / "beta" / "00000.png").unlink()
    with pytest.raises(InputError, match=r"beta/00000\.png is missing"):
        read_dataset("davis2017", davis, "val")


def test_an_annotation_without_its_frame_is_named(davis):
    (davis / "JPEGImages" / "480p" / "beta" / "00003.jpg").unlink()
    with pytest.raises(InputError, match="beta has no frame 00003"):
        read_dataset("davis2017", davis, "val")


def test_frames_may_be_absent_where_they_are_not_needed(davis):
    shutil.rmtree(davis / "JPEGImages")
    (first, *_) = read_dataset("davis2017", davis, "val", images=False)
    assert first.frames == ()
    assert len(first.outputs) == 11


def test_davis_2016_gives_one_object_whatever_its_value(davis):
    (davis / "ImageSets" / "2017").rename(davis / "ImageSets" / "2016")
    folder = davis / "Annotations" / "480p" / "gamma"
    labels = read_labels(folder / "00000.png")
    Image.fromarray((labels > 0).astype(np.uint8) * 255).save(folder / "00000.png")
    (gamma,) = read_dataset("davis2016", davis, "val", sequences=["gamma"])
    np.testing.assert_array_equal(given_labels(gamma)["00000"], labels > 0)


def test_an_unknown_data_set_or_root_is_refused(davis, tmp_path):
    with pytest.raises(InputError, match="unknown data set 'davis'"):
        read_dataset("davis", davis, "val")
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_dataset("davis2017", tmp_path / "nowhere", "val")


def test_a_youtube_vos_object_starts_where_it_is_first_drawn(youtube_vos):
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    assert video.outputs == ("00005", "00010", "00015", "00020", "00025", "00030")
    assert video.categories == {3: "dog", 7: "okapi"}
    assert video.objects[7][0] == "00015"
    assert object_starts(video) == {3: "00005", 7: "00020"}


def test_a_later_youtube_vos_annotation_gives_only_the_newcomers(youtube_vos):
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    given = given_labels(video)
    assert {stem: set(np.unique(labels)) for stem, labels in given.items()} == {
        "00005": {0, 3},
        "00020": {0, 7},
    }


def test_youtube_vos_needs_no_later_annotation_nor_category(youtube_vos):
    def drop_categories(videos):
        for entry in videos[VIDEO]["objects"].values():
            del entry["category"]

    edit_meta(youtube_vos, "valid", drop_categories)
    for stem in ("00010", "00025", "00030"):
        (youtube_vos / "valid" / "Annotations" / VIDEO / f"{stem}.png").unlink()
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    assert video.categories == {}
    assert object_starts(video)[7] == "00020"


def test_youtube_vos_frames_between_the_listed_ones_are_no_outputs(youtube_vos):
    folder = youtube_vos / "valid" / "JPEGImages" / VIDEO
    shutil.copy(folder / "00005.jpg", folder / "00006.jpg")
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    assert len(video.frames) == 7
    assert len(video.outputs) == 6


def test_a_listed_youtube_vos_frame_that_is_missing_is_named(youtube_vos):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (youtube_vos / "valid" / kind / VIDEO / f"00030.{suffix}").unlink()
    with pytest.raises(InputError, match=r"lacks 1 frame \(00030\)"):
        read_dataset("youtube-vos", youtube_vos, "valid")


def test_an_object_that_is_never_drawn_is_named(youtube_vos):
    def add(videos):
        videos[VIDEO]["objects"]["9"] = {"frames": ["00005", "00010"]}

    edit_meta(youtube_vos, "valid", add)
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    with pytest.raises(InputError, match=r"00005\.png does not show object 9"):
        given_labels(video)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"videos": {}}', '{"videos": {"a": {"objects": {"0": {}}}}}']
)
def test_a_meta_file_of_another_kind_is_named(youtube_vos, text):
    (youtube_vos / "valid" / "meta.json").write_text(text)
    with pytest.raises(InputError, match=r"valid/meta\.json"):
        read_dataset("youtube-vos", youtube_vos, "valid")


def rename_by_number(folder, numbers):
    """Gives files the names of numbers without zeros in front, in their order."""
    paths = sorted(folder.iterdir())
    for number, path in reversed([*zip(numbers, paths, strict=True)]):
        path.rename(folder / f"{number}{path.suffix}")


def test_frames_without_padding_are_in_order_of_time(davis):
    for kind in ("JPEGImages", "Annotations"):
        rename_by_number(davis / kind / "480p" / "alpha", range(8, 19))
    (alpha,) = read_dataset("davis2017", davis, "val", sequences=["alpha"])
    stems = tuple(map(str, range(8, 19)))
    assert tuple(path.stem for path in alpha.frames) == stems
    assert alpha.outputs == tuple(alpha.annotations) == stems
    assert list(given_labels(alpha)) == ["8"]


def test_youtube_vos_frames_without_padding_are_in_order_of_time(youtube_vos):
    numbers = range(6, 12)
    for kind in ("JPEGImages", "Annotations"):
        rename_by_number(youtube_vos / "valid" / kind / VIDEO, numbers)

    def rename(videos):
        for label, first in (("3", 0), ("7", 2)):
            stems = [str(number) for number in numbers[first:]]
            videos[VIDEO]["objects"][label]["frames"] = stems

    edit_meta(youtube_vos, "valid", rename)
    (video,) = read_dataset("youtube-vos", youtube_vos, "valid")
    assert video.outputs == ("6", "7", "8", "9", "10", "11")
    assert object_starts(video) == {3: "6", 7: "9"}
    assert list(given_labels(video)) == ["6", "9"]


def test_files_that_systems_leave_are_no_frames_and_no_annotations(davis):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (davis / kind / "480p").rename(davis / kind / "240p")
        (davis / kind / "__MACOSX").mkdir()
        folder = davis / kind / "240p" / "gamma"
        for name in (f"._00000.{suffix}", f"._a.{suffix}", "Thumbs.db", ".resume.npz"):
            (folder / name).write_bytes(b"")
    (gamma,) = read_dataset("davis2017", davis, "val", sequences=["gamma"])
    assert len(gamma.frames) == len(gamma.annotations) == len(gamma.outputs) == 5


def test_two_frames_of_one_name_are_refused_as_in_training(davis):
    folder = davis / "JPEGImages" / "480p" / "beta"
    shutil.copy(folder / "00003.jpg", folder / "00003.webp")
    with pytest.raises(InputError, match=r"00003\.jpg under a second suffix"):
        read_dataset("davis2017", davis, "val")


def test_scoring_and_training_read_the_lists_of_2016_alike(davis):
    shutil.rmtree(davis / "ImageSets")
    (davis / "ImageSets" / "480p").mkdir(parents=True)
    lines = [
        rf"\JPEGImages\480p\{name}\{i:05d}.jpg \Annotations\480p\{name}\{i:05d}.png"
        for name in ("gamma", "beta")
        for i in range(5)
    ]
    (davis / "ImageSets" / "480p" / "val.txt").write_bytes("\r\n".join(lines).encode())
    scored = [each.name for each in read_dataset("davis2016", davis, "val")]
    source = open_source("davis2016", davis, split="val")
    trained = [video.name for video in source.videos]
    assert scored == trained == ["gamma", "beta"]


def test_grey_masks_of_2016_are_named_where_ids_are_expected(davis):
    path = davis / "Annotations" / "480p" / "gamma" / "00000.png"
    Image.fromarray((read_labels(path) > 0).astype(np.uint8) * 255).save(path)
    (gamma,) = read_dataset("davis2017", davis, "val", sequences=["gamma"])
    with pytest.raises(InputError, match=r"shows no object.*those of davis2016"):
        given_labels(gamma)


def test_a_resolution_of_youtube_vos_is_refused(youtube_vos):
    with pytest.raises(InputError, match="leave resolution 480p out"):
        read_dataset("youtube-vos", youtube_vos, "valid", resolution="480p")
