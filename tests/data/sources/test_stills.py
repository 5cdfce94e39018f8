"""Sets of still images, in the layout of their release and in that of bundles."""

import pickle

import numpy as np
import pytest

from tests.data.sources.layouts import (
    damage,
    label_pixels,
    numbers,
    write_frame,
    write_grey,
    write_matlab,
    write_palette,
    write_text,
)
from vos_jax.data.source import Video
from vos_jax.data.sources import open_source
from vos_jax.data.sources.stills import (
    open_big,
    open_duts,
    open_ecssd,
    open_hrsod,
    open_pairs,
    open_pascal_s,
    open_pascal_voc,
    open_sbd,
)
from vos_jax.errors import InputError

OFFICIAL = {
    "ecssd": ("images/{}.jpg", "ground_truth_mask/{}.png"),
    "duts": ("DUTS-TR/DUTS-TR-Image/{}.jpg", "DUTS-TR/DUTS-TR-Mask/{}.png"),
    "msra10k": ("MSRA10K_Imgs_GT/Imgs/{}.jpg", "MSRA10K_Imgs_GT/Imgs/{}.png"),
    "hrsod": ("HRSOD_train/{}.jpg", "HRSOD_train_mask/{}.png"),
    "fss1000": ("fewshot_data/owl/{}.jpg", "fewshot_data/owl/{}.png"),
    "big": ("test/{}_im.jpg", "test/{}_gt.png"),
    "pascal-s": ("datasets/imgs/pascal/{}.jpg", "datasets/masks/pascal/{}.png"),
}


def write_pair(root, images, masks, name, number):
    write_frame(root / images.format(name), number)
    write_grey(root / masks.format(name), label_pixels(*[255] * number))


@pytest.mark.parametrize("data_set", OFFICIAL)
def test_the_layout_of_a_release_is_read(tmp_path, data_set):
    for number, name in ((1, "2"), (2, "1")):
        write_pair(tmp_path, *OFFICIAL[data_set], name, number)
    source = open_source(data_set, tmp_path)
    assert [video.name.split("/")[-1] for video in source.videos] == ["1", "2"]
    assert {(v.length, v.starts) for v in source.videos} == {(1, None)}
    for index, number in ((0, 2), (1, 1)):
        frames, labels = source.read(index, [0])
        assert numbers(frames) == [number]
        np.testing.assert_array_equal(labels, [label_pixels(*[1] * number)])


@pytest.mark.parametrize("data_set", sorted(OFFICIAL.keys() - {"fss1000"}))
def test_a_bundle_of_images_and_masks_in_one_folder_is_read(tmp_path, data_set):
    write_pair(tmp_path, "{}.jpg", "{}.png", "a", 1)
    write_pair(tmp_path, "{}.jpg", "{}.png", "b", 2)
    assert open_source(data_set, tmp_path).videos == (Video("a", 1), Video("b", 1))


def test_classes_of_a_bundle_of_fss_1000_are_folders(tmp_path):
    for name in ("owl", "bus"):
        write_pair(tmp_path, f"{name}/{{}}.jpg", f"{name}/{{}}.png", "1", 1)
    names = [video.name for video in open_source("fss1000", tmp_path).videos]
    assert names == ["bus/1", "owl/1"]


def test_duts_and_hrsod_have_a_test_split(tmp_path):
    write_pair(tmp_path, "DUTS-TE/{}.jpg", "DUTS-TE/{}.png", "a", 1)
    write_pair(tmp_path, "HRSOD_test/{}.jpg", "HRSOD_test_mask/{}.png", "b", 1)
    assert open_duts(tmp_path, split="test").videos == (Video("a", 1),)
    assert open_hrsod(tmp_path, split="test").videos == (Video("b", 1),)
    for opened in (open_duts, open_hrsod):
        with pytest.raises(InputError, match="split='val' is none of"):
            opened(tmp_path, split="val")


def test_a_folder_of_duts_can_be_the_root(tmp_path):
    write_pair(tmp_path, "DUTS-TR-Image/{}.jpg", "DUTS-TR-Mask/{}.png", "a", 1)
    assert open_duts(tmp_path).videos == (Video("a", 1),)


def test_other_segmentations_beside_those_of_big_are_left_out(tmp_path):
    write_pair(tmp_path, "{}_im.jpg", "{}_gt.png", "a", 1)
    write_grey(tmp_path / "a_seg.png", label_pixels(255, 255, 255))
    source = open_big(tmp_path)
    np.testing.assert_array_equal(source.read(0, [0]).labels, [label_pixels(1)])


def test_graded_masks_of_pascal_s_are_cut_at_half(tmp_path):
    write_pair(tmp_path, *OFFICIAL["pascal-s"], "1", 0)
    write_grey(tmp_path / "datasets/masks/pascal/1.png", label_pixels(106, 149))
    labels = open_pascal_s(tmp_path).read(0, [0]).labels
    np.testing.assert_array_equal(labels, [label_pixels(0, 1)])


def test_any_two_folders_of_pairs_with_ids_can_be_opened(tmp_path):
    write_frame(tmp_path / "JPEGImages" / "park" / "7.jpg")
    write_palette(tmp_path / "Annotations" / "park" / "7.png", label_pixels(5, 9))
    options = {"images": "JPEGImages", "masks": "Annotations", "deep": True}
    source = open_pairs(tmp_path, kind="ids", **options)
    assert source.videos == (Video("park/7", 1),)
    np.testing.assert_array_equal(source.read(0, [0]).labels, [label_pixels(5, 9)])
    with pytest.raises(InputError, match=r"7\.png is a palette PNG of colours"):
        open_pairs(tmp_path, **options).read(0, [0])
    with pytest.raises(InputError, match="kind='colour' is unknown"):
        open_pairs(tmp_path, kind="colour", **options)


def test_folders_below_are_left_out_unless_they_are_asked_for(tmp_path):
    write_pair(tmp_path, "{}.jpg", "{}.png", "a", 1)
    write_pair(tmp_path, "test/{}.jpg", "test/{}.png", "b", 1)
    assert open_pairs(tmp_path).videos == (Video("a", 1),)
    assert len(open_pairs(tmp_path, deep=True).videos) == 2


def test_folders_that_systems_leave_hold_no_images(tmp_path):
    write_pair(tmp_path, "owl/{}.jpg", "owl/{}.png", "1", 1)
    for folder in ("__MACOSX/owl", "owl/@eaDir", ".thumbnails"):
        write_frame(tmp_path / folder / "1.jpg")
    write_frame(tmp_path / "owl" / "._1.jpg")
    assert open_source("fss1000", tmp_path).videos == (Video("owl/1", 1),)


def test_an_image_can_be_read_several_times_at_once(tmp_path):
    write_pair(tmp_path, *OFFICIAL["ecssd"], "a", 3)
    frames, labels = open_ecssd(tmp_path).read(0, [0, 0])
    assert numbers(frames) == [3, 3]
    assert labels.shape == (2, 24, 32)


def test_an_empty_folder_is_refused_with_the_layouts_it_could_have(tmp_path):
    found = (
        r"holds no images/\*\.jpg with ground_truth_mask/\*\.png, or \./\*\.jpg with"
    )
    with pytest.raises(InputError, match=found):
        open_ecssd(tmp_path)


def test_an_image_without_a_mask_is_named(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path, *OFFICIAL["ecssd"], name, 1)
    (tmp_path / "ground_truth_mask" / "b.png").unlink()
    with pytest.raises(InputError, match=r"mask/b\.png of .*images/b\.jpg is missing"):
        open_ecssd(tmp_path)


def test_a_mask_without_an_image_and_hidden_files_are_left_out(tmp_path):
    write_pair(tmp_path, *OFFICIAL["ecssd"], "a", 1)
    write_grey(tmp_path / "ground_truth_mask" / "b.png", label_pixels(255))
    write_frame(tmp_path / "images" / "._a.jpg")
    assert open_ecssd(tmp_path).videos == (Video("a", 1),)


def test_two_images_of_one_mask_are_named(tmp_path):
    write_pair(tmp_path, *OFFICIAL["ecssd"], "a", 1)
    write_frame(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match=r"a\.jpg and .*a\.png share a mask"):
        open_ecssd(tmp_path)


def test_a_mask_of_another_size_is_named(tmp_path):
    write_pair(tmp_path, *OFFICIAL["ecssd"], "a", 1)
    write_grey(
        tmp_path / "ground_truth_mask" / "a.png", label_pixels(255, size=(24, 16))
    )
    with pytest.raises(InputError, match=r"a\.png is 16x24 but .*a\.jpg is 32x24"):
        open_ecssd(tmp_path).read(0, [0])


@pytest.fixture
def pascal_voc(tmp_path):
    """Two images with objects, void between them; a third is not in the list."""
    for number, name in enumerate(("2007_000032", "2007_000039", "2007_000042")):
        write_frame(tmp_path / "JPEGImages" / f"{name}.jpg", number)
    for name in ("2007_000032", "2007_000039"):
        path = tmp_path / "SegmentationObject" / f"{name}.png"
        write_palette(path, label_pixels(1, 2, 255))
    lists = tmp_path / "ImageSets" / "Segmentation"
    write_text(lists / "trainval.txt", "2007_000039\n2007_000032\n")
    write_text(lists / "val.txt", "2007_000032\n")
    return tmp_path


def test_void_of_pascal_voc_stays_to_be_ignored(pascal_voc):
    source = open_pascal_voc(pascal_voc)
    assert source.videos == (Video("2007_000039", 1), Video("2007_000032", 1))
    frames, labels = source.read(0, [0])
    assert numbers(frames) == [1]
    np.testing.assert_array_equal(labels, [label_pixels(1, 2, 255)])
    assert len(open_pascal_voc(pascal_voc, split="val").videos) == 1


@pytest.mark.parametrize("kind", ["JPEGImages", "SegmentationObject"])
def test_a_listed_image_of_pascal_voc_without_its_files_is_named(pascal_voc, kind):
    (path,) = (pascal_voc / kind).glob("2007_000039.*")
    path.unlink()
    with pytest.raises(
        InputError, match=rf"{kind} lacks 2007_000039, which .*trainval"
    ):
        open_pascal_voc(pascal_voc)


def test_a_missing_list_of_pascal_voc_is_named(pascal_voc):
    with pytest.raises(InputError, match=r"train\.txt .*\['trainval', 'val'\]"):
        open_pascal_voc(pascal_voc, split="train")


def test_a_corrupt_mask_of_pascal_voc_is_named(pascal_voc):
    damage(pascal_voc / "SegmentationObject" / "2007_000032.png")
    with pytest.raises(InputError, match=r"2007_000032\.png is damaged"):
        open_pascal_voc(pascal_voc).read(1, [0])


def test_masks_of_sbd_beside_those_of_pascal_voc_are_read(pascal_voc):
    folder = pascal_voc / "SegmentationObjectAug"
    for name in ("2007_000032", "2007_000042"):
        write_palette(folder / f"{name}.png", label_pixels(7))
    write_text(
        pascal_voc / "ImageSets/Segmentation/trainaug.txt", "2007_000032\n2007_000042\n"
    )
    source = open_pascal_voc(pascal_voc, split="trainaug", masks=folder.name)
    assert source.videos == (Video("2007_000032", 1), Video("2007_000042", 1))
    np.testing.assert_array_equal(source.read(1, [0]).labels, [label_pixels(7)])


@pytest.fixture
def sbd(tmp_path):
    """Three images in two lists, as the archive unpacks."""
    folder = tmp_path / "SBD" / "benchmark_RELEASE" / "dataset"
    names = ("2008_000002", "2008_000003", "2008_000007")
    for number, name in enumerate(names):
        write_frame(folder / "img" / f"{name}.jpg", number)
        write_matlab(folder / "inst" / f"{name}.mat", label_pixels(1, 2, number))
    write_text(folder / "train.txt", f"{names[1]}\n{names[2]}\n")
    write_text(folder / "val.txt", f"{names[0]}\n")
    return tmp_path / "SBD"


def test_both_lists_of_sbd_are_read(sbd):
    source = open_sbd(sbd)
    names = [video.name for video in source.videos]
    assert names == ["2008_000003", "2008_000007", "2008_000002"]
    frames, labels = source.read(1, [0, 0])
    assert numbers(frames) == [2, 2]
    np.testing.assert_array_equal(labels, [label_pixels(1, 2, 2)] * 2)
    assert pickle.loads(pickle.dumps(source)) == source


def test_one_list_of_sbd_and_the_folder_inside_can_be_named(sbd):
    folder = sbd / "benchmark_RELEASE" / "dataset"
    assert open_sbd(folder, split="val").videos == (Video("2008_000002", 1),)
    with pytest.raises(InputError, match=r"list .*test\.txt .*\['train', 'val'\]"):
        open_sbd(sbd, split="test")


def test_images_of_sbd_that_another_set_has_are_left_out(sbd, tmp_path):
    write_text(tmp_path / "VOC2012" / "trainval.txt", "2008_000003\n2007_000032\n")
    source = open_sbd(sbd, leave_out="../VOC2012/trainval.txt")
    assert source.videos == (Video("2008_000007", 1), Video("2008_000002", 1))
    np.testing.assert_array_equal(source.read(1, [0]).labels, [label_pixels(1, 2)])


def test_a_link_to_sbd_has_the_list_beside_it(sbd, tmp_path):
    data = tmp_path / "data"
    write_text(data / "VOC2012.txt", "2008_000003\n")
    (data / "SBD").symlink_to(sbd)
    assert len(open_sbd(data / "SBD", leave_out="../VOC2012.txt").videos) == 2


def test_a_list_to_leave_out_that_is_missing_or_leaves_nothing_is_named(sbd):
    with pytest.raises(InputError, match=r"list .*nowhere\.txt cannot be read"):
        open_sbd(sbd, leave_out="nowhere.txt")
    with pytest.raises(InputError, match=r"val\.txt leaves no image of .*dataset"):
        open_sbd(sbd, split="val", leave_out="benchmark_RELEASE/dataset/val.txt")


@pytest.mark.parametrize("folder", ["img", "inst"])
def test_a_listed_image_of_sbd_without_its_files_is_named(sbd, folder):
    (path,) = sbd.rglob(f"{folder}/2008_000002.*")
    path.unlink()
    with pytest.raises(
        InputError, match=rf"{folder} lacks 2008_000002, which .*val\.txt lists"
    ):
        open_sbd(sbd)


@pytest.mark.parametrize("folder", ["img", "inst"])
def test_a_missing_folder_of_sbd_is_named(sbd, folder):
    (sbd / "benchmark_RELEASE" / "dataset" / folder).rename(sbd / "elsewhere")
    with pytest.raises(InputError, match=rf"dataset/{folder} cannot be listed"):
        open_sbd(sbd)


def test_a_corrupt_mask_of_sbd_is_named(sbd):
    (path,) = sbd.rglob("2008_000002.mat")
    damage(path)
    with pytest.raises(InputError, match=r"inst/2008_000002\.mat is damaged"):
        open_sbd(sbd, split="val").read(0, [0])
