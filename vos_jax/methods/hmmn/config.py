"""Hyper-parameters of HMMN (Seong et al., ICCV 2021), secs. 3.1, 3.2 and 4.1."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vos_jax.errors import InputError
from vos_jax.methods.base import setting
from vos_jax.methods.hmmn.blocks import FineStage
from vos_jax.methods.stm import STMConfig
from vos_jax.ops.memory_bank import Policy

Centre = Literal["released", "paper", "global"]
"""Where a memory cell's kernel is, see `HMMNConfig`."""

Selection = Literal["best", "random", "strided", "all"]
"""Which coarse cells the fine reads follow, see `HMMNConfig`."""

_FINE = Policy(every=None)


@dataclass(frozen=True, kw_only=True)
class HMMNConfig(STMConfig):
    """Hyper-parameters of HMMN, with those of `STMConfig`; by default as published.

    Attributes:
      top_k: Must be None: the coarse read takes all cells.
      fine_stages: Where fine memories are read: 3 is stride 8, 2 is stride 4.
      fine_key_dims: D at strides 8 and 4.
      fine_value_dims: Dv at strides 8 and 4.
      fine_kept: Fine memories of the kept frames, too, and not only of the first and
        the previous one (the paper's table 6d).
      k: Coarse cells whose fine cells are read at stride 8; at stride 4 a quarter of
        them.
      selection: Which cells these are: the "best"; or, as in table 6a, as many drawn
        at "random"; "strided", a grid of them in each frame, which are `k` in two
        frames; "all", whatever `k` is.
      kernel_guided: Whether the coarse read is guided. The paper trains without.
      kernel_centre: Where a memory cell's kernel is: at the end of its track ("paper");
        there, but with the last hop taken twice unless the cell is the previous frame's
        ("released"); at its best match in the whole frame ("global", as KMN).
      window: Side of the window of a hop, in coarse cells; odd. None takes the whole
        frame (table 6f, infinity).
      sigma: Of the newest frame's kernels, in coarse cells.
      sigma_step: How much larger it is from each frame of the memory to the one before
        it. The paper says 0.5; the program adds half of `sigma`.
    """

    fine_stages: tuple[int, ...] = (3, 2)
    fine_key_dims: tuple[int, int] = (128, 64)
    fine_value_dims: tuple[int, int] = (256, 128)
    fine_kept: bool = setting(False)
    k: int = setting(32)
    selection: Selection = setting("best")
    kernel_guided: bool = setting(True)
    kernel_centre: Centre = setting("released")
    window: int | None = setting(7)
    sigma: float = setting(3.0)
    sigma_step: float = setting(1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            raise ValueError(f"top_k={self.top_k}: HMMN reads all cells; use None")
        if self.memory_sampling != "first+prev":
            raise ValueError(
                f"memory_sampling={self.memory_sampling!r}: fine memories are of the"
                " first and the previous frame; use first+prev"
            )
        if self.fine_stages not in ((3, 2), (3,), (2,), ()):
            raise ValueError(
                f"fine_stages={self.fine_stages!r}: use (3, 2), (3,), (2,) or ()"
            )
        if self.k < 4:
            raise ValueError(f"k={self.k}: use at least 4, a quarter is for stride 4")
        for field, known in (("selection", Selection), ("kernel_centre", Centre)):
            if getattr(self, field) not in get_args(known):
                raise ValueError(
                    f"{field}={getattr(self, field)!r}: use one of"
                    f" {list(get_args(known))}"
                )
        if self.window is not None and (self.window < 1 or self.window % 2 == 0):
            raise ValueError(
                f"window={self.window}: use an odd number of cells, or None for all"
            )
        if not 0.01 <= self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma}: use at least 0.01 cells")
        for field in ("fine_key_dims", "fine_value_dims"):
            dims = getattr(self, field)
            pair = isinstance(dims, tuple) and len(dims) == 2
            if not (pair and all(type(x) is int and x > 0 for x in dims)):
                raise ValueError(
                    f"{field}={dims!r}: use two whole numbers, of strides 8 and 4"
                )
        if not 0 <= self.sigma_step < math.inf:
            raise ValueError(f"sigma_step={self.sigma_step}: use at least 0")

    def _check_mesh(self) -> None:
        super()._check_mesh()
        if self.fine_kept:
            raise InputError(
                "fine_kept=True: the candidates of fine reads would be on all devices,"
                " so that this memory cannot be divided; use fine_kept=False"
            )

    def _check_pallas(self) -> None:
        super()._check_pallas()
        if self.kernel_guided:
            raise ValueError(
                "read='pallas': that kernel is not guided; use kernel_guided=False or"
                " read='blocks'"
            )

    @property
    def fine(self) -> tuple[FineStage, ...]:
        """The fine stages and their channels."""
        dims = zip((3, 2), self.fine_key_dims, self.fine_value_dims, strict=True)
        return tuple(
            FineStage(*stage) for stage in dims if stage[0] in self.fine_stages
        )

    @property
    def fine_policy(self) -> Policy:
        """Which frames are remembered at the fine stages."""
        return self.policy if self.fine_kept else _FINE
