"""What comes with the frames of clips: found by name, moved as the labels are."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.data.test_pipeline import Painted
from vos_jax.data.augmentation import Affine, Spline
from vos_jax.data.clip_inputs import ClipInputs
from vos_jax.data.clips import Clips, batch_at
from vos_jax.data.proposals import ImageResults, open_proposals, write_results
from vos_jax.data.recipes import StaticRecipe, VideoRecipe
from vos_jax.data.source import FrameName, Video, frame_name
from vos_jax.data.sources import CocoSource, ConcatSource, FileSource
from vos_jax.data.sources.coco import CocoImage
from vos_jax.data.sources.files import VideoFiles
from vos_jax.errors import InputError
from vos_jax.types import IGNORE

MOVED = {
    "flip": 0.5,
    "frame_affine": Affine(rotation=20, shear=10, zoom=(0.8, 1.25), translation=0.1),
    "spline": Spline(probability=0.5),
}
VIDEO = VideoRecipe(size=(32, 40), objects=3, skip_steps=0, max_skip=2, **MOVED)
STATIC = StaticRecipe(size=(32, 40), objects=3, **MOVED)


def write_truth(path, source):
    """Every label of every frame as a proposal, which is for tests alone."""

    def images():
        for index, video in enumerate(source.videos):
            for time in range(video.length):
                labels = source.labels(index, time)
                ids = [i for i in range(1, 4) if (labels == i).any()]
                masks = [labels == i for i in ids]
                scores = np.linspace(1, 0.5, len(ids))
                name = f"{video.name}/{time:05d}.png"
                yield ImageResults(name, labels.shape, masks, scores)

    write_results(path, images())
    return open_proposals(path)


@pytest.fixture(scope="module")
def source():
    return Painted()


@pytest.fixture(scope="module")
def inputs(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "truth.json"
    reader = write_truth(path, source)
    # So that nothing is missing because of what lies beside it.
    reader.iou = 1
    return ClipInputs([(source, reader)])


@pytest.mark.parametrize("recipe", [VIDEO, STATIC], ids=["video", "static"])
def test_masks_lie_on_the_labels_that_they_were_made_of(source, inputs, recipe):
    clips = Clips(source, recipe, seed=0, batch=4, inputs=inputs)
    compared = 0
    for index in range(12):
        example = clips.example(3, index)
        boxes, masks, scores, valid = example.inputs
        assert masks.shape == (2, 30, 32, 40) and boxes.shape == (2, 30, 4)
        for time in range(2):
            found = masks[time][valid[time]]
            assert found.any(axis=(1, 2)).all()
            for label in np.unique(example.labels[time + 1]):
                if label not in (0, IGNORE):
                    truth = example.labels[time + 1] == label
                    equal = (found == truth).all(axis=(1, 2))
                    assert equal.sum() == 1
                    rows, columns = np.nonzero(truth)
                    np.testing.assert_array_equal(
                        boxes[time][valid[time]][equal][0],
                        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1],
                    )
                    compared += 1
        assert (np.diff(scores, axis=1)[valid[:, 1:]] <= 0).all()
    assert compared > 20


def test_frames_and_labels_are_those_of_clips_without(source, inputs):
    plain = batch_at(source, VIDEO, 5, 2, 3)
    batch = batch_at(source, VIDEO, 5, 2, 3, inputs=inputs)
    np.testing.assert_array_equal(batch.frames, plain.frames)
    np.testing.assert_array_equal(batch.labels, plain.labels)
    assert plain.inputs is None
    assert batch.inputs.masks.shape == (3, 2, 30, 32, 40)


class Named(NamedTuple):
    reader: np.ndarray
    names: np.ndarray


class Told:
    """A reader that tells which frame it was asked for."""

    def __init__(self, identity):
        self.identity = identity

    def video(self, sequence, names, size):
        self.asked = sequence, names, size
        return self

    def warp(self, index, frame, geometry, size):
        sequence, names, _ = self.asked
        name = f"{sequence}/{names[index]}"
        return Named(np.array(self.identity, "S9"), np.array(name, "S30"))


def test_every_data_set_has_its_own_reader():
    one, other = Painted(2), Painted(3)
    joined = ConcatSource({"a": one, "b": other})
    inputs = ClipInputs([(one, Told("first")), (other, Told("second"))])
    assert inputs.identity == "first, second"
    clips = Clips(joined, VIDEO, seed=0, batch=5, inputs=inputs)
    seen = set()
    for index in range(5):
        example = clips.example(0, index)
        place, video = example.name.split("/")
        expected = {"a": b"first", "b": b"second"}[place]
        assert set(example.inputs.reader) == {expected}
        names = [f"{video}/{time:05d}".encode() for time in example.times[1:]]
        assert example.inputs.names.tolist() == names
        seen.add(place)
    assert seen == {"a", "b"}


def test_readers_of_other_data_are_refused(source):
    with pytest.raises(InputError, match="inputs are of 2 videos, the source has 5"):
        Clips(
            source, VIDEO, seed=0, batch=1, inputs=ClipInputs([(Painted(2), Told("x"))])
        )
    with pytest.raises(InputError, match="no data sets"):
        ClipInputs([])


def test_a_frame_without_proposals_in_its_file_stops_the_clip(source, tmp_path):
    reader = write_truth(tmp_path / "other.json", Painted(1))
    clips = Clips(source, VIDEO, seed=0, batch=5, inputs=ClipInputs([(source, reader)]))
    with pytest.raises(InputError, match="does not list frame video"):
        [clips.example(0, index) for index in range(5)]


def files_of(name, frame, still=False):
    files = VideoFiles(Path("x"), Path("y"), (frame,), ("mask.png",))
    return FileSource(
        videos=(Video(name, 1),), files=(files,), read_mask=None, still=still
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (files_of("dog", "00007.jpg"), ("dog", "00007")),
        (files_of("seg1/dog", "7.v2.jpg"), ("seg1/dog", "7.v2")),
        (files_of("wheel/1", "1.jpg", True), (None, "wheel/1")),
        # As BIG ends the names of its images.
        (files_of("2007", "2007_im.jpg", True), (None, "2007_im")),
        (
            CocoSource(
                videos=(Video("0009.jpg", 1),),
                images=(CocoImage("0009.jpg", (4, 4), ()),),
                folder=Path("x"),
                annotations=Path("y"),
            ),
            (None, "0009"),
        ),
    ],
)
def test_frames_of_files_are_called_as_they_are(source, expected):
    assert frame_name(source, 0, 0) == FrameName(*expected)


def test_frames_without_names_are_numbered_where_all_of_them_are_there():
    class Records:
        videos = (Video("a", 5), Video("still", 1), Video("b", 5, stride=5))

    assert frame_name(Records(), 0, 3) == ("a", "00003")
    assert frame_name(Records(), 1, 0) == (None, "still")
    with pytest.raises(InputError, match="frames of b have no names"):
        frame_name(Records(), 2, 3)
