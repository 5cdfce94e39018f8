"""Running any detector over frames: files, names, and going on after a stop."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as tools

from tests.clips import moving_clip, write_davis, write_frames
from vos_jax.data.detector.groups import sequence_group, still_groups, video_group
from vos_jax.data.detector.network import Detections
from vos_jax.data.detector.run import propose
from vos_jax.data.proposals import coco_writer
from vos_jax.data.proposals.coco_results import CocoResults
from vos_jax.errors import InputError
from vos_jax.evaluation import read_dataset

FRAMES = 7
SETTINGS = {"detector": "thresholds", "weights": "00000000"}


def found_in(frame: np.ndarray) -> Detections:
    """Three masks that depend on the frame, the best one last."""
    masks = np.stack([frame[..., channel] > 100 for channel in range(3)])
    boxes = np.tile(np.float32([1, 2, 5.5, 9]), (3, 1))
    scores = np.float32([0.25, 0.5, 0.75]) - np.float32(frame.mean() / 2048)
    return Detections(masks, boxes, scores, np.arange(3))


def detect(frames: Sequence[np.ndarray]) -> list[Detections]:
    return [found_in(frame) for frame in frames]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "clip", moving_clip(FRAMES)[0])


def read(path: Path) -> dict[str, dict]:
    """Results by the image's name."""
    content = json.loads(path.read_text())
    images = {image["id"]: image for image in content["images"]}
    assert len(images) == len(content["images"])
    by_name: dict[str, dict] = {
        image["file_name"]: {**image, "results": []} for image in images.values()
    }
    for entry in content["annotations"]:
        by_name[images[entry["image_id"]]["file_name"]]["results"].append(entry)
    return by_name


def test_the_file_says_what_the_detector_found(folder, tmp_path):
    out = tmp_path / "proposals.json"
    group = video_group(folder)
    done = propose(detect, [group], out, settings=SETTINGS, batch=3)
    assert (done.images, done.new, done.results) == (FRAMES, FRAMES, 3 * FRAMES)
    found = read(out)
    assert list(found) == [f"{time:05d}.jpg" for time in range(FRAMES)]
    for image, frame in zip(found.values(), group.frames(0), strict=True):
        assert (image["height"], image["width"]) == frame.shape[:2]
        expected = found_in(frame)
        for place, entry in enumerate(image["results"]):
            best = 2 - place
            assert entry["score"] == expected.scores[best]
            assert entry["category_id"] == best
            assert entry["bbox"] == [1.0, 2.0, 4.5, 7.0]
            mask = tools.decode(entry["segmentation"]).astype(bool)
            np.testing.assert_array_equal(mask, expected.masks[best])
    assert [path.name for path in tmp_path.iterdir() if path != folder] == [out.name]


def test_the_reader_of_proposals_finds_the_same_masks_and_scores(folder, tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], count=3)
    sequences = read_dataset("davis2017", root, "val")
    groups = [sequence_group(each.name, each.frames) for each in sequences]
    propose(detect, groups, tmp_path / "sequences", settings=SETTINGS, batch=2)
    single = tmp_path / "proposals.json"
    propose(detect, [video_group(folder)], single, settings=SETTINGS, batch=2)
    for path, named in (
        (tmp_path / "sequences", [(group.name, group) for group in groups]),
        (single, [(None, video_group(folder))]),
    ):
        results = CocoResults(path)
        for sequence, group in named:
            for time, frame in enumerate(group.frames(0)):
                image = results.find(sequence, f"{time:05d}")
                assert image is not None
                read_back, expected = results.candidates(image), found_in(frame)
                np.testing.assert_array_equal(read_back.scores, expected.scores[::-1])
                for mask, other in zip(
                    read_back.masks, expected.masks[::-1], strict=True
                ):
                    np.testing.assert_array_equal(mask, other)


@pytest.mark.parametrize("batches", [0, 1, 2])
@pytest.mark.parametrize("half", ["", '{"images":[{"id":'])
def test_a_run_that_was_stopped_makes_the_same_file(folder, tmp_path, batches, half):
    whole, out = tmp_path / "whole.json", tmp_path / "proposals.json"
    group = video_group(folder)
    propose(detect, [group], whole, settings=SETTINGS, batch=3)
    calls: list[int] = []

    def stopped(frames):
        if len(calls) == batches:
            raise KeyboardInterrupt
        calls.append(len(frames))
        return detect(frames)

    with pytest.raises(KeyboardInterrupt):
        propose(stopped, [group], out, settings=SETTINGS, batch=3)
    assert not out.exists()
    with (tmp_path / ".proposals.json.partial" / "batches.jsonl").open("a") as file:
        file.write(half)
    told: list[int] = []
    done = propose(detect, [group], out, settings=SETTINGS, batch=3, tell=told.append)
    assert done.new == FRAMES - 3 * batches
    assert told[0] == 3 * batches and sum(told) == FRAMES
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_data_set_becomes_one_file_or_one_for_each_sequence(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], count=3)
    sequences = read_dataset("davis2017", root, "val")
    groups = [sequence_group(each.name, each.frames) for each in sequences]
    propose(detect, groups, tmp_path / "all.json", settings=SETTINGS, batch=2)
    out = tmp_path / "folder"
    propose(detect, groups, out, settings=SETTINGS, batch=2)
    assert sorted(path.name for path in out.iterdir()) == ["alpha.json", "beta.json"]
    together, apart = read(tmp_path / "all.json"), {}
    for path in sorted(out.iterdir()):
        apart |= read(path)
    names = [
        f"{name}/{time:05d}.png" for name in ("alpha", "beta") for time in range(3)
    ]
    assert list(together) == list(apart) == names
    for name in names:
        masks = [
            [entry["segmentation"] for entry in each[name]["results"]]
            for each in (together, apart)
        ]
        assert masks[0] == masks[1]


def test_only_the_files_that_are_missing_are_made(tmp_path):
    root = write_davis(tmp_path / "davis", ["alpha", "beta"], count=3)
    sequences = read_dataset("davis2017", root, "val")
    groups = [sequence_group(each.name, each.frames) for each in sequences]
    out = tmp_path / "folder"
    propose(detect, groups, out, settings=SETTINGS, batch=2)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "beta.json").unlink()
    done = propose(detect, groups, out, settings=SETTINGS, batch=2)
    assert (done.images, done.new) == (6, 3)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_still_images_may_differ_in_size_and_come_in_shards(tmp_path):
    folder = tmp_path / "stills"
    for place, (height, width) in enumerate([(9, 12), (12, 9), (6, 6)]):
        image = np.full((1, height, width, 3), 40 * (place + 1), np.uint8)
        write_frames(folder / str(place), image)
        (folder / str(place) / "00000.png").rename(folder / f"{place:012d}.png")
        (folder / str(place)).rmdir()
    out = tmp_path / "out"
    groups = still_groups(folder, shard=2)
    propose(detect, groups, out, settings=SETTINGS, batch=2)
    first, second = read(out / "00000.json"), read(out / "00001.json")
    assert [*first, *second] == [f"{place:012d}.png" for place in range(3)]
    assert first["000000000001.png"]["height"] == 12


def test_at_most_a_hundred_results_of_an_image_are_written(folder, tmp_path):
    def many(frames):
        masks = np.ones((120, *frames[0].shape[:2]), bool)
        scores = np.linspace(0, 1, 120, dtype=np.float32)
        each = Detections(masks, np.ones((120, 4), np.float32), scores, np.ones(120))
        return [each] * len(frames)

    out = tmp_path / "proposals.json"
    propose(many, [video_group(folder)], out, settings=SETTINGS, batch=4)
    scores = [entry["score"] for entry in read(out)["00003.jpg"]["results"]]
    assert len(scores) == coco_writer.MOST_RESULTS
    assert scores[0] == 1.0 and scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("whole", [True, False])
def test_results_of_other_settings_or_frames_are_refused(folder, tmp_path, whole):
    out = tmp_path / "proposals.json"
    group = video_group(folder)

    def stopped(frames):
        raise KeyboardInterrupt

    if whole:
        propose(detect, [group], out, settings=SETTINGS, batch=3)
    else:
        with pytest.raises(KeyboardInterrupt):
            propose(stopped, [group], out, settings=SETTINGS, batch=3)
    other = {**SETTINGS, "weights": "11111111"}
    with pytest.raises(InputError, match="another weights; use another --out"):
        propose(detect, [group], out, settings=other, batch=3)
    with pytest.raises(InputError, match="another batch"):
        propose(detect, [group], out, settings=SETTINGS, batch=2)
    (folder / "00006.png").unlink()
    with pytest.raises(InputError, match="another frames"):
        propose(detect, [video_group(folder)], out, settings=SETTINGS, batch=3)


def test_a_file_of_somebody_else_is_left_alone(folder, tmp_path):
    out = tmp_path / "proposals.json"
    out.write_text("[]")
    with pytest.raises(InputError, match="not made by this program"):
        propose(detect, [video_group(folder)], out, settings=SETTINGS, batch=3)
    assert out.read_text() == "[]"


def test_a_file_that_cannot_be_written_is_told(folder, tmp_path):
    with pytest.raises(InputError, match="gone"):
        out = tmp_path / "file" / "gone.json"
        (tmp_path / "file").write_text("")
        propose(detect, [video_group(folder)], out, settings=SETTINGS, batch=3)
