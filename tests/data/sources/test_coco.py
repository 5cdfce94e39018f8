"""COCO instances: outlines and run lengths become labels."""

import json
import pickle
import sys

import numpy as np
import pytest

from tests.data.sources.layouts import damage, numbers, write_frame, write_text
from vos_jax.data.source import Video
from vos_jax.data.sources.coco import open_coco
from vos_jax.errors import InputError

pytest.importorskip("pycocotools")
# Of the decoder's own making, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
HEIGHT, WIDTH = 24, 32


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(left, top, right, bottom):
    """Column by column, beginning with zeros, as COCO has them."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    flat = mask.T.ravel()
    # A zero in front: the first run is one of zeros even where there are none.
    ends = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def annotation(image, segmentation, crowd=0):
    return {"image_id": image, "segmentation": segmentation, "iscrowd": crowd}


def image(number):
    name = f"{number:012d}.jpg"
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}


def content():
    """Image 9: two objects and a crowd. Image 4: one object. 5: a crowd. 6: nothing."""
    annotations = [
        annotation(9, [box(4, 4, 8, 8), box(20, 4, 24, 8)]),
        annotation(4, run_lengths(1, 2, 5, 6)),
        annotation(9, run_lengths(0, 0, 32, 6), crowd=1),
        annotation(9, [box(2, 6, 30, 16)]),
        annotation(5, run_lengths(0, 0, 9, 9), crowd=1),
    ]
    return {"images": [image(k) for k in (9, 4, 5, 6)], "annotations": annotations}


@pytest.fixture
def coco(tmp_path):
    for number in (9, 4, 5, 6):
        write_frame(tmp_path / "train2017" / image(number)["file_name"], number)
    write(tmp_path, content())
    return tmp_path


def write(root, stored):
    text = stored if isinstance(stored, str) else json.dumps(stored)
    write_text(root / "annotations" / "instances_train2017.json", text)


def test_images_without_an_object_are_left_out(coco):
    assert open_coco(coco).videos == (
        Video("000000000009.jpg", 1),
        Video("000000000004.jpg", 1),
    )


def test_smaller_objects_lie_on_top_and_crowds_are_ignored(coco):
    frames, labels = open_coco(coco).read(0, [0])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:6] = 255
    expected[6:16, 2:30] = 1
    expected[4:8, 4:8] = expected[4:8, 20:24] = 2
    assert numbers(frames) == [9]
    np.testing.assert_array_equal(labels, [expected])
    assert labels.dtype == np.uint8


def test_run_lengths_of_an_object_are_drawn(coco):
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:6, 1:5] = 1
    np.testing.assert_array_equal(
        open_coco(coco).read(1, [0, 0]).labels, [expected] * 2
    )


def test_outlines_are_drawn_as_pycocotools_draws_them(coco):
    from pycocotools.coco import COCO

    rng = np.random.default_rng(0)
    outlines = [rng.uniform(0, 30, 12).round(2).tolist() for _ in range(20)]
    annotations = [annotation(k + 1, [each]) for k, each in enumerate(outlines)]
    images = [image(k + 1) for k in range(20)]
    for k in range(20):
        write_frame(coco / "train2017" / images[k]["file_name"])
    theirs = COCO()
    theirs.imgs = {each["id"]: each for each in images}
    write(coco, {"images": images, "annotations": annotations})
    source = open_coco(coco)
    for index, each in enumerate(annotations):
        expected = theirs.annToMask(each)
        np.testing.assert_array_equal(source.read(index, [0]).labels[0], expected)


def test_compressed_run_lengths_are_drawn(coco):
    from pycocotools import mask

    stored = content()
    packed = mask.frPyObjects(run_lengths(1, 2, 5, 6), HEIGHT, WIDTH)
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    before = open_coco(coco).read(1, [0]).labels
    stored["annotations"][1]["segmentation"] = text
    write(coco, stored)
    np.testing.assert_array_equal(open_coco(coco).read(1, [0]).labels, before)


def test_more_objects_than_ids_leave_the_smallest_to_be_ignored(coco):
    squares = [(x, y) for y in range(24) for x in range(11)]
    boxes = [box(2 * x, y, 2 * x + 2, y + 1) for x, y in squares[:255]]
    boxes[7] = box(14, 0, 15, 1)
    annotations = [annotation(9, [each]) for each in boxes]
    write(coco, {"images": [image(9)], "annotations": annotations})
    labels = open_coco(coco).read(0, [0]).labels[0]
    assert set(np.unique(labels).tolist()) == set(range(256))
    assert np.argwhere(labels == 255).tolist() == [[0, 14]]


def test_outlines_without_an_area_are_left_out(coco):
    stored = content()
    stored["annotations"][1]["segmentation"] = [[3, 3, 5, 5], []]
    write(coco, stored)
    assert [video.name for video in open_coco(coco).videos] == ["000000000009.jpg"]


def test_images_may_lie_in_a_folder_of_images(coco):
    (coco / "images").mkdir()
    (coco / "train2017").rename(coco / "images" / "train2017")
    assert numbers(open_coco(coco).read(1, [0]).frames) == [4]
    (coco / "images").rename(coco / "pictures")
    with pytest.raises(InputError, match=r"image folder .*train2017 does not exist"):
        open_coco(coco)


def test_a_source_survives_pickling(coco):
    source = pickle.loads(pickle.dumps(open_coco(coco)))
    np.testing.assert_array_equal(
        source.read(0, [0]).labels, open_coco(coco).read(0, [0]).labels
    )


def changed(*path_and_value):
    """The content with another value at a path of keys."""
    *path, key, value = path_and_value
    stored = place = content()
    for step in path:
        place = place[step]
    if value is None:
        del place[key]
    else:
        place[key] = value
    return stored


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ('{"images": [', "is damaged"),
        ("[]", "holds no JSON object"),
        ("{}", "annotations is malformed"),
        ('{"annotations": []}', "images is malformed"),
        ('{"annotations": [], "images": []}', "lists no object"),
        ('{"annotations": [3], "images": []}', "annotation 0 is malformed"),
        (changed("annotations", 2, "image_id", None), "annotation 2 .*no 'image_id'"),
        (changed("annotations", 3, "segmentation", None), "annotation 3 "),
        (changed("annotations", 3, "segmentation", [1, 2, 3]), "annotation 3 "),
        (changed("annotations", 3, "segmentation", [[1, 2, 3, 4, 5]]), "no list of ou"),
        (changed("annotations", 3, "segmentation", [[1, 2, 3, 4, 5, "a"]]), "on 3 "),
        (changed("annotations", 3, "segmentation", [[1e9] * 6]), "no list of outlines"),
        (changed("annotations", 3, "segmentation", {"size": [1, 1]}), "no 'counts'"),
        (changed("annotations", 0, "image_id", 77), "image 77, which is not listed"),
        (changed("images", 1, "height", None), "image 1 is malformed .no 'height'"),
        (
            changed("images", 1, "file_name", "../4.jpg"),
            r"image 1 .*'\.\./4\.jpg' is no",
        ),
        (changed("images", 1, "file_name", 4), "image 1 is malformed"),
        (changed("images", 1, "id", 9), "image 1 .*second entry"),
        (changed("images", 1, "file_name", "000000000009.jpg"), "1 .*second entry"),
    ],
)
def test_a_malformed_json_file_is_named(coco, stored, found):
    write(coco, stored)
    with pytest.raises(
        InputError, match=rf"instances_train2017\.json.*{found}"
    ) as error:
        open_coco(coco)
    assert "\n" not in str(error.value)


def test_an_outline_of_no_number_is_named(coco):
    stored = json.dumps(content()).replace("[2, 6,", "[NaN, 6,")
    write(coco, stored)
    with pytest.raises(InputError, match=r"annotation 3 .*no list of outlines"):
        open_coco(coco)


@pytest.mark.parametrize(
    ("size", "counts", "reason"),
    [
        ([WIDTH, HEIGHT], [HEIGHT * WIDTH], r"of a mask of \[32, 24\]"),
        ([HEIGHT, WIDTH], [10, 10], "do not fill"),
        ([HEIGHT, WIDTH], [-10, HEIGHT * WIDTH + 10], "do not fill"),
        ([HEIGHT, WIDTH], [0, HEIGHT * WIDTH * 9], "do not fill"),
        ([HEIGHT, WIDTH], [], "no run lengths"),
        ([HEIGHT, WIDTH], "", "no run lengths"),
        ([HEIGHT, WIDTH], "P\u00e9", ""),
        # The packed run lengths of 100 x 100 ones.
        ([HEIGHT, WIDTH], "0`h9", ""),
        (7, [HEIGHT * WIDTH], ""),
    ],
)
def test_damaged_run_lengths_are_named_with_their_image(coco, size, counts, reason):
    mask = {"size": size, "counts": counts}
    write(coco, changed("annotations", 1, "segmentation", mask))
    source = open_coco(coco)
    found = rf"_train2017\.json: a mask of 000000000004\.jpg is damaged .*{reason}"
    with pytest.raises(InputError, match=found):
        source.read(1, [0])


def test_a_missing_json_file_is_named(coco):
    with pytest.raises(InputError, match=r"instances_val2017\.json cannot be read"):
        open_coco(coco, split="val2017")


def test_a_missing_or_corrupt_image_is_named(coco):
    source = open_coco(coco)
    damage(coco / "train2017" / "000000000009.jpg")
    (coco / "train2017" / "000000000004.jpg").unlink()
    with pytest.raises(InputError, match=r"000000000009\.jpg is damaged"):
        source.read(0, [0])
    with pytest.raises(InputError, match=r"000000000004\.jpg does not exist"):
        source.read(1, [0])


def test_an_image_of_another_size_than_the_file_says_is_named(coco):
    write_frame(coco / "train2017" / "000000000009.jpg", size=(WIDTH, HEIGHT))
    found = r"000000000009\.jpg is 24x32 but .*instances_train2017\.json says 32x24"
    with pytest.raises(InputError, match=found):
        open_coco(coco).read(0, [0])


def test_without_pycocotools_the_error_says_how_to_get_it(coco, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(InputError, match="`pip install pycocotools`"):
        open_coco(coco)
