"""torchvision's Mask R-CNN: built, loaded from arrays, run on frames.

Nothing is downloaded: the weights are those that are given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from vos_jax.data.detector.weights import COCO_CLASSES, NORM_EPS
from vos_jax.errors import InputError

_SHOWN = 3
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """What is built. The defaults are torchvision's, but for the threshold of 0.

    Attributes:
      backbone: One of `weights.BACKBONES`; torchvision knows more.
      classes: The background included.
      eps: Of the frozen norms.
      shorter_side: What the network resizes frames to, in pixels.
      longer_side: But no more than this.
      score_threshold: Of what is kept; 0 for high recall.
      overlap: IoU of boxes of one class above which the worse one is dropped.
      detections: Of a frame, at most.
    """

    backbone: str = "resnext101_32x8d"
    classes: int = COCO_CLASSES
    eps: float = NORM_EPS
    shorter_side: int = 800
    longer_side: int = 1333
    score_threshold: float = 0.0
    overlap: float = 0.5
    detections: int = 100


class Detections(NamedTuple):
    """What is found in a frame, the best first.

    Attributes:
      masks: bool `[M, H, W]`.
      boxes: float32 `[M, 4]`, x0 y0 x1 y1 in pixels, as the network says them.
      scores: float32 `[M]`.
      categories: int64 `[M]`, the network's classes.
    """

    masks: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    categories: np.ndarray


def build(config: DetectorConfig) -> Any:
    """Builds the network with random weights and frozen norms, a PyTorch module.

    Three stages of the backbone, FPN and heads can be trained.

    Raises:
      InputError: PyTorch or torchvision is missing, or they do not fit each other.
    """
    import_torch()
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    # Not by torchvision's own function for the whole: without weights that has norms
    # which are trained, with weights it downloads.
    backbone = resnet_fpn_backbone(
        backbone_name=config.backbone, weights=None, trainable_layers=3
    )
    network = MaskRCNN(
        backbone,
        num_classes=config.classes,
        min_size=config.shorter_side,
        max_size=config.longer_side,
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.overlap,
        box_detections_per_img=config.detections,
    )
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = config.eps
    return network


def load(network: Any, arrays: Mapping[str, np.ndarray], origin: object) -> None:
    """Gives a network its weights, all of them and no others.

    Args:
      network: From `build`.
      arrays: By torchvision's names, those of its older versions too.
      origin: What an error calls them.

    Raises:
      InputError: They do not fit.
    """
    torch = import_torch()
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise InputError(
            f"{origin}: {bad[0]} holds values that are no finite numbers; copy the file"
            " again"
        )
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
        shapes: list[str] = []
    except RuntimeError as error:
        missing, unexpected = [], []
        shapes = re.findall(r"size mismatch for (\S+):", str(error))
        if not shapes:
            raise
    if missing or unexpected or shapes:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:_SHOWN])}"
            f"{', ...' if len(names) > _SHOWN else ''})"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of a wrong shape", shapes),
            )
            if names
        ]
        raise InputError(
            f"{origin}: not the weights of this network: {', '.join(parts)}; check"
            " backbone and classes"
        )


class Detector:
    """A network on a device, as a function of frames."""

    def __init__(self, network: Any, device: str) -> None:
        """Moves the network.

        Raises:
          InputError: There is no such device.
        """
        torch = import_torch()
        try:
            self._network = network.to(device).eval()
        except (AssertionError, RuntimeError) as error:
            raise InputError(
                f"device {device}: {_first_line(error)}; use cpu"
            ) from error
        self._torch, self._device = torch, device

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Finds objects in frames uint8 `[H, W, 3]`, RGB, of any sizes.

        Raises:
          InputError: The device's memory is too small for them together.
        """
        torch = self._torch
        images = [
            torch.from_numpy(np.array(frame)).to(self._device).permute(2, 0, 1) / 255
            for frame in frames
        ]
        try:
            with torch.inference_mode():
                return [_on_host(found) for found in self._network(images)]
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{len(frames)} frames at once do not fit into the memory of"
                f" {self._device}; use a smaller batch"
            ) from error


def _on_host(found: Mapping[str, Any]) -> Detections:
    masks = (found["masks"] >= _HALF)[:, 0]
    arrays = (masks, found["boxes"], found["scores"], found["labels"])
    return Detections(*(array.cpu().numpy() for array in arrays))


def default_device() -> str:
    """`cuda` where PyTorch finds one, otherwise `cpu`."""
    return "cuda" if import_torch().cuda.is_available() else "cpu"


def import_torch() -> ModuleType:
    """PyTorch, with a torchvision that works beside it.

    Raises:
      InputError: One is missing, or they do not fit each other.
    """
    try:
        import torch
        import torchvision  # noqa: F401
    except ImportError as error:
        raise InputError(
            "the detector needs PyTorch and torchvision; pip install"
            f" 'vos_jax[detector]' ({_first_line(error)})"
        ) from error
    except RuntimeError as error:
        # One of them for GPUs and the other one not, or of versions that do not match.
        raise InputError(
            "torchvision does not fit the PyTorch beside it"
            f" ({_first_line(error)}); install both anew, from one index"
        ) from error
    return torch


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
