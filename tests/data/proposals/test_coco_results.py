"""Files of COCO results: both layouts, folders, every kind of mask, every damage."""

import json

import numpy as np
import pytest

from tests.data.proposals.files import (
    SIZE,
    entries,
    entry,
    image,
    images,
    mask_at,
    write_list,
    write_object,
)
from vos_jax.data.proposals.coco_results import CocoResults
from vos_jax.errors import InputError


def check_dog(results):
    for time in range(3):
        found = results.find("dog", f"{time:05d}")
        masks, scores = results.candidates(found)
        assert results.images[found].size == SIZE
        np.testing.assert_allclose(scores, [1 - 2 * time / 100, 0.99 - 2 * time / 100])
        for number, mask in enumerate(masks):
            np.testing.assert_array_equal(mask, mask_at(2 * time + number))


@pytest.mark.parametrize(
    "write",
    [
        write_object,
        write_list,
        lambda path: write_list(path, wrapped=False),
        lambda path: write_object(path, found=entries()[::-1][1::2] + entries()[::2]),
    ],
    ids=["object", "list", "list of images", "entries apart"],
)
def test_every_layout_is_read(tmp_path, write):
    results = CocoResults(write(tmp_path / "found.json"))
    if write is write_object:
        check_dog(results)
    assert results.find("dog", "00003") is None
    assert results.find("cat", "00000") is None
    assert results.find(None, "00002") == results.find("dog", "00002") == 2
    assert sum(len(results.candidates(i).masks) for i in range(3)) == 6
    np.testing.assert_array_equal(results.candidates(1).masks[-1].sum(), 2)


def test_entries_may_come_before_their_images_and_names_in_any_letters(tmp_path):
    path = tmp_path / "found.json"
    listed = [*images("døg 犬"), image("x", "fréd/00000.jpg")]
    text = json.dumps(
        {"annotations": [*entries(), entry("x", 5)], "images": listed},
        ensure_ascii=False,
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    results = CocoResults(path)
    assert results.find("d\u00f8g \u72ac", "00001") == 1
    masks, _ = results.candidates(results.find("fr\u00e9d", "00000"))
    np.testing.assert_array_equal(masks[0], mask_at(5))


def test_a_folder_is_read_as_one_file(tmp_path):
    write_list(tmp_path / "dog.json")
    # Ids are those of a file.
    write_object(tmp_path / "cat.json", images("cat"))
    (tmp_path / "readme.txt").write_text("none of them")
    results = CocoResults(tmp_path)
    check_dog(results)
    assert len(results.images) == 6
    with pytest.raises(InputError, match="frame 00001 in several sequences"):
        results.find(None, "00001")


def test_names_are_compared_by_their_last_two_parts_without_extension(tmp_path):
    listed = [
        image(1, "JPEGImages/480p/dog/00000.jpg"),
        image(2, "still.with.dots.png"),
        image(3, "shot.0007"),
    ]
    results = CocoResults(write_object(tmp_path / "p.json", listed, []))
    assert results.find("dog", "00000") == 0
    assert results.find("DAVIS/dog", "00000") == 0
    assert results.find(None, "still.with.dots") == 1
    assert results.find(None, "shot.0007") == 2
    assert results.empty == 3


def test_scores_may_all_be_missing_and_then_the_order_counts(tmp_path):
    found = [entry(10, n, score=...) for n in range(4)]
    results = CocoResults(write_object(tmp_path / "p.json", found=found))
    assert len(set(results.candidates(0).scores)) == 1


def test_outlines_and_lists_of_lengths_are_masks_too(tmp_path):
    pytest.importorskip("pycocotools")
    square = [[1, 1, 5, 1, 5, 4, 1, 4]]
    counts = [6 * 2, 3, 33]
    found = [
        entry(10, 0, segmentation=square),
        entry(10, 1, segmentation={"size": list(SIZE), "counts": counts}),
        entry(10, 2, segmentation=[]),
        entry(10, 3, segmentation=[[1, 1, 2, 2]]),
    ]
    masks, _ = CocoResults(write_object(tmp_path / "p.json", found=found)).candidates(0)
    assert masks[0][1:4, 1:5].all() and masks[0].sum() == 12
    assert masks[1][:3, 2].all() and masks[1].sum() == 3
    assert not masks[2].any() and not masks[3].any()


def test_outlines_without_pycocotools_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    found = [entry(10, 0, segmentation=[[1, 1, 5, 1, 5, 4]])]
    masks, _ = CocoResults(write_object(tmp_path / "p.json", found=found)).candidates(0)
    with pytest.raises(InputError, match=r"pip install 'vos_jax\[proposals\]'"):
        masks[0]


NAN, FAR = float("nan"), float("inf")
RUNS = {"size": list(SIZE), "counts": [6, 6]}
WRONG = [
    ([entry(10, 0, image_id=99)], "entry 0 .*no image has its image_id 99"),
    ([entry(10, 0), entry(10, 0, image_id=...)], "entry 1 .*no 'image_id'"),
    ([entry(10, 0, segmentation=...)], "entry 0 .*no 'segmentation'"),
    ([entry(10, 0, segmentation={"size": [6, 8]})], "entry 0 .*no 'counts'"),
    ([entry(10, 0, segmentation=dict(RUNS, size=[8, 6]))], "0 .*mask is 6x8, .* 8x6"),
    ([entry(10, 0, segmentation=dict(RUNS, size=[6]))], "entry 0 is malformed"),
    ([entry(10, 0, segmentation=dict(RUNS, size="68"))], "entry 0 .*size .*is none"),
    ([entry(10, 0, segmentation="none")], "entry 0 is malformed"),
    ([entry(10, 0), entry(10, 1, score=...)], "entry 1 .*has no score"),
    ([entry(10, 0, score=...), entry(10, 1)], "entry 1 .*it has a score"),
    ([entry(10, 0, score="high")], "entry 0 .*score 'high' is no number"),
    ([entry(10, 0, score=True)], "entry 0 .*score True is no number"),
    ([entry(10, 0, score=NAN)], "entry 0 .*score nan is not finite"),
    ([entry(10, 0, score=FAR)], "entry 0 .*score inf is not finite"),
    ([entry(10, 0, image_id=[1])], "entry 0 is malformed"),
    ([3], "entry 0 .*no object"),
]


@pytest.mark.parametrize("write", [write_object, write_list])
@pytest.mark.parametrize(("found", "message"), WRONG)
def test_a_wrong_entry_is_named(tmp_path, write, found, message):
    path = write(tmp_path / "found.json", found=found)
    with pytest.raises(InputError, match=f"found.json: .*{message}") as error:
        CocoResults(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([image(10, "dog/00000.jpg")] * 2, "image 1 .*second entry of id 10"),
        (
            [image(1, "dog/00000.jpg"), image(2, "a/dog/00000.png")],
            "image 1 .*second entry of dog/00000",
        ),
        ([image(1, "x.jpg", height=...)], "image 0 .*no 'height'"),
        ([image(1, "x.jpg", width=0)], "image 0 .*no numbers of pixels"),
        ([image(1, "x.jpg", width=7.5)], "image 0 .*no numbers of pixels"),
        ([image(1, "")], "image 0 .*is no name"),
        ([image(1, 7)], "image 0 .*is no name"),
        (["x.jpg"], "image 0 is malformed"),
    ],
)
def test_a_wrong_image_is_named(tmp_path, listed, message):
    path = write_object(tmp_path / "found.json", listed, [])
    with pytest.raises(InputError, match=f"found.json: {message}"):
        CocoResults(path)


WHOLE = json.dumps({"images": images(), "annotations": entries()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (WHOLE[: WHOLE.index("annotations") + 40], "is cut off in entry 0"),
        (WHOLE[:-2], "is cut off in entry 5"),
        (WHOLE[:-1], "is cut off"),
        (WHOLE[:30], "is cut off"),
        (WHOLE + "x", "goes on behind its end"),
        (WHOLE.replace("}, {", "} {"), "is damaged"),
        (WHOLE.replace('"score": 1.0,', '"score": 1.0;'), "is damaged in entry 0"),
        ('{"images": []}', "no list of annotations"),
        ("{}", "no list of annotations"),
        ('{"annotations": []}', "no list of images"),
        ('{"annotations": [], "images": {}}', "images are no list"),
        ('"text"', "neither a list of results nor an object"),
        ("[]", "found.images.json is missing"),
        ("\x00\x01", "neither a list"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "found.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        CocoResults(path)
    assert "found" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "3", '{"images": 3}'])
def test_a_damaged_list_of_images_is_one_line(tmp_path, content):
    path = write_list(tmp_path / "found.json")
    (tmp_path / "found.images.json").write_text(content)
    with pytest.raises(InputError, match=r"found\.images\.json"):
        CocoResults(path)


def test_the_list_of_images_may_be_anywhere(tmp_path):
    path = write_list(tmp_path / "found.json")
    elsewhere = (tmp_path / "found.images.json").rename(tmp_path / "instances.json")
    check_dog(CocoResults(path, elsewhere))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5], "run lengths add up to 5, not to 6 x 8"),
        ([50], "run lengths add up to 50"),
        ("h", "entry 3"),
        ({}, "entry 3"),
    ],
)
def test_a_damaged_mask_is_named_when_it_is_needed(tmp_path, counts, message):
    bad = entry(11, 0, segmentation={"size": list(SIZE), "counts": counts})
    found = [*entries(1), entry(11, 1), bad]
    path = write_object(tmp_path / "found.json", found=found)
    results = CocoResults(path)
    good = results.candidates(0).masks
    np.testing.assert_array_equal(good[0], mask_at(0))
    with pytest.raises(InputError, match=f"entry 3.*{message}|{message}") as error:
        results.candidates(1).masks[1]
    assert "found.json" in str(error.value) and "entry 3" in str(error.value)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json cannot be read"):
        CocoResults(tmp_path / "gone.json")
    with pytest.raises(InputError, match="holds no proposals"):
        CocoResults(tmp_path)


def test_other_bytes_have_another_identity(tmp_path):
    write_list(tmp_path / "a.json")
    first = CocoResults(tmp_path / "a.json").identity
    assert CocoResults(write_list(tmp_path / "b.json")).identity == first
    listed = images()
    listed[0]["width"] += 0
    write_list(tmp_path / "a.json", [*listed, image(5, "cat/1.jpg")])
    assert CocoResults(tmp_path / "a.json").identity != first
