"""torchvision's operators in PyTorch, for where those of its wheel cannot be loaded.

A torchvision for GPUs beside a PyTorch for CPUs has none, and cannot be imported. What
Mask R-CNN calls is only these two; the programs around them are torchvision's own.
"""

import importlib
from functools import cache
from typing import Any


@cache
def prepare_torchvision() -> None:
    """Imports torchvision, with the operators below if it has none of its own."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(f"nms{boxes}")
        library.define(f"qnms{boxes}")
        library.define(
            "roi_align(Tensor input, Tensor rois, float spatial_scale,"
            " int pooled_height, int pooled_width, int sampling_ratio, bool aligned)"
            " -> Tensor"
        )
        library.impl("nms", _nms, "CPU")
        import torchvision

        align = importlib.import_module("torchvision.ops.roi_align")
        plain = align._roi_align.__wrapped__
        library.impl("roi_align", plain, "CompositeImplicitAutograd")
        torchvision.extension._has_ops = lambda: True
        align._has_ops = lambda: True
        _kept.append(library)
        # Its gradient adds up what is indexed twice, by default in any order.
        torch.use_deterministic_algorithms(True, warn_only=True)


# What a library defines goes with it.
_kept: list[Any] = []


def _nms(boxes: Any, scores: Any, threshold: float) -> Any:
    from torchvision.ops import box_iou

    overlaps = box_iou(boxes, boxes)
    left, keep = scores.argsort(descending=True, stable=True), []
    while len(left):
        best = left[0]
        keep.append(best)
        left = left[1:][overlaps[best, left[1:]] <= threshold]
    return scores.new_tensor(keep, dtype=int).long()
