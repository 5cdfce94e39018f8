"""How every block computes, in one hashable value."""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp

from vos_jax.ops.platform import Platform

Precision = Literal["highest", "high", "default"]
"""Of products, by JAX's names."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Compute settings shared by all blocks of a model.

    Attributes:
      dtype: Compute type of convolutions and activations; parameters stay float32.
      precision: Of float32 products, as JAX means it. "highest" is full float32;
        "high" lets a GPU or TPU use formats between, and "default" its fastest and
        shortest ones. CPUs know full float32 alone.
      folded: Normalisation is folded into the convolutions (see `fold_norms`).
      platform: What programs are built for; None leaves it to the lowering.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    precision: Precision = "highest"
    folded: bool = False
    platform: Platform | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={self.dtype!r}: use 'float32' or 'bfloat16'")
        if self.precision not in ("highest", "high", "default"):
            raise ValueError(
                f"precision={self.precision!r}: use 'highest', 'high' or 'default'"
            )

    @property
    def outputs_first(self) -> bool:
        """Kernels have their output channels first, as GPUs take them (`lay_out`)."""
        return self.folded and self.platform in ("cuda", "rocm")

    @property
    def compute_dtype(self) -> Any:
        """The NumPy type that `dtype` names."""
        return jnp.dtype(self.dtype)
