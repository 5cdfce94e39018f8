"""How HMMN (Seong et al., ICCV 2021) is trained: secs. 3.2 and 4.1.

The decoder gets used to the fine reads slowly. In the first stage of training they are
dropped always and then every other time, in the second one ever less, so that at its
end the network is the one that segments videos. A read is dropped whole, all of its
cells and channels.

The paper gives the rates at the ends of its stages. Ours to decide were that they are
joined by a straight line; that each frame, object and stage draws for itself; and that
what is not dropped is not enlarged, since the network of the end drops nothing.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.methods.hmmn.model import HMMN, Shares
from vos_jax.methods.objective import ClipLoss, ClipSums, StepConfig
from vos_jax.types import ClipBatch


@dataclass(frozen=True, kw_only=True)
class HMMNLoss:
    """An `Objective`: the plain loss, with whole fine reads dropped at random.

    Attributes:
      dropout: Share of the fine reads that are dropped at the first step, and from step
        `dropout_steps` on; in between on a straight line.
      dropout_steps: Steps from the one share to the other; as a rule all of a stage.
      kernel_guided: Whether the coarse read is guided in training, too. As published it
        is in videos alone, whatever the method's own configuration says.
    """

    dropout: tuple[float, float] = (1.0, 0.5)
    dropout_steps: int
    kernel_guided: bool = False

    def __post_init__(self) -> None:
        shares = self.dropout
        pair = isinstance(shares, tuple) and len(shares) == 2
        is_share = pair and all(type(x) in (int, float) and 0 <= x <= 1 for x in shares)
        if not is_share:
            raise InputError(
                f"objective dropout={shares!r}: use two shares from 0 to 1, of the"
                " first and of the last step"
            )
        if type(self.dropout_steps) is not int or self.dropout_steps < 1:
            raise InputError(
                f"objective dropout_steps={self.dropout_steps!r}: use a whole number of"
                " at least 1"
            )
        if type(self.kernel_guided) is not bool:
            raise InputError(
                f"objective kernel_guided={self.kernel_guided!r}: use True or False"
            )

    def rate(self, step: Int[Array, ""] | int) -> Float[Array, ""]:
        """The share that is dropped at a step."""
        first, last = self.dropout
        done = jnp.minimum(jnp.asarray(step, jnp.float32) / self.dropout_steps, 1)
        return first + (last - first) * done

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
        """Of one clip; see `Objective`.

        Raises:
          InputError: The clip has a single frame, or the method is not HMMN.
        """
        if not isinstance(method, HMMN):
            raise InputError(
                f"objective: {type(method).__name__} is no HMMN network; leave the"
                " objective out"
            )
        trained = dataclasses.replace(method.config, kernel_guided=self.kernel_guided)
        return clip_loss(
            method.clone(config=trained),
            variables,
            clip,
            key,
            config,
            step,
            self.draw(key, step, method, clip),
        )

    def draw(
        self, key: Array, step: Int[Array, ""] | int, method: HMMN, clip: ClipBatch
    ) -> Shares:
        """Which fine reads of a clip's frames count: leaves `[T - 1, O]` of 1 and 0."""
        shape = len(clip.frames) - 1, len(clip.valid)
        keep = 1 - self.rate(step)
        stages = method.config.fine_stages
        keys = jax.random.split(key, max(len(stages), 1))
        return {
            stage: jax.random.bernoulli(own, keep, shape).astype(jnp.float32)
            for stage, own in zip(stages, keys, strict=False)
        }
