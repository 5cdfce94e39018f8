"""STM that looks only near each cell: the example of docs/write-your-own-read.md."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import vos_jax
from vos_jax.methods import stm
from vos_jax.methods.base import setting


def local_read(query_key, memory_key, memory_value, filled, *, radius):
    """Softmax over the memory cells at most `radius` rows and columns away."""
    height, width, channels = query_key.shape
    scores = jnp.einsum("ijc,noklc->oijnkl", query_key, memory_key, precision="highest")
    scores = scores.astype(jnp.float32) * channels**-0.5
    rows, columns = jnp.arange(height), jnp.arange(width)
    near_row = jnp.abs(rows[:, None] - rows[None]) <= radius  # [i, k]
    near_column = jnp.abs(columns[:, None] - columns[None]) <= radius  # [j, l]
    near = near_row[:, None, :, None] & near_column[None, :, None, :]  # [i, j, k, l]
    used = filled.T[:, None, None, :, None, None] & near[None, :, :, None]
    scores = jnp.where(used, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=(-3, -2, -1))
    # An object without any filled slot reads zeros, not the mean of nothing.
    weights = jnp.where(used, weights, 0)
    return jnp.einsum("oijnkl,noklc->oijc", weights, memory_value, precision="highest")


@dataclass(frozen=True, kw_only=True)
class LocalSTMConfig(stm.STMConfig):
    """STM that reads within a window.

    Attributes:
      radius: Of the window, in cells of 16 pixels.
    """

    radius: int = setting(4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius < 0:
            raise ValueError(f"radius={self.radius}: use at least 0")
        if self.top_k is not None:
            raise ValueError(f"top_k={self.top_k}: a local read takes all; use None")


class LocalSTM(stm.STM):
    """Space-time memory network with a local read."""

    config: LocalSTMConfig = LocalSTMConfig()

    def read(self, memory, query, active):
        """Looks at nearby cells only."""
        (key, value), filled = memory.bank.entries, memory.bank.filled
        radius = self.config.radius
        return local_read(query.key, key, value, filled, radius=radius)


entry = vos_jax.Entry(
    module=LocalSTM,
    config=LocalSTMConfig(),
    torch_table=stm.torch_table,
    torch_ignored=stm.STM_IGNORED,
    reads=("stm", "stm-tiny"),
)
