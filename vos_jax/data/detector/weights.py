"""Weights of torchvision's Mask R-CNN, as NumPy arrays by their published names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vos_jax.errors import InputError

BACKBONES = ("resnext101_32x8d", "resnet50")
"""Those that the detector may have."""

COCO_CLASSES, OBJECT_CLASSES = 91, 2
"""Rows of the heads: COCO's, of which 80 are used, and background with "object"."""

NORM_EPS = 1e-5
"""Of the frozen norms of every file but torchvision's own."""

NORM_EPS_KEY = "norm_eps"
"""Beside the weights in a file of a detector that was tuned."""

_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
USED_ROWS = tuple(row for row in range(1, COCO_CLASSES) if row not in _UNUSED)
"""Rows of COCO's 80 classes; row 0 is the background."""

_SCORE = "roi_heads.box_predictor.cls_score"
_HEADS = {
    # Name and rows for each class.
    _SCORE: 1,
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_predictor.mask_fcn_logits": 1,
}
_FIRST_KERNEL = "backbone.body.layer1.0.conv2.weight"
_GROUPED_WIDTH = 256

# maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth: its name ends in how its SHA-256 begins.
_TORCHVISIONS_OWN = "bf2d0c1e"


def classes_of(arrays: Mapping[str, np.ndarray], origin: object) -> int:
    """Number of classes of a network, the background included.

    Args:
      arrays: Of the network.
      origin: What an error calls them.

    Raises:
      InputError: They are no Mask R-CNN with torchvision's names.
    """
    name = f"{_SCORE}.weight"
    if name not in arrays:
        raise InputError(
            f"{origin}: no Mask R-CNN with torchvision's names, it has no {name}; use"
            " the state dict of such a network"
        )
    return len(arrays[name])


def backbone_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Tells the ResNeXt, by its wider groups, from the ResNet-50."""
    kernel = arrays.get(_FIRST_KERNEL)
    is_grouped = kernel is not None and kernel.shape[0] == _GROUPED_WIDTH
    return "resnext101_32x8d" if is_grouped else "resnet50"


def default_eps(path: Path) -> float:
    """The norms' eps that a weights file was made for.

    torchvision's own ResNet-50 file needs 0, and is known by its content.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return 0.0 if digest.hexdigest().startswith(_TORCHVISIONS_OWN) else NORM_EPS


def to_one_class(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes a network of COCO's 91 classes one of background and "object".

    The background's rows stay; the object's are the mean of those of the 80 classes
    that COCO uses. A head that starts at random stays random at a small rate.
    """
    changed = dict(arrays)
    for head, rows in _HEADS.items():
        for name in (f"{head}.weight", f"{head}.bias"):
            array = arrays[name]
            each = array.reshape(COCO_CLASSES, rows, *array.shape[1:])
            mean = each[list(USED_ROWS)].mean(axis=0, dtype=np.float64)
            both = np.stack([each[0], mean.astype(array.dtype)])
            changed[name] = both.reshape(OBJECT_CLASSES * rows, *array.shape[1:])
    return changed
