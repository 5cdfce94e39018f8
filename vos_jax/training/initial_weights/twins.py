"""A better random start for networks with two encoders."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vos_jax.errors import InputError
from vos_jax.methods.base import Method
from vos_jax.nn.batch_statistics import batch_statistics
from vos_jax.nn.layers import normalize_image
from vos_jax.ops.image import to_unit_range
from vos_jax.ops.padding import pad
from vos_jax.types import ClipBatch

_PARTS = ("query_encoder", "memory_encoder", "query_head", "memory_head")


def twins(
    method: Method,
    variables: Mapping[str, Any],
    clips: ClipBatch,
    sharpness: float = 8.0,
) -> dict[str, Any]:
    """Makes the memory's keys those of the query encoder, centred and scaled.

    Published networks begin with ImageNet weights in both encoders, whose keys
    therefore agree from the first step. At random they have nothing in common, and
    the read is learned from nothing. Begun as a copy, the memory encoder lets the cells
    of a frame find one another by appearance before anything is learned.

    A method may know such parts of its own, `Method.as_twins`: then without clips.

    Args:
      method: STM, one with the same encoders and heads, or one with `as_twins`.
      variables: From `method.init`.
      clips: Some training clips, NumPy arrays as a batch has them; their first frames
        are looked at.
      sharpness: Standard deviation that the scores of a query cell get.

    Returns:
      New `params`, and `batch_stats` measured on the clips.

    Raises:
      InputError: The method has other parts.
    """
    own = method.as_twins(variables["params"])
    if own is not None:
        return {**variables, "params": own}
    if not all(part in variables["params"] for part in _PARTS):
        raise InputError(
            "twins=True: the method has no pair of encoders; use twins=False"
        )
    params = jax.tree.map(jnp.asarray, dict(variables["params"]))
    query, memory = params["query_encoder"], params["memory_encoder"]
    memory["trunk"] = jax.tree.map(jnp.copy, query["trunk"])
    memory["stem"]["image"]["kernel"] = jnp.copy(query["stem"]["conv"]["kernel"])
    heads = [params[f"{side}_head"]["key"] for side in ("query", "memory")]
    heads[1]["kernel"] = jnp.copy(heads[0]["kernel"])

    frames = to_unit_range(jnp.asarray(clips.frames[:, 0]))
    masks = jnp.asarray(clips.labels[:, 0] == 1, jnp.float32)[:, None]
    stats = batch_statistics(method, {**variables, "params": params}, frames, masks)
    started = {"params": params, "batch_stats": stats}
    keys = jax.jit(jax.vmap(partial(method.apply, started, method=_keys)))
    found: Any = keys(frames, masks)
    for head, key in zip(heads, found, strict=True):
        head["bias"] = head["bias"] - key.mean((0, 1, 2))
    query_key, memory_key = (
        (key - key.mean((0, 1, 2), keepdims=True)).reshape(len(key), -1, key.shape[-1])
        for key in found
    )
    scores = jnp.einsum("bqc,bmc->bqm", query_key, memory_key)
    scores /= jnp.sqrt(float(query_key.shape[-1]))
    factor = jnp.sqrt(sharpness / scores.std(-1).mean())
    for head in heads:
        head.update(jax.tree.map(lambda x: x * factor, head))
    return started


def _keys(method: Any, frame: Array, masks: Array) -> list[Array]:
    """The keys `[h, w, Ck]` of a frame as the query and as a memory have them."""
    image = normalize_image(pad(frame)[None])
    seen = (
        method.query_encoder(image),
        method.memory_encoder(image, pad(masks[..., None])[..., 0]),
    )
    sides = zip((method.query_head, method.memory_head), seen, strict=True)
    return [head(features.res4).key[0] for head, features in sides]
