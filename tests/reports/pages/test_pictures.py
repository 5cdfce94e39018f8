"""Errors in colour, and pictures that together are not too large."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from tests.reports.pages.conftest import NAMES
from vos_jax.reports.pages.examples import (
    choose_frames,
    draw_examples,
    frame_means,
    worst_sequences,
)
from vos_jax.reports.pages.pictures import (
    CONFUSED,
    Album,
    Error,
    draw_errors,
    draw_frame,
    find_errors,
)
from vos_jax.reports.pages.results import read_results
from vos_jax.reports.side_by_side import MISSED, WRONG


def test_every_pixel_is_right_missed_wrong_or_confused():
    truth = np.array([[0, 1, 1, 0, 2, 2]], np.uint8)
    labels = np.array([[0, 1, 0, 2, 1, 2]], np.uint8)
    found = find_errors(labels, truth)
    expected = [Error.NONE] * 2 + [
        Error.MISSED,
        Error.WRONG,
        Error.CONFUSED,
        Error.NONE,
    ]
    assert found[0].tolist() == expected
    frame = np.full((1, 6, 3), 100, np.uint8)
    picture = draw_errors(frame, labels, truth)[0].astype(int)
    assert (picture[[1, 5]] == 100).all() and (picture[0] < 80).all()
    for place, colour in ((2, MISSED), (3, WRONG), (4, CONFUSED)):
        assert np.abs(picture[place] - (0.8 * np.array(colour) + 20)).max() <= 1


def test_the_worst_sequence_comes_first(results):
    found = [read_results(folder, folder.name) for folder in results]
    assert worst_sequences(found) == list(NAMES)[::-1]


def test_the_worst_frames_are_those_and_not_neighbours(results):
    near = read_results(results[0], "near")
    entry = near.report.objects[0]
    object.__setattr__(entry, "region", np.array([0.9, 0.1, 0.2, 0.8]))
    object.__setattr__(entry, "contour", np.array([0.9, 0.1, 0.2, 0.8]))
    (other,) = [x for x in near.report.objects if x.name == "alpha_2"]
    object.__setattr__(other, "region", np.full(4, 0.5))
    object.__setattr__(other, "contour", np.full(4, 0.5))
    assert frame_means([entry, other])["00002"] == (0.1 + 0.5) / 2
    (worst,) = choose_frames([near], "alpha", 1)
    assert (worst.frame, worst.scores) == ("00002", (0.3,))
    assert [x.frame for x in choose_frames([near], "alpha", 2)] == ["00002", "00003"]


def test_a_frame_has_a_picture_of_the_annotation_and_two_of_each_result(results):
    found = [read_results(folder, folder.name) for folder in results]
    pictures = draw_frame("beta", "00003", found)
    assert len(pictures) == 5
    assert len({picture.tobytes() for picture in pictures}) == 5
    examples = draw_examples(found)
    assert [*examples.pictures] == [*examples.worst, *examples.different]
    assert len(examples.pictures) == len(examples.worst) + len(examples.different)
    assert all(len(each) == 5 for each in examples.pictures.values())


def test_pictures_shrink_until_all_of_them_fit():
    rng = np.random.default_rng(0)
    album = Album()
    for _ in range(3):
        album.add(rng.integers(0, 256, (300, 600, 3), np.uint8))
    large, width = album.coded(10**7)
    assert width == 480
    limit = sum(map(len, large)) // 3
    small, narrow = album.coded(limit)
    assert sum(map(len, small)) <= limit and narrow < 480
    head, _, content = small[0].partition(",")
    assert head == "data:image/webp;base64"
    assert Image.open(BytesIO(base64.b64decode(content))).size == (narrow, narrow // 2)
