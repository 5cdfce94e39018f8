"""The space-time memory read in one kernel, which never writes a score to memory.

Letters beside the package's: `q` query cell and `m` memory cell of one slot, both
`h * w` flattened row by row. Each platform's kernel is a module of its own, imported
when it is asked for.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vos_jax.ops.platform import Platform


def pallas_read(
    query: Float[Array, "q Ck"],
    keys: Float[Array, "N O m Ck"],
    values: Float[Array, "N O m Cv"],
    filled: Bool[Array, "N O"],
    *,
    scale: float,
    offset: Float[Array, "N O m"] | None = None,
    platform: Platform,
    interpret: bool = False,
) -> Float[Array, "O q Cv"]:
    """Reads each object's memory at every query cell: softmax over space and time.

        out_q = sum_m w_qm value_m,   w_qm = softmax_m(scale query_q . key_m + offset_m)

    Slots that are not filled count for nothing, whatever they hold, and take no time.
    Scores, softmax and sums are float32; the weights are rounded to the type of the
    values before the second product, not yet divided by their sum. There is no
    gradient. Sizes but for channels are free; where `N O m` is no multiple of 8, the
    kernel for "cuda" works on a copy of the bank.

    Args:
      query: One key per cell, shared by all objects, of the type of the keys.
      keys: Slots in any order. bfloat16 or float16 on "cuda", with Ck a multiple of 64
        and at most 256; bfloat16 or float32 on "tpu", with Ck a multiple of 64 and at
        most 512.
      values: Same layout, same choice of types. Cv is a multiple of 64 and at most 4096
        on "cuda", a multiple of 128 and at most 2048 on "tpu".
      filled: Slots with weight. An object with none reads zeros.
      scale: Of the dot products.
      offset: Added to the scaled scores of a memory cell, float32. None adds nothing.
      platform: Whose kernel: "cuda" (tensor cores of compute capability 9.0, as in an
        H100 or H200, and of no other) or "tpu".
      interpret: Run the kernel step by step on a CPU, for tests.

    Returns:
      float32 values. On "tpu" products of float32 have full precision.

    Raises:
      ValueError: Shapes, types or a platform that no kernel is made for.
    """
    if platform not in _LIMITS:
        raise ValueError(
            f'platform is "{platform}", for which there is no kernel: only for "cuda" '
            'and "tpu". Use read="blocks".'
        )
    _check_shapes(query, keys, values, filled, offset)
    _check_types(query, keys, values, offset, platform)
    _check_channels(keys.shape[-1], values.shape[-1], platform)
    filled_first = jnp.argsort(~filled.T, axis=-1, stable=True).astype(jnp.int32)
    count = filled.sum(0, dtype=jnp.int32)
    if platform == "cuda":
        from vos_jax.ops.pallas_read import gpu as kernel
    else:
        from vos_jax.ops.pallas_read import tpu as kernel  # type: ignore[no-redef]
    return kernel.read(
        query,
        keys,
        values,
        filled_first,
        count,
        scale=scale,
        offset=offset,
        interpret=interpret,
    )


class _Limits(NamedTuple):
    """What a kernel takes.

    Attributes:
      types: Of keys and values.
      keys: What Ck is a multiple of, and the largest.
      values: The same of Cv.
    """

    types: tuple[str, ...]
    keys: tuple[int, int]
    values: tuple[int, int]


_LIMITS: Mapping[str, _Limits] = {
    "cuda": _Limits(("bfloat16", "float16"), (64, 256), (64, 4096)),
    "tpu": _Limits(("bfloat16", "float32"), (64, 512), (128, 2048)),
}


def _check_shapes(
    query: Array, keys: Array, values: Array, filled: Array, offset: Array | None
) -> None:
    """Raises where shapes do not belong together."""
    if query.ndim != 2 or keys.ndim != 4:
        raise ValueError(
            f"query has shape {query.shape} and keys {keys.shape}; expected [q, Ck] "
            "and [N, O, m, Ck]. Flatten rows and columns into one axis."
        )
    expected = {
        "query": (query, (query.shape[0], keys.shape[3])),
        "values": (values, (*keys.shape[:3], *values.shape[3:4])),
        "filled": (filled, keys.shape[:2]),
        "offset": (offset, keys.shape[:3]),
    }
    for name, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise ValueError(
                f"{name} has shape {array.shape}, which does not belong to keys of "
                f"shape {keys.shape}; give it shape {shape}."
            )
    if 0 in (*keys.shape, *query.shape, *values.shape):
        raise ValueError(
            f"query, keys or values is empty: {query.shape}, {keys.shape}, "
            f'{values.shape}. Use read="blocks".'
        )


def _check_types(
    query: Array, keys: Array, values: Array, offset: Array | None, platform: Platform
) -> None:
    """Raises where a kernel would have to round what it is given."""
    types = _LIMITS[platform].types
    for name, array in (("keys", keys), ("values", values)):
        if array.dtype.name not in types:
            raise ValueError(
                f'{name} is {array.dtype.name}, but the kernel for "{platform}" '
                f'multiplies {" or ".join(types)} only. Use read="blocks", or convert '
                f"{name}, which rounds it."
            )
    if query.dtype != keys.dtype:
        raise ValueError(
            f"query is {query.dtype.name} and keys is {keys.dtype.name}; the kernel "
            'multiplies one type. Convert one of them, or use read="blocks".'
        )
    if offset is not None and offset.dtype != jnp.float32:
        raise ValueError(
            f"offset is {offset.dtype.name}; compute it in float32, as scores are."
        )


def _check_channels(key_channels: int, value_channels: int, platform: Platform) -> None:
    """Raises where channels do not fill the tiles of a kernel, or do not fit."""
    limits = _LIMITS[platform]
    for name, letters, channels, (step, most) in (
        ("keys", "Ck", key_channels, limits.keys),
        ("values", "Cv", value_channels, limits.values),
    ):
        if channels % step or channels > most:
            raise ValueError(
                f"{name} has {letters}={channels} channels, but the kernel for "
                f'"{platform}" takes multiples of {step} up to {most}. Use '
                'read="blocks".'
            )
