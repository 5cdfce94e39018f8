"""Readers of proposals: of files by name, of frames alone, for whole and moved ones."""

import warnings

import numpy as np
import pytest

from tests.data.proposals.files import (
    SIZE,
    entries,
    entry,
    image,
    images,
    mask_at,
    write_object,
)
from vos_jax.data.augmentation import Affine, Geometry, mirror_matrix, warp_labels
from vos_jax.data.proposals import REGIONS, open_proposals, select
from vos_jax.data.proposals.regions import propose_regions
from vos_jax.data.synthetic import generate_clip
from vos_jax.errors import InputError, InputWarning

NAMES = ["00000", "00001", "00002"]


@pytest.fixture
def path(tmp_path):
    return write_object(tmp_path / "found.json")


def frame(size=SIZE):
    return np.zeros((*size, 3), np.uint8)


def assert_equal(one, other):
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("sequence", ["dog", None])
@pytest.mark.parametrize("size", [SIZE, (12, 16), (3, 4)])
def test_a_frame_gets_the_proposals_of_its_name(path, sequence, size):
    video = open_proposals(path).video(sequence, NAMES, SIZE)
    for index in range(3):
        numbers = [2 * index, 2 * index + 1]
        masks, scores = [mask_at(n) for n in numbers], 1 - np.array(numbers) / 100
        expected = select(masks, scores, size)
        assert_equal(video.read(index, frame(), size), expected)


def test_every_frame_but_the_first_must_be_listed(path):
    reader = open_proposals(path)
    reader.video("dog", ["unknown", "00001"], SIZE)
    with pytest.raises(InputError, match=r"found\.json does not list frame dog/00007"):
        reader.video("dog", ["00000", "00007"], SIZE)
    with pytest.raises(InputError, match="does not list frame cat/00001"):
        reader.video("cat", NAMES, SIZE)
    with pytest.raises(InputError, match="does not list frame 00009"):
        reader.video(None, ["00000", "00009"], SIZE)


@pytest.fixture
def two(tmp_path):
    """Of two sequences that differ in their proposals; `cat` is longer."""
    found = [*entries(), *(entry(20 + time, 6 + time) for time in range(4))]
    listed = [*images(), *images("cat", 4, first=20)]
    return write_object(tmp_path / "two.json", listed, found)


@pytest.mark.parametrize(("folder", "numbers"), [("dog", [2, 3]), ("cat", [7])])
def test_names_of_several_sequences_are_those_of_the_folder(two, folder, numbers):
    reader = open_proposals(two)
    with pytest.warns(InputWarning, match=f"those of '{folder}' are taken"):
        video = reader.video(None, NAMES, SIZE, folder=folder)
    scores = 1 - np.array(numbers) / 100
    expected = select([mask_at(n) for n in numbers], scores, SIZE)
    assert_equal(video.read(1, frame(), SIZE), expected)


def test_where_the_folder_tells_no_sequence_names_must(two):
    reader = open_proposals(two)
    with pytest.raises(InputError, match=r"00000 in several sequences, none .* 'out'"):
        reader.video(None, NAMES, SIZE, folder="out")
    with (
        pytest.warns(InputWarning, match="'dog'"),
        pytest.raises(InputError, match="does not list frame dog/00003"),
    ):
        reader.video(None, [*NAMES, "00003"], SIZE, folder="dog")
    # A frame that one of them alone has.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.video(None, ["first", "00003"], SIZE, folder="out")


def test_frames_of_two_sequences_are_no_video(tmp_path):
    listed = [image(1, "dog/00000.jpg"), image(2, "cat/00001.jpg")]
    reader = open_proposals(
        write_object(tmp_path / "two.json", listed, [entry(1, 0), entry(2, 1)])
    )
    with pytest.raises(InputError, match="frames 00000 to 00001 of several sequences"):
        reader.video(None, NAMES[:2], SIZE, folder="out")


def test_a_frame_of_another_size_is_named(path):
    with pytest.raises(InputError, match="frame dog/00001 as 8x6, but it is 9x6"):
        open_proposals(path).video("dog", NAMES, (6, 9))


def test_frames_without_proposals_are_counted_once(tmp_path):
    path = write_object(tmp_path / "found.json", images(), entries(1))
    with pytest.warns(InputWarning, match="2 of 3 frames have no proposal") as told:
        reader = open_proposals(path)
        video = reader.video("dog", NAMES, SIZE)
        assert_equal(video.read(2, frame(), SIZE), reader.empty(SIZE))
    assert len(told) == 1


def test_a_still_image_is_found_by_its_own_name(tmp_path):
    listed = [image(1, "train2017/000000000009.jpg"), image(2, "wheel/1.jpg")]
    found = [entry(1, 0), entry(2, 1)]
    reader = open_proposals(write_object(tmp_path / "found.json", listed, found))
    for name, number in (("000000000009", 0), ("wheel/1", 1)):
        read = reader.video(None, [name] * 2, SIZE).read(1, frame(), SIZE)
        np.testing.assert_array_equal(read.masks[0], mask_at(number))


def test_moved_masks_are_those_of_moved_labels(path):
    rng = np.random.default_rng(0)
    size = (10, 9)
    move = Affine(rotation=20, shear=10, zoom=(0.8, 1.25), translation=0.1)
    matrix = move.draw(rng, size) @ mirror_matrix(size)
    geometry = Geometry(np.diag([8 / 9, 6 / 10, 1]) @ matrix, None)
    video = open_proposals(path).video("dog", NAMES, SIZE)
    moved = video.warp(1, frame(), geometry, size)
    masks = [warp_labels(mask_at(n).view(np.uint8), geometry, size) > 0 for n in (2, 3)]
    assert all(mask.any() for mask in masks)
    assert_equal(moved, select(masks, np.array([0.98, 0.97]), size))


def test_masks_out_of_sight_leave_their_place_to_others(tmp_path):
    # Forty good ones on the left, a bad one on the right, and only the right is seen.
    mask = np.zeros(SIZE, bool)
    mask[2:4, 6:8] = True
    from vos_jax.data.proposals.run_lengths import text_of

    last = entry(10, 99, segmentation={"size": list(SIZE), "counts": text_of(mask)})
    found = [entry(10, 7 * (n % 5)) for n in range(40)]
    path = write_object(tmp_path / "p.json", images(count=1), [*found, last])
    right = Geometry(np.array([[1.0, 0, 4], [0, 1, 0], [0, 0, 1]]), None)
    moved = (
        open_proposals(path).video(None, ["00000"], SIZE).warp(0, frame(), right, SIZE)
    )
    assert moved.valid.sum() == 1
    np.testing.assert_array_equal(moved.boxes[0], [2, 2, 4, 4])


def test_the_word_regions_needs_no_file():
    reader = open_proposals(REGIONS)
    pixels = generate_clip(3, 1, (64, 96), 2, 0.3).frames[0]
    video = reader.video("anything", ["0", "1"], (64, 96))
    expected = select(*propose_regions(pixels), (32, 48))
    assert expected.valid.any()
    assert_equal(video.read(1, pixels, (32, 48)), expected)


def test_identities_tell_what_is_read_and_how(path, tmp_path):
    other = write_object(tmp_path / "other.json", found=entries(each=1))
    readers = [
        open_proposals(path),
        open_proposals(path, nms_first=True),
        open_proposals(other),
        open_proposals(REGIONS),
    ]
    assert len({reader.identity for reader in readers}) == 4
    assert open_proposals(path).identity == readers[0].identity
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_proposals(path)
