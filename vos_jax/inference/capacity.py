"""How much memory segmenting a video takes."""

from vos_jax.methods.base import Method


def segmenting_remedy(method: Method) -> str:
    """The options with which segmenting by a method needs less memory."""
    options = ["a smaller --size N"]
    # Some methods' memory never grows.
    if method.slots(1 << 40) > method.slots(1):
        options.append("--mem-capacity N")
    if method.config.dtype != "bfloat16":
        options.append("--dtype bfloat16")
    *first, last = options
    chosen = f"{', '.join(first)} or {last}" if first else last
    return f"use {chosen}; masks that are written stay"
