"""Which programs there are: methods, forms of reads, and how users run them.

`compile_for.py` compiles them for chips that are not there, `device.py` runs them.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

import vos_jax
from vos_jax.bench.reads.kind import ReadKind, Variant
from vos_jax.methods.base import IMPLEMENTATIONS, Method
from vos_jax.methods.weights import variable_shapes

METHODS = tuple(name for name in vos_jax.METHODS if not name.endswith("-tiny"))
"""Those of published size; the small ones are the same programs."""


def inference_shapes(method: Method, platform: str) -> tuple[Method, Any]:
    """As `vos_jax.inference_form`, with shapes for weights."""
    made: list[Method] = []

    def form(variables: Any) -> Any:
        other, variables = vos_jax.inference_form(method, variables, platform=platform)
        made.append(other)
        return variables

    shapes = jax.eval_shape(form, variable_shapes(method))
    return made[0], shapes


def random_weights(method: Method, seed: int = 0) -> Any:
    """Weights that keep activations in range; no program is compiled for them."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        shape, name = leaf.shape, path[-1].key
        if len(shape) > 1:
            numbers = rng.standard_normal(shape, np.float32)
            return numbers * np.float32(np.prod(shape[:-1]) ** -0.5)
        low, high = (0.8, 1.2) if name in ("var", "scale") else (-0.1, 0.1)
        return rng.uniform(low, high, shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(method))


def variants_of(kind: ReadKind) -> list[Variant]:
    """What `bench read` times of a kind, each in every form that there is."""
    listed = [x for x in kind.variants() if not x.in_larger_bank]
    if len({variant.implementation for variant in listed}) == 1:
        return listed
    forms: Any = [form for form in IMPLEMENTATIONS if form != "auto"]
    plain = dict.fromkeys(variant._replace(implementation="auto") for variant in listed)
    return [x._replace(implementation=form) for x in plain for form in forms]


def read_of(kind: ReadKind, variant: Variant, platform: str) -> Callable[..., Any]:
    """A read as a function of its arguments, for a platform."""
    read = kind.program(variant, "highest")
    if "platform" in inspect.signature(read).parameters:
        return partial(read, platform=platform)
    return read


def form_of(variant: Variant) -> str:
    """As tables name it."""
    kept = "" if variant.top_k is None else f" top-{variant.top_k}"
    without = ", no kernels" if variant.without_kernels else ""
    return f"{variant.implementation}{kept}{without}"
