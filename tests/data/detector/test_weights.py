"""What is told from a detector's weights, and the heads for one class."""

import hashlib

import numpy as np
import pytest

from vos_jax.data.detector import weights
from vos_jax.data.detector.weights import (
    USED_ROWS,
    backbone_of,
    classes_of,
    default_eps,
    to_one_class,
)
from vos_jax.errors import InputError

BOX, MASK = "roi_heads.box_predictor", "roi_heads.mask_predictor.mask_fcn_logits"


@pytest.fixture
def heads():
    rng = np.random.default_rng(0)
    shapes = {
        f"{BOX}.cls_score.weight": (91, 8),
        f"{BOX}.cls_score.bias": (91,),
        f"{BOX}.bbox_pred.weight": (364, 8),
        f"{BOX}.bbox_pred.bias": (364,),
        f"{MASK}.weight": (91, 6, 1, 1),
        f"{MASK}.bias": (91,),
        "rpn.head.bbox_pred.weight": (12, 6, 1, 1),
    }
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def test_coco_uses_eighty_rows():
    assert len(USED_ROWS) == 80 and 0 not in USED_ROWS and max(USED_ROWS) == 90


def test_the_objects_rows_are_the_mean_of_those_of_all_used_classes(heads):
    new = to_one_class(heads)
    for name in (f"{BOX}.cls_score", MASK):
        for part in ("weight", "bias"):
            old, made = heads[f"{name}.{part}"], new[f"{name}.{part}"]
            assert made.shape == (2, *old.shape[1:]) and made.dtype == np.float32
            np.testing.assert_array_equal(made[0], old[0])
            mean = sum(old[row].astype(np.float64) for row in USED_ROWS) / 80
            np.testing.assert_allclose(made[1], mean, rtol=0, atol=1e-7)
    for part in ("weight", "bias"):
        old, made = heads[f"{BOX}.bbox_pred.{part}"], new[f"{BOX}.bbox_pred.{part}"]
        assert made.shape == (8, *old.shape[1:])
        np.testing.assert_array_equal(made[:4], old[:4])
        for side in range(4):
            mean = sum(old[4 * row + side].astype(np.float64) for row in USED_ROWS) / 80
            np.testing.assert_allclose(made[4 + side], mean, rtol=0, atol=1e-7)
    other = "rpn.head.bbox_pred.weight"
    np.testing.assert_array_equal(new[other], heads[other])


def test_backbone_and_classes_are_told_from_the_weights(heads):
    assert classes_of(heads, "file") == 91
    assert classes_of(to_one_class(heads), "file") == 2
    kernel = "backbone.body.layer1.0.conv2.weight"
    assert backbone_of({kernel: np.zeros((256, 8, 3, 3))}) == "resnext101_32x8d"
    assert backbone_of({kernel: np.zeros((64, 64, 3, 3))}) == "resnet50"
    with pytest.raises(InputError, match=r"file: no Mask R-CNN.*use the state dict"):
        classes_of({"conv1.weight": np.zeros(1)}, "file")


def test_only_torchvisions_own_file_has_norms_without_eps(tmp_path, monkeypatch):
    path = tmp_path / "detector.pth"
    path.write_bytes(b"weights")
    assert default_eps(path) == 1e-5
    own = hashlib.sha256(b"weights").hexdigest()[:8]
    monkeypatch.setattr(weights, "_TORCHVISIONS_OWN", own)
    assert default_eps(path) == 0.0
