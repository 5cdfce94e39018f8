"""The loss of one clip, which is unrolled as a video is segmented.

The first mask is given, and what later frames read from the memory are the network's
own soft masks (STM, ICCV 2019, sec. 3.5). Gradients go through all of it. With
`memory_mask="gt"` they read the true masks instead, as in the first stages of LCM (CVPR
2021), and gradients go through what is encoded, not through masks.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vos_jax.errors import InputError
from vos_jax.inference.form import built
from vos_jax.inference.state import State, encode
from vos_jax.inference.step import start, step_encoded
from vos_jax.methods.base import Method
from vos_jax.methods.inputs import check_inputs
from vos_jax.methods.objective import ClipSums, StepConfig, frame_loss_at
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.losses import (
    IGNORE,
    cross_entropy,
    known_labels,
    soft_iou,
)
from vos_jax.types import ClipBatch


def clip_loss(
    method: Method,
    variables: Mapping[str, Any],
    clip: ClipBatch,
    key: Array,
    config: StepConfig,
    step: Int[Array, ""] | int = 0,
    inputs: Any = None,
) -> ClipSums:
    """Unrolls one clip and compares every frame after the first with its labels.

    Args:
      method: From `create`.
      variables: Its weights.
      clip: Frames `[T, H, W, 3]`, labels `[T, H, W]`, valid `[O]`.
      key: For losses that draw random numbers; this one draws none.
      config: Of the step.
      step: Optimizer step, for the bootstrapped loss.
      inputs: In place of the clip's own, for an objective that makes more of them;
        leaves `[T - 1, ...]`.

    Raises:
      InputError: The clip has a single frame, or its inputs are not what is taken.
    """
    method, length = built(method), clip.frames.shape[0]
    if length < 2:
        raise InputError(f"clips of {length} frame: use 2 or more, the first is given")
    if inputs is None:
        inputs = clip.inputs
        each = jax.tree.map(lambda x: x[0], inputs)
        check_inputs(method.inputs, each, clip.frames.shape[1:3])
    labels = known_labels(clip.labels, clip.valid)
    state = _begin(method, variables, clip.frames[0], labels[0], clip.valid, length)
    frame_loss = frame_loss_at(config, step)

    def body(state: State, frame: tuple[Array, Any, Array, Any]) -> Any:
        image, encoded, truth, own = frame
        if encoded is None:
            encoded = encode(method, variables, image)
        state, out = step_encoded(method, variables, state, image, encoded, own)
        losses = cross_entropy(out.logits, truth)
        overlap = soft_iou(lax.stop_gradient(out.probs), truth)
        if config.memory_mask == "gt":
            state = state._replace(probs=_true_masks(truth, out.probs))
        return state, ClipSums(
            frame_loss(losses),
            losses.counted.any().astype(jnp.float32),
            overlap.value.sum(),
            overlap.counted.sum().astype(jnp.float32),
        )

    unroll = config.unrolled(method.platform, length - 1)
    if config.remat:
        # Outside of a loop XLA would see that both computations are the same one, and
        # keep the first one's results after all.
        body = jax.checkpoint(body, prevent_cse=unroll)
    images, encoded = to_unit_range(clip.frames[1:]), None
    if not config.remat:
        # What the frames alone decide is computed of all at once: large products, and
        # one gradient of each weight instead of one for every frame.
        encoded = jax.vmap(partial(encode, method, variables))(images)
    frames = images, encoded, labels[1:], inputs
    _, sums = lax.scan(body, state, frames, unroll=unroll or 1)
    return jax.tree.map(lambda x: x.sum(0), sums)


def _true_masks(
    labels: Int[Array, "H W"], probs: Float[Array, "O+1 H W"]
) -> Float[Array, "O+1 H W"]:
    """The masks that known labels tell, and where they tell nothing what was found."""
    ids = jnp.arange(probs.shape[0])[:, None, None]
    masks = (labels[None] == ids).astype(jnp.float32)
    # Masks are inputs here: were these pixels to learn from what later frames read, no
    # label would hold them to the truth.
    return jnp.where(labels[None] == IGNORE, lax.stop_gradient(probs), masks)


# As a program of its own, its arguments have no values to check: whether an object is
# missing is for `valid` to say.
@partial(jax.jit, static_argnums=(0, 5))
def _begin(
    method: Method,
    variables: Mapping[str, Any],
    frame: Array,
    labels: Int[Array, "H W"],
    valid: Bool[Array, " O"],
    frames: int,
) -> State:
    """A video's start whose free slots are those of the objects that are not valid."""
    ids = range(1, valid.shape[0] + 1)
    state = start(method, variables, frame, labels, ids=ids, frames=frames)
    return state._replace(first=state.first & valid, ids=jnp.where(valid, state.ids, 0))
