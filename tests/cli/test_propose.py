"""`vos-jax propose`, with a detector that needs no PyTorch."""

import json
import sys

import numpy as np
import pytest

from vos_jax.cli import main
from vos_jax.data.detector import network
from vos_jax.data.detector.network import Detections

SCORE = "roi_heads.box_predictor.cls_score.weight"


class Thresholds:
    """One mask a frame: what is bright."""

    def __init__(self, built, device):
        self.device = device

    def __call__(self, frames):
        one, boxes = np.ones(1, np.float32), np.float32([[0, 0, 4, 4]])
        return [
            Detections((frame > 99).all(-1)[None], boxes, one, np.ones(1, int))
            for frame in frames
        ]


@pytest.fixture
def loaded(monkeypatch):
    """What the network was built of."""
    seen = {}
    monkeypatch.setattr(network, "import_torch", lambda: None)
    monkeypatch.setattr(network, "default_device", lambda: "cpu")
    monkeypatch.setattr(network, "Detector", Thresholds)
    monkeypatch.setattr(network, "build", lambda config: seen.update(config=config))
    monkeypatch.setattr(
        network, "load", lambda built, arrays, origin: seen.update(arrays=arrays)
    )
    return seen


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "detector.npz"
    np.savez(path, **{SCORE: np.zeros((91, 4), np.float32)})
    return path


def propose(*words):
    return main(["propose", *map(str, words)])


def test_a_folder_becomes_a_file(files, loaded, detector, capsys):
    out = files / "proposals.json"
    words = (files / "frames", "--weights", detector, "--out", out, "--json")
    assert propose(*words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["images"], figures["new_images"]) == (8, 8)
    assert figures["proposals_per_image"] == 1.0
    assert figures["detector_seconds_per_image"] > 0
    assert (figures["backbone"], figures["classes"]) == ("resnet50", 91)
    assert loaded["config"] == network.DetectorConfig(backbone="resnet50")
    info = json.loads(out.read_text())["info"]
    assert info["eps"] == 1e-5 and info["batch"] == 4 and "device" not in info
    assert propose(*words) == 0
    assert json.loads(capsys.readouterr().out)["new_images"] == 0


def test_a_tuned_file_says_its_classes_and_its_eps(files, loaded, detector, tmp_path):
    kernel = np.zeros((256, 8, 3, 3), np.float32)
    arrays = {SCORE: np.zeros((2, 4)), "norm_eps": np.float64(0)}
    np.savez(detector, **arrays, **{"backbone.body.layer1.0.conv2.weight": kernel})
    out = tmp_path / "out.json"
    assert propose(files / "frames", "--weights", detector, "--out", out) == 0
    expected = network.DetectorConfig(backbone="resnext101_32x8d", classes=2, eps=0.0)
    assert loaded["config"] == expected
    assert "norm_eps" not in loaded["arrays"]


def test_a_data_set_becomes_a_file_for_each_sequence(files, loaded, detector):
    out = files / "proposals"
    davis = ("--dataset", "davis2017", "--root", files / "davis", "--split", "val")
    assert propose(*davis, "--weights", detector, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["alpha.json", "beta.json"]


def test_what_is_wrong_is_told_in_one_line(files, loaded, detector, capsys):
    def refused(said, *words, weights=detector):
        assert propose(*words, "--weights", weights, "--out", files / "p.json") == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("vos-jax: error: ") and said in line

    frames, davis = files / "frames", ("--dataset", "davis2017")
    refused("give INPUT, or --dataset")
    refused("give INPUT, or --dataset", frames, *davis)
    refused("--dataset needs --root and --split", *davis)
    refused("--split belongs to --dataset", frames, "--split", "val")
    refused("--stills belongs to INPUT", *davis, "--stills")
    refused("--batch 0: use at least 1", frames, "--batch", 0)
    refused("gone does not exist", files / "gone")
    refused("gone is no folder", files / "gone", "--stills")
    refused("no such file", frames, weights=files / "gone.pth")
    np.savez(files / "other.npz", conv1=np.zeros(1))
    refused("no Mask R-CNN", frames, weights=files / "other.npz")


def test_without_pytorch_it_says_what_to_install(files, detector, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    words = (files / "frames", "--weights", detector, "--out", files / "p.json")
    assert propose(*words) == 2
    assert "pip install 'vos_jax[detector]'" in capsys.readouterr().err
