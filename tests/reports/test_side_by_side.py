"""Masks beside the annotation: what is right, missed and wrong."""

import dataclasses

import numpy as np
import pytest

from tests.clips import moving_clip, write_davis
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset
from vos_jax.media import write_labels
from vos_jax.reports.side_by_side import MISSED, WRONG, differences, side_by_side


def test_every_pixel_is_right_missed_wrong_or_left_alone():
    frame = np.full((12, 12, 3), 100, np.uint8)
    truth, labels = np.zeros((2, 12, 12), np.uint8)
    truth[:4], labels[:4] = 1, 1
    truth[4:6] = 1
    labels[6:8] = 2
    truth[8:10], labels[8:10] = 1, 2
    truth[10:] = 255
    labels[10:] = 1
    found = differences(frame, labels, truth)
    missed, wrong = (np.array(x) * 0.75 + 25 for x in (MISSED, WRONG))
    np.testing.assert_allclose(found[4:6], np.broadcast_to(missed, (2, 12, 3)), atol=1)
    np.testing.assert_allclose(found[6:10], np.broadcast_to(wrong, (4, 12, 3)), atol=1)
    np.testing.assert_array_equal(found[11], 100)
    tint = found[0, 0].astype(int) - 100
    assert np.abs(tint).max() > 5 and np.abs(found[:2] - found[0, 0]).max() == 0


@pytest.fixture
def sequence(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha"], 4)
    return read_dataset("davis2017", root, "val")[0]


def test_rows_are_the_annotation_and_every_folder(sequence, tmp_path, monkeypatch):
    _, labels = moving_clip(5)
    for time, each in enumerate(labels[:4]):
        write_labels(tmp_path / f"{time:05d}.png", each if time < 3 else 0 * each)
    drawn = []
    monkeypatch.setattr(
        "vos_jax.reports.side_by_side.contact_sheet", lambda *args: drawn.append(args)
    )
    side_by_side(sequence, {"ours": tmp_path}, [1, 3])
    ((rows, captions, title),) = drawn
    assert [len(row) for row in rows] == [2, 2]
    assert captions == [
        ["annotation, frame 1", "annotation, frame 3"],
        ["ours, J 1.00", "ours, J 0.00"],
    ]
    assert title.startswith("alpha: ")


def test_masks_of_frames_without_annotations_are_drawn_as_they_are(
    sequence, tmp_path, monkeypatch
):
    _, labels = moving_clip(5)
    for time in (1, 3):
        write_labels(tmp_path / f"{time:05d}.png", labels[time])
    first = dict(list(sequence.annotations.items())[:1])
    drawn = []
    monkeypatch.setattr(
        "vos_jax.reports.side_by_side.contact_sheet", lambda *args: drawn.append(args)
    )
    unknown = dataclasses.replace(sequence, annotations=first)
    side_by_side(unknown, {"ours": tmp_path}, [1, 3])
    ((rows, captions, title),) = drawn
    assert len(rows) == 1 and title == "alpha"
    assert captions == [["ours, frame 1", "ours, frame 3"]]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([4], "frame 4: alpha has frames 0 to 3"),
        ([1], r"ours: .*00001\.png is not there; segment the sequence"),
    ],
)
def test_a_frame_that_is_not_there_is_named(times, message, sequence, tmp_path):
    with pytest.raises(InputError, match=message):
        side_by_side(sequence, {"ours": tmp_path}, times)
