"""Tuning the detector of the proposals."""

import json

import numpy as np
import pytest

from tests.clips import moving_clip, write_davis, write_masks
from tests.data.detector.operators import prepare_torchvision
from tests.experiments.scripts import script
from vos_jax.data.detector import network
from vos_jax.data.detector.weights import to_one_class
from vos_jax.data.sources import open_source
from vos_jax.types import IGNORE

tune_detector = script("dmn_aoa/tune_detector")

COUNT = 3
"""Frames of each of two videos, of which one shows nothing."""


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    root = write_davis(tmp_path_factory.mktemp("data") / "davis", ["a", "b"], COUNT)
    labels = moving_clip(1)[1][0]
    void = np.where(labels == 2, IGNORE, labels)
    folder = root / "Annotations" / "480p"
    write_masks(folder / "a", {"00001": np.zeros_like(labels)})
    write_masks(folder / "b", {"00001": void})
    return root


@pytest.fixture(scope="module")
def source(davis):
    return open_source("davis2017", davis, split="val")


def frames_in(batches):
    return [example.frame.tobytes() for batch in batches for example in batch.examples]


def either_way(frame):
    """The same for a frame and its mirror image."""
    return min(frame.tobytes(), frame[:, ::-1].tobytes())


def test_a_pass_has_every_frame_with_an_object_once(source):
    made = list(tune_detector.batches(source, [0, 0], 2))
    assert [len(batch.examples) for batch in made] == [2, 2, 1]
    assert made[-1].used <= 2 * COUNT
    shown = [(video, time) for video in range(2) for time in range(COUNT)]
    shown.remove((0, 1))
    expected = [source.read(video, [time]).frames[0] for video, time in shown]
    found = [example.frame for batch in made for example in batch.examples]
    assert sorted(map(either_way, found)) == sorted(map(either_way, expected))


def test_each_pass_has_its_own_order_and_flips(source):
    orders = [frames_in(tune_detector.batches(source, [0, n], 8)) for n in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]


def test_a_pass_that_goes_on_has_the_batches_that_are_left(source):
    whole = list(tune_detector.batches(source, [3, 0], 2))
    left = list(tune_detector.batches(source, [3, 0], 2, used=whole[0].used))
    assert frames_in(left) == frames_in(whole[1:])


def test_masks_are_those_of_all_objects_and_follow_the_flip(source):
    seen = set()
    for seed in range(8):
        example = tune_detector.read_example(source, 0, 0, [seed])
        labels = source.read(0, [0]).labels[0]
        flipped = (example.frame != source.read(0, [0]).frames[0]).any()
        labels = labels[:, ::-1] if flipped else labels
        np.testing.assert_array_equal(example.masks, [labels == 1, labels == 2])
        seen.add(bool(flipped))
    assert seen == {False, True}


def test_void_is_background(source):
    example = tune_detector.read_example(source, 1, 1, [0])
    assert len(example.masks) == 1


def test_boxes_hold_every_pixel_and_no_more():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 2:5, 3:7] = True
    masks[1, 5, 7] = True
    boxes = tune_detector.boxes_of(masks)
    np.testing.assert_array_equal(boxes, [[3, 2, 7, 5], [7, 5, 8, 6]])


# With torchvision


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    prepare_torchvision()
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "coco.pth"
    config = network.DetectorConfig(backbone="resnet50")
    torch.save(network.build(config).state_dict(), path)
    return path


def tune(davis, weights, workdir, *more):
    words = ["--dataset", "davis2017", "--root", davis, "--split", "val", "--weights"]
    words += [weights, "--workdir", workdir, "--size", 48, "--batch", 2]
    words += ["--rate", 1e-5, "--device", "cpu", *more]
    return tune_detector.main([str(word) for word in words])


@pytest.fixture(scope="module")
def tuned(davis, weights, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("tuned")
    assert tune(davis, weights, workdir) == 0
    return workdir


def read(path):
    import torch

    return {name: x.numpy() for name, x in torch.load(path, weights_only=True).items()}


@pytest.mark.slow
def test_only_layers_that_are_trained_change(weights, tuned):
    before, after = to_one_class(read(weights)), read(tuned / "detector.pth")
    assert after.pop("norm_eps") == 1e-5
    assert before.keys() == after.keys()
    changed = {n for n in before if (before[n] != after[n]).any()}
    fixed = "backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1"
    assert not [name for name in changed if name.startswith(fixed) or "bn" in name]
    for part in ("backbone.body.layer2", "backbone.fpn", "rpn", "roi_heads.mask_head"):
        assert [name for name in changed if name.startswith(part)]


@pytest.mark.slow
def test_every_update_is_logged(tuned):
    rows = [json.loads(line) for line in (tuned / "log.jsonl").open()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        parts = [row[name] for name in row if name.startswith("loss_")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    davis, weights, tuned, tmp_path, monkeypatch
):
    update = tune_detector.Tuning.update

    def stopped(tuning, batch):
        if tuning.step == 2:
            raise KeyboardInterrupt
        return update(tuning, batch)

    with monkeypatch.context() as patch:
        patch.setattr(tune_detector.Tuning, "update", stopped)
        assert tune(davis, weights, tmp_path, "--checkpoint-every", 1) == 130
    assert not (tmp_path / "detector.pth").exists()
    assert tune(davis, weights, tmp_path, "--checkpoint-every", 1) == 0
    ours, theirs = read(tmp_path / "detector.pth"), read(tuned / "detector.pth")
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
    assert (tmp_path / "log.jsonl").read_text() == (tuned / "log.jsonl").read_text()


@pytest.mark.slow
def test_another_run_is_not_gone_on_with(davis, weights, tuned, capsys):
    assert tune(davis, weights, tuned, "--seed", 1) == 2
    assert "another seed; use another --workdir" in capsys.readouterr().err


@pytest.mark.slow
def test_the_result_can_be_proposed_with(davis, tuned, tmp_path):
    from vos_jax.cli import main

    out = tmp_path / "proposals.json"
    words = [davis / "JPEGImages" / "480p" / "a", "--out", out, "--classes", 2]
    words += ["--weights", tuned / "detector.pth", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        small = {"shorter_side": 48, "longer_side": 80, "detections": 3}
        config = network.DetectorConfig
        patch.setattr(network, "DetectorConfig", lambda **k: config(**k, **small))
        assert main(["propose", *map(str, words)]) == 0
    info = json.loads(out.read_text())["info"]
    assert (info["classes"], info["backbone"]) == (2, "resnet50")
