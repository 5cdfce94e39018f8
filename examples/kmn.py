"""STM with the read of KMN (Seong et al., ECCV 2020).

    vos-jax segment my.mp4 --mask first.png --method kmn.py --weights stm-tiny --out out

Weights of STM fit, for the read has no parameters.
"""

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax import lax

from vos_jax.methods import stm
from vos_jax.methods.base import setting
from vos_jax.ops.guidance import Kernel, global_match, kernel_guided_read


@dataclass(frozen=True, kw_only=True)
class KMNConfig(stm.STMConfig):
    """STM's, and the width of the Gaussians.

    Attributes:
      sigma: Standard deviation in cells of 16 pixels.
    """

    sigma: float = setting(7.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma={self.sigma}: use more than 0 cells")
        if self.top_k is not None:
            raise ValueError(f"top_k={self.top_k}: KMN reads all cells; use None")


class KMN(stm.STM):
    """Kernelized memory network."""

    config: KMNConfig = KMNConfig()

    def read(self, memory, query, active):
        """Softmax of the scores times exp(-|q - q*(p)|^2 / (2 sigma^2)).

        q*(p) is the query cell that memory cell p matches best.
        """
        (key, value), filled = memory.bank.entries, memory.bank.filled
        config = self.config
        match = partial(global_match, query_key=query.key, precision=config.precision)
        centre = lax.map(partial(lax.map, match), key)
        kernel = Kernel(centre, jnp.full(filled.shape, config.sigma))
        return kernel_guided_read(
            *(query.key, key, value, filled, kernel),
            **config.read_options,
        )


_STM = stm.ENTRIES["stm"]
entry = _STM._replace(module=KMN, config=KMNConfig(), reads=("stm", "stm-tiny"))
