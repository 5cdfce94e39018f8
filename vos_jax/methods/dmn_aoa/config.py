"""Hyper-parameters of DMN-AOA (Liang et al., ICCV 2021), secs. 3 to 4.3."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from vos_jax.methods.base import ReadConfig, setting
from vos_jax.nn.resnet import ResNetConfig
from vos_jax.ops import memory_bank
from vos_jax.ops.matching import Average
from vos_jax.ops.memory_bank import Policy, Sampling

MEMORY_SAMPLING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "every5": {"memory_sampling": "first+prev", "mem_every": 5},
        "first": {"memory_sampling": "first", "mem_every": None},
        "prev": {"memory_sampling": "prev", "mem_every": None},
        "first+prev": {"memory_sampling": "first+prev", "mem_every": None},
        "all": {"memory_sampling": "first+prev", "mem_every": 1},
    }
)
"""The memories that the paper's table 3 compares, as options."""


@dataclass(frozen=True, kw_only=True)
class DMNAOAConfig(ReadConfig):
    """Hyper-parameters of DMN-AOA, with those of `ReadConfig`.

    By default the paper's network, with the choices that it leaves open. What may
    differ between tests of the same weights is a setting: the memory, iterations of
    the matching layer, and what is made of its weights.

    Attributes:
      backbone: Of the features, to stage 4.
      level_dims: C2, C3, C4, channels of a frame's levels at strides 4, 8 and 16. The
        C of an object's features is their sum; its keys have C/4.
      align_dim: Channels in which templates and proposals are aligned.
      refine_dim: Width of RefineNet and its projectors.
      groups: Of every group norm.
      object_size: Side of an object's features.
      box_pad: How far they reach beyond the object's box on each side, as a share of
        the box.
      alpha: Sharpens the correspondences of AOA and of RefineNet.
      aoa_center: Cosines of AOA are those of maps less their means.
      top_k: Must be None: all memory cells are read.
      mem_every: Frames whose index is a multiple of this stay in the memory; None keeps
        none of them.
      mem_capacity: At most this many slots, the oldest kept frame giving way; None
        lets the memory grow with the video, as published.
      memory_sampling: What is in the memory beside them; see `MEMORY_SAMPLING`.
      frame_memory: The memory is of whole frames and not of objects in their boxes.
      n_grad: Gradient steps of the matching layer; training takes 10.
      n_proj: Rounds of projections after each.
      match_step: Of the gradient.
      average: Which points the matching layer averages.
      iou_weight: Of a proposal's overlap with the object in the frame before, beside
        their similarity, when they are matched (DMM-Net).
      hard_test: Coarse masks are the one best proposal, not a weighted sum.
      move_masks: RefineNet moves the masks of its references as their features.
      use_dmn: The template is read from a memory; else it is the object in its first
        frame. The paper's table 3, as the others.
      use_aoa: Proposals are aligned before they are compared.
      use_matcher: Coarse masks are made of proposals; else the template is decoded, and
        nothing but frames is needed.
      use_refinenet: Coarse masks are refined.
      late_objects: Objects may come in any frame. Where all come in one, as in training
        clips, False saves keeping a first frame for each.
      keep_coarse: `segment` leaves coarse masks, similarities and weights of proposals
        in the memory, for losses and pictures.
    """

    backbone: ResNetConfig = ResNetConfig()
    level_dims: tuple[int, int, int] = (128, 128, 256)
    align_dim: int = 256
    refine_dim: int = 256
    groups: int = 32
    object_size: int = 14
    box_pad: float = 0.0
    alpha: float = 100.0
    aoa_center: bool = False
    mem_every: int | None = setting(5)
    mem_capacity: int | None = setting(None)
    memory_sampling: Sampling = setting("first+prev")
    frame_memory: bool = False
    n_grad: int = setting(40)
    n_proj: int = setting(5)
    match_step: float = setting(0.1)
    average: Average = setting("iterates")
    iou_weight: float = setting(0.0)
    hard_test: bool = setting(False)
    move_masks: bool = True
    use_dmn: bool = True
    use_aoa: bool = True
    use_matcher: bool = True
    use_refinenet: bool = True
    late_objects: bool = setting(True)
    keep_coarse: bool = setting(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            raise ValueError(f"top_k={self.top_k}: DMN-AOA reads all cells; use None")
        self._check_widths()
        self._check_memory()
        for field in ("n_grad", "n_proj", "object_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)}: use at least 1")
        for field in ("alpha", "match_step"):
            if not 0 < getattr(self, field) < float("inf"):
                raise ValueError(f"{field}={getattr(self, field)}: use more than 0")
        for field in ("box_pad", "iou_weight"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise ValueError(f"{field}={getattr(self, field)}: use at least 0")
        if self.average not in get_args(Average):
            raise ValueError(
                f"average={self.average!r}: use one of {list(get_args(Average))}"
            )

    def _check_pallas(self) -> None:
        raise ValueError(
            "read='pallas': that kernel has one query for all, and here each object has"
            " its own; use read='auto'"
        )

    def _check_widths(self) -> None:
        dims = self.level_dims
        whole = isinstance(dims, tuple) and all(type(x) is int and x > 0 for x in dims)
        if not whole or len(dims) != 3:
            raise ValueError(
                f"level_dims={dims!r}: use three whole numbers, of strides 4, 8 and 16"
            )
        if sum(dims) % 4:
            raise ValueError(
                f"level_dims={dims!r}: use a sum that is a multiple of 4, keys have a"
                " quarter of it"
            )
        if self.groups < 1:
            raise ValueError(f"groups={self.groups}: use at least 1")
        for name, width in (
            *((f"level_dims={dims!r}", width) for width in dims),
            (f"align_dim={self.align_dim}", self.align_dim),
            (f"refine_dim={self.refine_dim}", self.refine_dim),
        ):
            if width < 1 or width % self.groups:
                raise ValueError(
                    f"{name}: use multiples of groups={self.groups}, the group norm's"
                )

    def _check_memory(self) -> None:
        if self.mem_capacity is not None and self.mem_capacity < memory_bank.KEPT:
            raise ValueError(
                f"mem_capacity={self.mem_capacity} leaves no room for the first and"
                f" the previous frame; use at least {memory_bank.KEPT}, or None"
            )
        memory_bank.check_sampling(self.memory_sampling, self.mem_every)
        if self.frame_memory and not self.use_dmn:
            raise ValueError(
                "frame_memory=True, use_dmn=False: there is no memory; leave one out"
            )
        _ = self.policy

    @property
    def policy(self) -> Policy:
        """Which frames are remembered (secs. 3.2 and 4.1)."""
        return Policy(every=self.mem_every)

    @property
    def object_dim(self) -> int:
        """C, channels of an object's features, and of values."""
        return sum(self.level_dims)

    @property
    def key_dim(self) -> int:
        """Channels of the memory's keys."""
        return self.object_dim // 4
