"""Bilinear resampling with half-pixel centres and repeated borders."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _upsample_axis(x: Array, factor: int, axis: int) -> Array:
    """Each output phase is a fixed blend of a sample with its left or right neighbour.

    A gather-free form of `jax.image.resize`, which multiplies by a dense matrix and so
    grows with the square of the side.
    """
    size = x.shape[axis]
    before = jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)
    before = jnp.concatenate([jax.lax.slice_in_dim(x, 0, 1, axis=axis), before], axis)
    after = jax.lax.slice_in_dim(x, 1, size, axis=axis)
    last = jax.lax.slice_in_dim(x, size - 1, size, axis=axis)
    after = jnp.concatenate([after, last], axis)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5
        neighbour = before if offset < 0 else after
        phases.append((1 - abs(offset)) * x + abs(offset) * neighbour)
    stacked = jnp.stack(phases, axis=axis + 1)
    return stacked.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])


def upsample(
    x: Float[Array, "*b h w C"], factor: int
) -> Float[Array, "*b {factor}*h {factor}*w C"]:
    """Enlarges height and width by an even integer factor, bilinearly.

    Equals `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    if factor % 2:
        raise ValueError(f"upsample takes an even factor, not {factor}")
    rows = _upsample_axis(x, factor, x.ndim - 3)
    return _upsample_axis(rows, factor, x.ndim - 2)


def resize(
    x: Float[Array, "*b H W C"], height: int, width: int
) -> Float[Array, "*b {height} {width} C"]:
    """Resizes to any size, bilinearly and without antialiasing."""
    if x.shape[-3:-1] == (height, width):
        return x
    shape = (*x.shape[:-3], height, width, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def block_mean(
    x: Float[Array, "*b H W"], size: int
) -> Float[Array, "*b H//{size} W//{size}"]:
    """Mean over blocks of `size` x `size`, of which there must be whole ones; float32.

    Unlike an interpolation it looks at every pixel, so that nothing thin is lost.
    """
    *batch, height, width = x.shape
    blocks = x.reshape(*batch, height // size, size, width // size, size)
    return blocks.mean(axis=(-3, -1), dtype=jnp.float32)
