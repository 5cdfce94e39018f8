"""DAVIS, YouTube-VOS and BL30K as they are laid out."""

import json
import shutil

import numpy as np
import pytest

from tests.data.sources.layouts import (
    label_pixels,
    numbers,
    write_frame,
    write_text,
    write_video,
)
from vos_jax.data.source import Video
from vos_jax.data.sources.videos import (
    open_bl30k,
    open_davis2016,
    open_davis2017,
    open_youtube_vos,
)
from vos_jax.errors import InputError


def edit_meta(root, change):
    path = root / "train" / "meta.json"
    meta = json.loads(path.read_text())
    change(meta["videos"])
    path.write_text(json.dumps(meta))


def test_the_release_of_davis_2016_lists_pairs_and_has_grey_masks(davis2016):
    source = open_davis2016(davis2016)
    assert source.videos == (Video("swing", 3, {1: 0}), Video("bear", 4, {1: 0}))
    frames, labels = source.read(1, [3, 1])
    assert numbers(frames) == [3, 1]
    np.testing.assert_array_equal(labels, [label_pixels(1)] * 2)
    assert frames.dtype == labels.dtype == np.uint8


def test_davis_2016_in_the_release_of_2017_is_one_object(davis2017):
    source = open_davis2016(davis2017)
    assert [video.name for video in source.videos] == ["dogs"]
    np.testing.assert_array_equal(source.read(0, [0]).labels, [label_pixels(1, 1)])


def test_davis_2017_keeps_palette_ids_and_void(davis2017):
    source = open_davis2017(davis2017)
    assert source.videos == (Video("sheep", 4), Video("dogs", 4))
    np.testing.assert_array_equal(source.read(0, [2]).labels, [label_pixels(3, 255)])
    np.testing.assert_array_equal(source.read(1, [0]).labels, [label_pixels(2, 1)])


def test_another_split_of_davis_can_be_named(davis2017):
    assert [v.name for v in open_davis2017(davis2017, split="val").videos] == ["dogs"]
    with pytest.raises(InputError, match=r"2017/test\.txt.*\['train', 'val'\]"):
        open_davis2017(davis2017, split="test")


def test_the_only_resolution_is_taken_and_several_must_be_chosen_from(davis2017):
    for kind in ("JPEGImages", "Annotations"):
        (davis2017 / kind / "480p").rename(davis2017 / kind / "240p")
    assert "240p" in str(open_davis2017(davis2017).files[0].frame_folder)
    for kind in ("JPEGImages", "Annotations"):
        whole = davis2017 / kind / "Full-Resolution"
        shutil.copytree(davis2017 / kind / "240p", whole)
    source = open_davis2017(davis2017, resolution="Full-Resolution")
    assert "Full-Resolution" in str(source.files[0].mask_folder)
    with pytest.raises(InputError, match=r"\['240p', 'Full-Resolution'\]; name one"):
        open_davis2017(davis2017)


def test_480p_is_preferred(davis2017):
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis2017 / kind / "480p", davis2017 / kind / "1080p")
    assert "480p" in str(open_davis2017(davis2017).files[0].frame_folder)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_davis2017(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["JPEGImages", "Annotations"])
def test_a_listed_sequence_that_is_missing_is_named(davis2017, kind):
    shutil.rmtree(davis2017 / kind / "480p" / "sheep")
    with pytest.raises(InputError, match=f"{kind}/480p/sheep cannot be listed"):
        open_davis2017(davis2017)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("", "is empty"),
        ("dogs\nsheep\ndogs\n", "lists dogs twice"),
        ("../dogs\n", r"'\.\./dogs' is no folder name"),
    ],
)
def test_a_bad_list_is_named(davis2017, lines, found):
    write_text(davis2017 / "ImageSets" / "2017" / "train.txt", lines)
    with pytest.raises(InputError, match=rf"2017/train\.txt.*{found}"):
        open_davis2017(davis2017)


def test_a_list_of_pairs_without_paths_is_named(davis2016):
    write_text(davis2016 / "ImageSets" / "480p" / "train.txt", "bear\n")
    with pytest.raises(InputError, match=r"480p/train\.txt: 'bear' is no path"):
        open_davis2016(davis2016)


def test_every_frame_of_davis_needs_a_mask(davis2017):
    (davis2017 / "Annotations" / "480p" / "dogs" / "00002.png").unlink()
    with pytest.raises(InputError, match=r"dogs/00002\.png of .*00002\.jpg is missing"):
        open_davis2017(davis2017)


def test_every_mask_needs_a_frame(davis2017):
    (davis2017 / "JPEGImages" / "480p" / "dogs" / "00002.jpg").unlink()
    with pytest.raises(InputError, match=r"has no frame 00002 for .*dogs/00002\.png"):
        open_davis2017(davis2017)


def test_only_annotated_frames_of_youtube_vos_count(youtube_vos):
    source = open_youtube_vos(youtube_vos)
    assert [video.name for video in source.videos] == ["0a", "0b"]
    assert [video.length for video in source.videos] == [2, 3]
    frames, labels = source.read(1, [0, 1, 2])
    assert numbers(frames) == [0, 1, 2]
    np.testing.assert_array_equal(labels[1], label_pixels(1, 2))


def test_objects_of_youtube_vos_that_appear_later_start_later(youtube_vos):
    assert [video.starts for video in open_youtube_vos(youtube_vos).videos] == [
        {1: 0},
        {1: 0, 2: 1},
    ]


def test_videos_that_meta_json_does_not_list_are_left_out(youtube_vos):
    write_video(youtube_vos / "train", "0c", ["00000"], lambda _: label_pixels(1))
    assert len(open_youtube_vos(youtube_vos).videos) == 2


def test_a_listed_start_without_its_mask_is_named(youtube_vos):
    (youtube_vos / "train" / "Annotations" / "0b" / "00015.png").unlink()
    found = r"0b/00015\.png is missing: .*meta\.json lists it for object 2 of video 0b"
    with pytest.raises(InputError, match=found):
        open_youtube_vos(youtube_vos)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"videos": {', "is damaged"),
        ("[1, 2]", "holds no JSON object"),
        ("{}", "lists no videos"),
        ('{"videos": {}}', "lists no videos"),
        ('{"videos": {"..": {}}}', "is no folder name"),
        ('{"videos": {"0a": []}}', "video 0a needs objects"),
        ('{"videos": {"0a": {"objects": {}}}}', "video 0a needs objects"),
        ('{"videos": {"0a": {"objects": {"1": {}}}}}', "video 0a needs objects"),
        (
            '{"videos": {"0a": {"objects": {"1": {"frames": []}}}}}',
            "video 0a needs objects",
        ),
        (
            '{"videos": {"0a": {"objects": {"255": {"frames": ["00000"]}}}}}',
            "video 0a needs objects with ids 1 to 254",
        ),
        (
            '{"videos": {"0a": {"objects": {"1": {"frames": [0, 5]}}}}}',
            r"Annotations/0a/0\.png is missing",
        ),
    ],
)
def test_a_malformed_meta_json_is_named(youtube_vos, content, found):
    write_text(youtube_vos / "train" / "meta.json", content)
    with pytest.raises(InputError, match=found) as error:
        open_youtube_vos(youtube_vos)
    assert "meta.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_meta_json_is_named(youtube_vos):
    with pytest.raises(InputError, match=r"valid/meta\.json cannot be read"):
        open_youtube_vos(youtube_vos, split="valid")


def test_a_video_of_meta_json_that_is_missing_is_named(youtube_vos):
    edit_meta(youtube_vos, lambda videos: videos.update({"0z": videos["0a"]}))
    with pytest.raises(InputError, match="JPEGImages/0z cannot be listed"):
        open_youtube_vos(youtube_vos)


@pytest.mark.parametrize("year", ["2016", "2017"])
def test_frames_without_padding_are_trained_on_in_order_of_time(tmp_path, year):
    stems = [str(number) for number in range(1, 13)]
    write_video(tmp_path, "owl", stems, lambda _: label_pixels(1), folder="480p")
    write_text(tmp_path / "ImageSets" / year / "train.txt", "owl\n")
    source = {"2016": open_davis2016, "2017": open_davis2017}[year](tmp_path)
    assert numbers(source.read(0, list(range(12))).frames) == list(range(12))


def test_objects_of_youtube_vos_start_in_order_of_time(tmp_path):
    train, stems = tmp_path / "train", ["8", "9", "10", "11"]
    write_video(train, "0a", stems, lambda _: label_pixels(1, 2))
    objects = {"1": {"frames": ["11", "10", "9", "8"]}, "2": {"frames": ["10", "9"]}}
    meta = {"videos": {"0a": {"objects": objects}}}
    (train / "meta.json").write_text(json.dumps(meta), encoding="utf-8-sig")
    source = open_youtube_vos(tmp_path)
    assert source.videos[0].starts == {1: 0, 2: 1}
    assert numbers(source.read(0, [0, 1, 2, 3]).frames) == [0, 1, 2, 3]


def test_files_that_systems_leave_are_not_trained_on(davis2017):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (davis2017 / kind / "480p").rename(davis2017 / kind / "240p")
        for name in (f"._00000.{suffix}", "Thumbs.db", ".resume.npz", "desktop.ini"):
            write_text(davis2017 / kind / "240p" / "dogs" / name, "")
        write_text(davis2017 / kind / "__MACOSX" / f"._240p.{suffix}", "")
    write_text(davis2017 / "ImageSets" / "2017" / "._train.txt", "")
    assert open_davis2017(davis2017).videos == (Video("sheep", 4), Video("dogs", 4))


def test_bl30k_is_one_folder_or_several_segments(tmp_path):
    stems = [f"{i:05d}" for i in range(3)]
    for name in ("v1", "v0"):
        write_video(tmp_path / "BL30K", name, stems, lambda _: label_pixels(4, 2))
    source = open_bl30k(tmp_path / "BL30K")
    assert source.videos == (Video("v0", 3), Video("v1", 3))
    np.testing.assert_array_equal(source.read(0, [1]).labels, [label_pixels(4, 2)])
    shutil.copytree(tmp_path / "BL30K", tmp_path / "parts" / "BL30K_b")
    (tmp_path / "BL30K").rename(tmp_path / "parts" / "BL30K_a")
    names = [video.name for video in open_bl30k(tmp_path / "parts").videos]
    assert names == ["BL30K_a/v0", "BL30K_a/v1", "BL30K_b/v0", "BL30K_b/v1"]


def test_a_folder_without_segments_of_bl30k_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no folders"):
        open_bl30k(tmp_path)
    write_frame(tmp_path / "other" / "00000.jpg")
    with pytest.raises(InputError, match="neither JPEGImages nor segments"):
        open_bl30k(tmp_path)


def test_videos_with_the_same_file_names_share_the_list_of_them(tmp_path):
    for name in ("v0", "v1"):
        write_video(tmp_path, name, ["00000", "00001"], lambda _: label_pixels(1))
    first, second = open_bl30k(tmp_path).files
    assert first.frames is second.frames
    assert first.masks is second.masks
