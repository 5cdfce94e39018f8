"""The form in one kernel, for the chips that there is one for; chosen by name alone.

Its backward pass is that of `blocks`. Letters are those of `problem`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vos_jax.ops.pallas_read import pallas_read
from vos_jax.ops.platform import Platform
from vos_jax.ops.read_forms import blocks
from vos_jax.ops.read_forms.problem import Problem, Reading, Rules, flat
from vos_jax.ops.scores import squares_of

_REMEDY = 'use read="blocks"'


def read(
    problem: Problem,
    with_usage: bool,
    platform: Platform | None = None,
    *,
    interpret: bool = False,
) -> Reading:
    """All cells of the slots that count.

    Args:
      problem: The read; without bias, a number of cells to keep, or objects that ask
        for themselves.
      with_usage: Must be False.
      platform: "cuda" or "tpu".
      interpret: Run the kernel step by step on a CPU, for tests.

    Raises:
      ValueError: There is no kernel for such a read, or for the platform.
    """
    _check(problem, with_usage, platform)
    query, keys, values, copies, rules = problem
    find = _with_gradient(rules, platform, interpret)
    return Reading(find(query, keys, values, copies), None)


def _check(problem: Problem, with_usage: bool, platform: Platform | None) -> None:
    if platform is None:
        raise ValueError(
            'read="pallas" needs to know what the program is built for: pass platform='
            f' "cuda" or "tpu", or {_REMEDY}'
        )
    query, rules = problem.query, problem.rules
    refused = {
        "a bias": rules.bias is not None,
        f"top_k={rules.top_k}": rules.top_k is not None,
        "a query for each object": len(query) > 1,
        "usage": with_usage,
    }
    for what, is_asked in refused.items():
        if is_asked:
            raise ValueError(f'read="pallas" has no kernel with {what}: {_REMEDY}')


def _with_gradient(
    rules: Rules, platform: Any, interpret: bool
) -> Callable[..., Array]:
    """The read of query, keys and values, differentiable by the form in blocks."""

    @jax.custom_vjp
    def find(query: Array, keys: Array, values: Array, copies: Array) -> Array:
        problem = Problem(query, keys, values, copies, rules)
        return _by_kernel(problem, platform, interpret)

    def forward(*given: Array) -> tuple[Array, tuple[Array, ...]]:
        return find(*given), given

    def backward(given: tuple[Array, ...], gradient: Array) -> tuple[Any, ...]:
        *floats, copies = given

        def by_blocks(query: Array, keys: Array, values: Array) -> Array:
            problem = Problem(query, keys, values, copies, rules)
            return blocks.read(problem, False, platform).value

        return *jax.vjp(by_blocks, *floats)[1](gradient), None

    find.defvjp(forward, backward)
    return find


def _by_kernel(
    problem: Problem, platform: Platform, interpret: bool
) -> Float[Array, "O q Cv"]:
    query, _, _, copies, rules = problem
    keys, values = flat(problem.keys), flat(problem.values)
    slots, objects, cells = values.shape[:3]
    scale, offset = keys.shape[-1] ** -0.5, None
    if rules.similarity == "l2":
        # What counts twice has a weight of twice as much.
        times = jnp.log(jnp.maximum(copies, 1).astype(jnp.float32))
        offset = times[..., None] - squares_of(keys) * scale
        offset = jnp.broadcast_to(offset, (slots, objects, cells))
        scale *= 2
    shape = slots, objects, cells, keys.shape[-1]
    return pallas_read(
        query[0],
        jnp.broadcast_to(keys, shape),
        values,
        jnp.broadcast_to(copies > 0, (slots, objects)),
        scale=scale,
        offset=offset,
        platform=platform,
        interpret=interpret,
    )
