"""Which weights a network uses in its compute type alone.

Parameters are float32. A network that computes in bfloat16 converts most of them where
it uses them, in every frame, and some not at all, such as those of norms: which ones is
seen in its program.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Var

from vos_jax.methods.base import Method

_MOVES = {
    "broadcast_in_dim",
    "copy",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "transpose",
}
"""Operations that leave numbers as they are."""

_CALLS = {"jaxpr", "call_jaxpr", "fun_jaxpr"}
"""What the programs that an operation runs are called among its parameters."""


def in_compute_type(method: Method, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables, those in the compute type that are used in no other.

    What the network finds with them is the same to the last bit.

    Args:
      method: Whose network.
      variables: Of it; tracers, too.
    """
    dtype = jnp.dtype(method.config.dtype)
    leaves: list[Any]
    tree: Any
    leaves, tree = jax.tree.flatten(dict(variables))
    if dtype == jnp.float32:
        return dict(variables)
    convertible = _convertible(method, tree, leaves, dtype)
    stored = [
        leaf.astype(dtype) if may else leaf
        for leaf, may in zip(leaves, convertible, strict=True)
    ]
    result: dict[str, Any] = tree.unflatten(stored)
    return result


def _convertible(
    method: Method, tree: Any, leaves: Sequence[Any], dtype: Any
) -> list[bool]:
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    frame = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    masks = jax.ShapeDtypeStruct((1, 32, 32), jnp.float32)
    program = jax.make_jaxpr(method.apply)(tree.unflatten(shapes), frame, masks)
    jaxpr = program.jaxpr
    uses = _Uses(dtype)
    uses.follow(jaxpr, dict(zip(jaxpr.invars, range(len(leaves)), strict=False)))
    return [index not in uses.otherwise for index in range(len(leaves))]


class _Uses:
    """What a program does with some of its arguments.

    Attributes:
      otherwise: Those that it does something else with than to convert them.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self.otherwise: set[int] = set()

    def follow(self, jaxpr: Jaxpr, known: dict[Var, int]) -> list[int | None]:
        """Follows arguments through a program; which of its results are which."""
        for equation in jaxpr.eqns:
            given = [
                None if isinstance(x, Literal) else known.get(x)
                for x in equation.invars
            ]
            if any(index is not None for index in given):
                results = self._results(equation, given)
                known.update(
                    (variable, index)
                    for variable, index in zip(equation.outvars, results, strict=False)
                    if index is not None
                )
        return [None if isinstance(x, Literal) else known.get(x) for x in jaxpr.outvars]

    def _results(self, equation: Any, given: list[int | None]) -> list[int | None]:
        name = equation.primitive.name
        if name == "convert_element_type":
            if equation.params["new_dtype"] == self._dtype:
                return []
        elif name in _MOVES:
            return given[:1] * len(equation.outvars)
        elif name == "concatenate" and len(set(given)) == 1:
            return given[:1]
        elif name == "cond":
            for branch in equation.params["branches"]:
                self._call(branch, given[1:])
            return []
        elif inner := list(_programs(equation.params)):
            # The constants of a loop's condition come first: there are no weights.
            same = len(inner) == 1 and len(_bare(inner[0]).invars) == len(given)
            if same and name != "while":
                return self._call(inner[0], given, loops=name == "scan")
        self.otherwise.update(index for index in given if index is not None)
        return []

    def _call(
        self, program: Any, given: list[int | None], *, loops: bool = False
    ) -> list[int | None]:
        jaxpr = _bare(program)
        known = {
            variable: index
            for variable, index in zip(jaxpr.invars, given, strict=True)
            if index is not None
        }
        results = self.follow(jaxpr, known)
        if loops:
            self.otherwise.update(index for index in results if index is not None)
            return []
        return results


def _programs(params: Mapping[str, Any]) -> Iterator[Any]:
    return (value for name, value in params.items() if name in _CALLS)


def _bare(program: Any) -> Jaxpr:
    """Without its constants."""
    bare: Jaxpr = getattr(program, "jaxpr", program)
    return bare
