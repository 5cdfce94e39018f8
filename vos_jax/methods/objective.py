"""What a method's own loss is: the contract between methods and training.

Training calls an `Objective` for every clip, with the plain `ClipLoss` at hand, and
adds up what they give.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, get_args

from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.ops.losses import PixelLosses, annealed_fraction, hardest_loss, mean_loss
from vos_jax.types import ClipBatch

Loss = Literal["cross_entropy", "bootstrapped"]
"""Over which pixels the cross-entropy is taken, see `StepConfig`."""

Norms = Literal["frozen", "batch"]
"""What batch norms do in training, see `StepConfig`."""

MemoryMask = Literal["pred", "gt"]
"""Masks with which frames are remembered, found or true, see `StepConfig`."""


_FEW_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """How a step is computed; the compute type is the method's own.

    Attributes:
      loss: `cross_entropy` over all pixels, or `bootstrapped`: over the hardest ones.
      bootstrap_start: Last step of the bootstrapped loss with all pixels.
      bootstrap_end: From this step on only the final fraction counts.
      bootstrap_fraction: The final fraction of the pixels.
      accumulation: Parts of the batch that are computed one after the other, to save
        memory. The gradients are those of the whole batch, unless norms follow the
        batch: they follow a part, and the variance that is stored is the mean of the
        parts' own.
      memory_mask: Masks with which the frames after the first are remembered: `pred`,
        the soft ones that were found, with their gradients (STM); or `gt`, the true
        ones, as in LCM's first stages (CVPR 2021). What is ignored in these stays as it
        was found, without its gradient.
      norms: `frozen` as published; `batch` for training from scratch. Then an object
        slot that is not valid counts in the statistics like an empty mask.
      statistics_rate: Share of a new batch in the stored statistics, with `batch`.
      remat: Compute every frame again in the backward pass instead of storing it. It
        needs the loops that `unroll` takes apart: XLA orders the frames of unrolled
        ones freely and keeps all of them after all.
      ema_decay: Of the averaged parameters; None for no average.
      clip_norm: Highest norm of the gradients, larger ones are scaled; None for any.
      unroll: Unroll the loops over frames and parts. None: on CPUs, where XLA runs the
        gradients of convolutions in a loop some 25 times slower; elsewhere those over
        few frames, which then keep fewer copies for the backward pass. Not with
        `remat`, which pays that price: True with it computes more and saves nothing.
    """

    loss: Loss = "cross_entropy"
    bootstrap_start: int = 20_000
    bootstrap_end: int = 70_000
    bootstrap_fraction: float = 0.15
    accumulation: int = 1
    memory_mask: MemoryMask = "pred"
    norms: Norms = "frozen"
    statistics_rate: float = 0.02
    remat: bool = False
    ema_decay: float | None = None
    clip_norm: float | None = None
    unroll: bool | None = None

    def __post_init__(self) -> None:
        choices = {"loss": Loss, "memory_mask": MemoryMask, "norms": Norms}
        for option, allowed in choices.items():
            known = get_args(allowed)
            self._check(option, getattr(self, option) in known, " or ".join(known))
        self._check("remat", type(self.remat) is bool, "True or False")
        fits = self.unroll is None or type(self.unroll) is bool
        self._check("unroll", fits, "True, False or None")
        self._check_numbers()
        if not 0 <= self.bootstrap_start <= self.bootstrap_end:
            raise InputError(
                f"step bootstrap_start={self.bootstrap_start},"
                f" bootstrap_end={self.bootstrap_end}: use 0 <= start <= end"
            )

    def _check_numbers(self) -> None:
        for option in ("bootstrap_start", "bootstrap_end", "accumulation"):
            is_whole = type(getattr(self, option)) is int
            self._check(option, is_whole, "a whole number")
        self._check("accumulation", self.accumulation >= 1, "1 or more")
        for option in ("bootstrap_fraction", "statistics_rate"):
            value = getattr(self, option)
            fits = _is_number(value) and 0 < value <= 1
            self._check(option, fits, "a number of more than 0, up to 1")
        decay, norm = self.ema_decay, self.clip_norm
        fits = decay is None or (_is_number(decay) and 0 <= decay < 1)
        self._check("ema_decay", fits, "a number from 0 to below 1, or None")
        fits = norm is None or (_is_number(norm) and norm > 0)
        self._check("clip_norm", fits, "a number of more than 0, or None")

    def _check(self, option: str, fits: bool, advice: str) -> None:
        if not fits:
            raise InputError(f"step {option}={getattr(self, option)!r}: use {advice}")

    def unrolled(self, platform: str | None, frames: int | None = None) -> bool:
        """Whether a loop is unrolled on such devices.

        Args:
          platform: As JAX names it.
          frames: Turns of a loop over frames; None for one over parts of a batch, which
            are there for one to end before the next begins.
        """
        if self.unroll is None:
            is_short = frames is not None and frames <= _FEW_FRAMES
            return (platform == "cpu" or is_short) and not self.remat
        return self.unroll


def _is_number(value: Any) -> bool:
    """A finite one; True and False are none."""
    return type(value) in (int, float) and math.isfinite(value)


class ClipSums(NamedTuple):
    """Sums over frames and objects, and how many of them count.

    Attributes:
      loss: Sum of the frames' losses.
      frames: Frames that have a pixel that counts.
      iou: Sum over frames and objects.
      objects: Objects that show, summed over the frames.
      terms: Parts of `loss` that the log shows beside it, by name; summed like it.
    """

    loss: Float[Array, ""]
    frames: Float[Array, ""]
    iou: Float[Array, ""]
    objects: Float[Array, ""]
    terms: Mapping[str, Float[Array, ""]] = {}


class ClipLoss(Protocol):
    """The plain loss of a clip, which is unrolled as a video is segmented."""

    def __call__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        clip: ClipBatch,
        key: Array,
        config: StepConfig,
        step: Int[Array, ""] | int,
        inputs: Any = None,
    ) -> ClipSums:
        """Of one clip.

        What comes with every frame after the first is the clip's, or `inputs`.
        """
        ...


class Objective(Protocol):
    """What a method may minimise in place of the plain loss."""

    def __call__(
        self,
        method: Method,
        variables: Mapping[str, Any],
        clip: ClipBatch,
        key: Array,
        config: StepConfig,
        step: Int[Array, ""] | int,
        clip_loss: ClipLoss,
    ) -> ClipSums:
        """Of one clip; `clip_loss` is the plain loss, which it may be made of."""
        ...


def frame_loss_at(
    config: StepConfig, step: Int[Array, ""] | int
) -> Callable[[PixelLosses], Float[Array, ""]]:
    """The loss of a frame at a step: over all pixels, or over the hardest ones."""
    if config.loss != "bootstrapped":
        return mean_loss
    fraction = annealed_fraction(
        step, config.bootstrap_start, config.bootstrap_end, config.bootstrap_fraction
    )
    return partial(hardest_loss, fraction=fraction)
