"""torchvision's Mask R-CNN, and how its absence is told."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clips import moving_clip
from tests.data.detector.operators import prepare_torchvision
from vos_jax.data.detector import network
from vos_jax.data.detector.network import Detector, DetectorConfig, build, load
from vos_jax.errors import InputError

# The smallest that torchvision has, on frames of some pixels.
SMALL = DetectorConfig(
    backbone="resnet18", classes=3, shorter_side=64, longer_side=96, detections=5
)


def test_without_pytorch_the_detector_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'vos_jax\[detector\]'"):
        build(SMALL)


def test_a_torchvision_that_does_not_fit_is_told_in_one_line(tmp_path, monkeypatch):
    for name, text in (
        ("torch", ""),
        ("torchvision", "raise RuntimeError('no nms\\nx')"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="does not fit the PyTorch") as raised:
        network.import_torch()
    assert "no nms" in str(raised.value) and "\n" not in str(raised.value)
    sys.modules.pop("torch", None)


@pytest.fixture(scope="module")
def built():
    prepare_torchvision()
    import torch

    torch.manual_seed(0)
    return build(SMALL)


@pytest.fixture
def arrays(built):
    return {name: x.numpy() for name, x in built.state_dict().items()}


@pytest.mark.slow
def test_frames_of_two_sizes_give_masks_of_these_sizes(built):
    frames = [moving_clip(1)[0][0], np.full((40, 24, 3), 90, np.uint8)]
    for frame, found in zip(frames, Detector(built, "cpu")(frames), strict=True):
        count = len(found.scores)
        assert 0 < count <= SMALL.detections
        assert found.masks.shape == (count, *frame.shape[:2])
        assert found.masks.dtype == bool
        assert found.boxes.shape == (count, 4)
        assert found.scores.dtype == np.float32
        assert (np.diff(found.scores) <= 0).all()
        assert set(found.categories) <= {1, 2}


@pytest.mark.slow
def test_loaded_weights_find_the_same(built, arrays):
    frames = list(moving_clip(1)[0])
    other = build(SMALL)
    load(other, arrays, "file")
    (a,), (b,) = Detector(built, "cpu")(frames), Detector(other, "cpu")(frames)
    for ours, theirs in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_norms_are_frozen_with_the_eps_that_was_asked_for():
    prepare_torchvision()
    from torchvision.ops.misc import FrozenBatchNorm2d

    made = build(DetectorConfig(backbone="resnet18", eps=0.0))
    norms = [each for each in made.modules() if isinstance(each, FrozenBatchNorm2d)]
    assert len(norms) == 20 and {each.eps for each in norms} == {0.0}
    fixed = {n for n, p in made.named_parameters() if not p.requires_grad}
    assert fixed and all(n.startswith("backbone.body.") for n in fixed)
    assert not any(n.startswith("backbone.body.layer2") for n in fixed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.pop("rpn.head.cls_logits.bias"), r"1 missing \(rpn.head.cls_log"),
        (lambda a: a.update(extra=np.zeros(1)), r"1 unexpected \(extra\)"),
        (
            lambda a: a.update({"backbone.body.conv1.weight": np.zeros((8, 3, 7, 7))}),
            r"1 of a wrong shape \(backbone.body.conv1.weight\)",
        ),
        (
            lambda a: a.update({"rpn.head.cls_logits.bias": np.full(3, np.nan)}),
            "rpn.head.cls_logits.bias holds values that are no finite numbers",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told_in_one_line(built, arrays, change, said):
    change(arrays)
    with pytest.raises(InputError, match=said) as raised:
        load(built, arrays, Path("detector.pth"))
    assert str(raised.value).startswith("detector.pth: ")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_device_that_is_not_there_is_told(built):
    with pytest.raises(InputError, match=r"device nowhere: .*; use cpu"):
        Detector(built, "nowhere")
